"""Statistics files of other programs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from diffwave.errors import InputError
from diffwave.mel.statistics import read_statistics

MEAN, SCALE = np.linspace(-3, -1, 80), np.linspace(0.5, 1.5, 80)


def write(path: Path) -> None:
    """The statistics in the form of the file's suffix."""
    if path.suffix == ".npy":
        np.save(path, np.stack([MEAN, SCALE]).astype(np.float32))
    elif path.name == "feats_stats.npz":  # of 7 frames
        np.savez(path, count=7, sum=7 * MEAN, sum_square=7 * (SCALE**2 + MEAN**2))
    elif path.suffix == ".npz":
        np.savez(path, mean=MEAN, std=SCALE)
    elif path.suffix == ".json":
        path.write_text(json.dumps({"mel_mean": MEAN.tolist(), "mel_std": SCALE.tolist()}))
    elif path.suffix == ".safetensors":
        save_file({"mean": MEAN, "scale": SCALE}, path)
    else:
        h5py = pytest.importorskip("h5py")
        with h5py.File(path, "w") as file:
            file["mean"], file["scale"] = MEAN.astype(np.float32), SCALE.astype(np.float32)


@pytest.mark.parametrize(
    "name",
    ["stats.npy", "feats_stats.npz", "a.npz", "a.json", "a.safetensors", "stats.h5"],
)
def test_every_form_is_read(name: str, tmp_path: Path) -> None:
    write(tmp_path / name)
    mean, scale = read_statistics(str(tmp_path / name))
    np.testing.assert_allclose(mean, MEAN, atol=1e-6)
    np.testing.assert_allclose(scale, SCALE, atol=1e-6)


def test_two_numbers() -> None:
    mean, scale = read_statistics("-5.536622,2.116101")
    assert mean.tolist() == [-5.536622] and scale.tolist() == [2.116101]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("1,0", None, "must be above zero"),
        ("nan,1", None, "NaN"),
        ("1,2,3", None, "a file .* or MEAN,DEVIATION"),
        ("a.txt", b"1", "a file .* or MEAN,DEVIATION"),
        ("missing.npy", None, "There is no file"),
        ("missing.json", None, "There is no file"),
        ("missing.h5", None, "There is no file"),
        ("a.json", b"{", "not valid JSON"),
        ("a.json", b'{"mean": 1}', "holds mean, but statistics are"),
        ("a.json", b'{"mean": [1, 2], "std": [1, 2, 3]}', "2 means but 3 deviations"),
        ("a.json", b'{"mean": [1, [2]], "std": 1}', "no numbers"),
        ("a.json", b'{"mean": [], "std": 1}', "0 numbers"),
        ("a.npz", b"nothing", "truncated or not"),
        ("a.npy", b"nothing", "not a .npy file"),
    ],
)
def test_what_are_no_statistics(
    name: str, content: bytes | None, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if content is not None:
        Path(name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_statistics(name)


def test_arrays_of_another_shape_and_count(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.ones((3, 80)))
    with pytest.raises(InputError, match="two rows"):
        read_statistics(str(tmp_path / "a.npy"))
    np.savez(tmp_path / "a.npz", count=0, sum=MEAN, sum_square=MEAN)
    with pytest.raises(InputError, match="of no frame"):
        read_statistics(str(tmp_path / "a.npz"))


def test_a_band_that_never_varied_is_no_division_by_zero(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", count=2, sum=np.zeros(80), sum_square=np.zeros(80))
    _, scale = read_statistics(str(tmp_path / "a.npz"))
    assert bool((scale > 0).all()) and torch.isfinite(scale).all()

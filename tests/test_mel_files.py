from __future__ import annotations

import os
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from told import refused

from diffwave.mel import files
from diffwave.mel.files import MEL_SUFFIXES, OUTPUTS, read_mel, write_mel
from diffwave.mel.incoming import declared

MEL = np.random.default_rng(0).normal(-5, 2, (80, 30)).astype(np.float32)
TENSOR = torch.from_numpy(MEL)

Save = Callable[[Path], Any]


def save_npz(**arrays: Any) -> Save:
    return lambda path: np.savez(path, **arrays)


def save_pt(content: Any, **options: Any) -> Save:
    return lambda path: torch.save(content, path, **options)


def refuses(path: Path, *words: str) -> None:
    """Reading it is refused in a sentence; warnings would be noise on somebody's screen."""
    with warnings.catch_warnings(), refused(str(path), *words):
        warnings.simplefilter("error")
        read_mel(path)


GOOD: dict[str, tuple[str, Save]] = {
    "npy": ("a.npy", lambda path: np.save(path, MEL)),
    "npy, capitals": ("a.NPY", lambda path: np.save(path.open("wb"), MEL)),
    "npy, Fortran order": ("a.npy", lambda path: np.save(path, np.asfortranarray(MEL))),
    "npy, big-endian": ("a.npy", lambda path: np.save(path, MEL.astype(">f4"))),
    "npz, named mel": ("a.npz", save_npz(mel=MEL, other=MEL + 1)),
    "npz, the only one": ("a.npz", save_npz(arr_0=MEL)),
    "npz, compressed": ("a.npz", lambda path: np.savez_compressed(path, mel=MEL)),
    "pt, a tensor": ("a.pt", save_pt(TENSOR)),
    "pt, a parameter": ("a.pt", save_pt(torch.nn.Parameter(TENSOR))),
    "pt, named mel": ("a.pt", save_pt({"mel": TENSOR, "sample_rate": 22050, "x": TENSOR + 1})),
    "pt, the only one": ("a.pt", save_pt({"spec": TENSOR, "sample_rate": 22050})),
    "pt, of old": ("a.pt", save_pt(TENSOR, _use_new_zipfile_serialization=False)),
    "safetensors, named mel": (
        "a.safetensors",
        lambda path: save_file({"mel": TENSOR, "x": TENSOR + 1}, path),
    ),
    "safetensors, the only one": ("a.safetensors", lambda path: save_file({"x": TENSOR}, path)),
}


@pytest.mark.parametrize("name", GOOD)
def test_every_format_gives_the_same_array(tmp_path: Path, name: str) -> None:
    file, save = GOOD[name]
    save(tmp_path / file)
    mel = read_mel(tmp_path / file)
    assert torch.equal(mel, TENSOR)
    assert not mel.requires_grad


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", ">f8", "i2", "u2", "i8", "?", "longdouble"])
def test_types_come_as_they_are(tmp_path: Path, dtype: str) -> None:
    array = MEL.astype(dtype)
    np.save(tmp_path / "a.npy", array)
    native = array.astype("f8" if dtype == "longdouble" else array.dtype.newbyteorder("="))
    assert torch.equal(read_mel(tmp_path / "a.npy"), torch.from_numpy(native))


def promise(path: Path) -> None:
    header = {"descr": "<f4", "fortran_order": False, "shape": (80, 10**14)}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)


BAD: dict[str, tuple[str, Save, str]] = {
    "npy, empty": ("a.npy", lambda path: path.write_bytes(b""), "truncated"),
    "npy, text": ("a.npy", lambda path: path.write_text("hello"), "not a .npy file"),
    "npy, in truth a npz": (
        "a.npy",
        lambda path: np.savez(path.open("wb"), mel=MEL),
        "not a .npy file",
    ),
    "npy, more promised than any memory": ("a.npy", promise, "truncated"),
    "npy, complex": ("a.npy", lambda path: np.save(path, MEL + 1j), "array of numbers"),
    "npy, strings": ("a.npy", lambda path: np.save(path, np.array(["x"])), "array of numbers"),
    "npz, names that are none": (
        "a.npz",
        save_npz(**{"\x1b[2Ja": MEL, "b\n": MEL}),
        r"holds \x1b[2Ja, b\n; call",
    ),
    "npz, text": ("a.npz", lambda path: path.write_text("hello"), "not a .npz file"),
    "npz, two": ("a.npz", save_npz(a=MEL, b=MEL), "holds a, b; call"),
    "npz, a byte changed": ("a.npz", lambda path: spoil(path, save_npz(mel=MEL)), "truncated"),
    "pt, text": ("a.pt", lambda path: path.write_text("hello\n"), "not a .pt file"),
    "pt, empty": ("a.pt", lambda path: path.write_bytes(b""), "truncated"),
    "pt, nothing in it": ("a.pt", save_pt({}), "holds nothing"),
    "pt, a number": ("a.pt", save_pt({"mel": 5}), "array of numbers"),
    "pt, sparse": ("a.pt", save_pt(TENSOR.to_sparse()), "array of numbers"),
    "pt, without values": ("a.pt", save_pt(TENSOR.to("meta")), "array of numbers"),
    "pt, a module": ("a.pt", save_pt(torch.nn.Linear(1, 1)), "objects"),
    "safetensors, text": ("a.safetensors", lambda path: path.write_text("hello"), "truncated"),
    "unknown suffix": ("a.mel", lambda path: path.write_text("x"), "must end in .npy, .npz"),
    "missing": ("a.npy", lambda path: None, "There is no file"),
    "a folder": ("a.npy", lambda path: path.mkdir(), "There is no file"),
}


def spoil(path: Path, save: Save) -> None:
    save(path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)


@pytest.mark.filterwarnings("ignore")  # those of writing strange files
@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_read_is_told(tmp_path: Path, name: str) -> None:
    file, save, words = BAD[name]
    save(tmp_path / file)
    refuses(tmp_path / file, words)


def test_an_archive_of_more_than_any_mel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez_compressed(tmp_path / "a.npz", mel=MEL)
    monkeypatch.setattr(files, "MAX_BYTES", MEL.nbytes + 127)  # the header of an array has 128
    refuses(tmp_path / "a.npz", "too large for the memory")


@pytest.mark.parametrize("suffix", MEL_SUFFIXES)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(part=st.floats(0, 1, exclude_max=True))
def test_every_cut_is_noticed(tmp_path: Path, suffix: str, part: float) -> None:
    whole = tmp_path / f"whole{suffix}"
    if not whole.exists():
        name = "npz, named mel" if suffix == ".npz" else f"{suffix[1:]}, named mel"
        GOOD.get(name, GOOD["npy"])[1](whole)
    content = whole.read_bytes()
    cut = tmp_path / f"cut{suffix}"
    cut.write_bytes(content[: int(part * len(content))])
    refuses(cut, "Cannot read")


class Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.path,)


BOMBS: dict[str, Callable[[Path, Bomb], Any]] = {
    "a.npy": lambda p, bomb: np.save(p, np.array([bomb], dtype=object), allow_pickle=True),
    "raw.npy": lambda p, bomb: p.write_bytes(pickle.dumps(bomb)),
    "a.npz": lambda p, bomb: np.savez(p, mel=np.array([bomb], dtype=object)),
    "a.pt": lambda p, bomb: torch.save(bomb, p),
    "beside.pt": lambda p, bomb: torch.save({"mel": TENSOR, "more": bomb}, p),
    "old.pt": lambda p, bomb: torch.save(bomb, p, _use_new_zipfile_serialization=False),
    "raw.pt": lambda p, bomb: p.write_bytes(pickle.dumps(bomb)),
}


@pytest.mark.parametrize("name", BOMBS)
def test_nothing_in_a_file_is_executed(tmp_path: Path, name: str) -> None:
    marker = tmp_path / "executed"
    BOMBS[name](tmp_path / name, Bomb(marker))
    # raw.npy is no array file at all.
    refuses(tmp_path / name, "" if name == "raw.npy" else "objects, which are not loaded")
    assert not marker.exists()


@pytest.mark.usefixtures("as_anybody")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", MEL)
    (tmp_path / "a.npy").chmod(0)
    refuses(tmp_path / "a.npy", "permission denied")


def test_written_mels_are_read_again(tmp_path: Path) -> None:
    write_mel(tmp_path / "a.npy", TENSOR)
    assert torch.equal(read_mel(tmp_path / "a.npy"), TENSOR)
    assert np.load(tmp_path / "a.npy").dtype == np.float32


@pytest.mark.parametrize("suffix", OUTPUTS)
def test_a_file_says_a_convention_that_was_named(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    write_mel(path, TENSOR)
    assert torch.equal(read_mel(path), TENSOR) and declared(path) is None
    write_mel(path, TENSOR, "espnet")
    assert torch.equal(read_mel(path), TENSOR)
    assert declared(path) == (None if suffix == ".npy" else "espnet")


def test_a_mel_that_cannot_be_written(tmp_path: Path) -> None:
    with refused("ends in .npy, .npz"):
        write_mel(tmp_path / "a.pt", TENSOR)
    with refused("no folder"):
        write_mel(tmp_path / "missing" / "a.npy", TENSOR)
    assert not list(tmp_path.iterdir())

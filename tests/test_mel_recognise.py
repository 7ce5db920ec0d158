"""Telling conventions apart, and what decides it. Rates on recordings: docs/conventions.md."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from signals import speech_like
from torch import Tensor

from diffwave.base.errors import InputError
from diffwave.mel.conventions import CONVENTIONS
from diffwave.mel.files import write_mel
from diffwave.mel.incoming import declared, read_incoming
from diffwave.mel.recognise import _models, possible, recognise
from diffwave.mel.traits import is_linear, traits

HIFIGAN = CONVENTIONS["hifigan"]
REAL = torch.from_numpy(np.load(Path(__file__).parents[1] / "egs" / "mel.npy"))
MANY_BANDS = [
    name for name, c in CONVENTIONS.items() if c.mel.n_mels > 80 and name != "diffwave-48k"
]
"""Of which speech-like signals suffice: of 80 bands there are thirteen, and 44 and 48 kHz are near
each other."""


def mel_of(name: str, seconds: float = 4.0) -> Tensor:
    convention = CONVENTIONS[name]
    wave = torch.from_numpy(speech_like(seconds, convention.mel.sample_rate))
    return convention.analyse(wave)


@pytest.mark.parametrize("name", MANY_BANDS)
@pytest.mark.parametrize("turned", [False, True])
def test_names_and_layouts(name: str, turned: bool) -> None:
    mel = mel_of(name)
    found = recognise(mel.T if turned else mel)
    assert found.label == name and found.transposed == turned
    assert found.convention is CONVENTIONS[name] and not found.normalised


def test_which_conventions_can_be_named() -> None:
    assert sorted(_models()) == sorted({c.mel.n_mels for c in CONVENTIONS.values()})
    labels = {
        label.removesuffix("*")
        for bands in _models()
        for label in recognise(torch.randn(bands, 400)).probabilities
    }
    assert labels == set(CONVENTIONS) - {"hifigan-hop200"}  # another tempo of "hifigan"


def test_a_voice_that_was_not_in_the_fit() -> None:
    """A synthetic one, at that: in doubt, but the right name is among those that are given."""
    found = recognise(REAL)
    assert "hifigan" in (found.label, *found.others)
    assert found.label == "hifigan" or not found.sure
    matcha = CONVENTIONS["matcha"].values(HIFIGAN.bands(REAL))
    assert recognise(matcha).label == "matcha"
    plain = recognise(matcha * 2.116101 - 5.536622, plain=True)
    assert "hifigan" in (plain.label, *plain.others)
    assert not any(
        label == "matcha" or label.endswith("*") for label, p in plain.probabilities.items() if p
    )


def test_a_square_is_turned_as_it_looks() -> None:
    square = REAL[:, 100:180]
    assert not recognise(square).transposed
    assert recognise(square.T).transposed


def test_what_is_expected_is_assumed_unless_excluded() -> None:
    for start in range(0, REAL.shape[1] - 60, 60):
        found = recognise(REAL[:, start : start + 60], expected=HIFIGAN)
        assert found.label == "hifigan" and found.sure
    assert recognise(mel_of("vocos"), expected=HIFIGAN).label == "vocos"


def test_few_frames_give_no_certainty() -> None:
    assert not recognise(REAL[:, 100:160]).sure
    with pytest.raises(InputError, match="too few"):
        recognise(REAL[:, :7])


@pytest.mark.parametrize(
    ("mel", "message"),
    [
        (torch.zeros(80), "two axes"),
        (torch.zeros(77, 300), "none of its axes has 80, 100, 128 bands"),
    ],
)
def test_what_cannot_be_a_mel(mel: Tensor, message: str) -> None:
    with pytest.raises(InputError, match=message):
        recognise(mel)


def test_traits_are_finite_for_whatever_is_finite() -> None:
    for mel in (torch.zeros(80, 50), torch.full((80, 8), -1e30), torch.eye(80), 1e30 * REAL,
                torch.randn(80, 9000), mel_of("torchaudio")):  # fmt: skip
        assert torch.isfinite(traits(mel)).all()
        assert sum(recognise(mel).probabilities.values()) == pytest.approx(1)


def test_shared_bins_do_not_depend_on_statistics() -> None:
    scaled = (REAL - torch.linspace(-5, 3, 80)[:, None]) / torch.linspace(0.5, 2, 80)[:, None]
    one, other = traits(REAL), traits(scaled)
    same = (one - other).abs() < 1e-3
    assert int(same.sum()) >= 79 + 78 + 77  # of neighbours one, two and three bands apart


def test_only_amplitudes_are_linear() -> None:
    for name in CONVENTIONS:
        assert is_linear(mel_of(name, 1.0)) == CONVENTIONS[name].linear


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_what_a_file_says_goes_before_what_it_looks_like(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    write_mel(path, REAL, "bigvgan-22k")
    assert declared(path) == "bigvgan-22k"
    incoming = read_incoming(path)
    assert incoming.convention.name == "bigvgan-22k" and incoming.how == "as the file says"
    assert read_incoming(path, "hifigan").convention.name == "hifigan"


def test_a_file_that_says_nonsense(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", mel=REAL.numpy(), convention=np.array("mine"))
    with pytest.raises(InputError, match="Unknown mel convention 'mine'"):
        read_incoming(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", mel=REAL.numpy(), convention=np.array(7))
    assert read_incoming(tmp_path / "b.npz").how == "recognised"


def test_normalised_by_unknown_statistics(tmp_path: Path) -> None:
    mel = REAL.T.double()
    mean, scale = mel.mean(0), mel.std(0)
    np.save(tmp_path / "a.npy", ((mel - mean) / scale).float().numpy())
    np.save(tmp_path / "stats.npy", torch.stack([mean, scale]).numpy())
    with pytest.raises(InputError, match="normalised band by band: give .* --stats"):
        read_incoming(tmp_path / "a.npy")
    incoming = read_incoming(tmp_path / "a.npy", "auto", str(tmp_path / "stats.npy"), HIFIGAN)
    assert incoming.convention.name == "hifigan" and incoming.found and incoming.found.transposed
    torch.testing.assert_close(incoming.to(HIFIGAN), REAL, rtol=0, atol=1e-3)
    np.save(tmp_path / "b.npy", np.zeros((300, 100), dtype=np.float32))
    with pytest.raises(InputError, match="The statistics are of 80 bands"):
        read_incoming(tmp_path / "b.npy", statistics=str(tmp_path / "stats.npy"))


@pytest.mark.parametrize("name", CONVENTIONS)
def test_possible_is_what_a_convention_can_give(name: str) -> None:
    convention = CONVENTIONS[name]
    wave = torch.from_numpy(speech_like(1.0, convention.mel.sample_rate))
    for gain in (0.0, 0.01, 1.0, 4.0):
        assert possible(convention.analyse(gain * wave), name)
    assert not possible(convention.analyse(wave) * 40, name) or convention.linear


def test_decibels_are_no_natural_logarithms() -> None:
    assert not possible(mel_of("librosa-db"), "bigvgan-44k")
    assert not possible(mel_of("bigvgan-44k"), "librosa-db")
    assert not possible(REAL, "lmnt") and not possible(REAL, "torchaudio")

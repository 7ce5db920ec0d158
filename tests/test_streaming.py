"""A mel that comes in pieces: as in one piece, or with little look-ahead; cuts change nothing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from patience import PATIENCE
from tiny import HOP, difference, speech_mel

from diffwave.base.errors import InputError
from diffwave.streaming.blocks import Block, Track, blocks
from diffwave.streaming.low_latency import BLOCK_FRAMES
from diffwave.vocoder import Vocoder

BLOCK = BLOCK_FRAMES * HOP
MEL = speech_mel(1.6)
FRAMES = MEL.shape[-1]
KINDS = ("spectral", "enhancing", "source", "waveform")
LOUDEST = {"source": 2e-3}  # pulse times add up the rounding of the F0


def cut(mel: torch.Tensor, sizes: list[int]) -> Iterator[torch.Tensor]:
    """The mel in pieces of these sizes, over and over."""
    start, count = 0, 0
    while start < mel.shape[-1]:
        size = sizes[count % len(sizes)]
        yield mel[:, start : start + size]
        start, count = start + size, count + 1


SIZES = st.lists(st.integers(0, 60), min_size=1, max_size=6).filter(any)


# --- as in one piece


@settings(max_examples=25)
@given(
    kind=st.sampled_from(KINDS),
    sizes=SIZES,
    frames=st.integers(2, FRAMES),
    chunk_frames=st.integers(1, 80),
    seed=st.integers(0, 99),
)
def test_any_cut_is_the_wave_of_one_piece(
    vocoders: dict[str, Vocoder],
    kind: str,
    sizes: list[int],
    frames: int,
    chunk_frames: int,
    seed: int,
) -> None:
    chosen, mel = vocoders[kind], MEL[:, FRAMES - frames :]
    whole = chosen(mel, steps=2, seed=seed)
    options: dict[str, Any] = {"steps": 2, "seed": seed, "chunk_frames": chunk_frames}
    pieces = list(chosen.stream(cut(mel, sizes), **options))
    assert all(len(piece) == chunk_frames * HOP for piece in pieces[:-1])
    wave = torch.cat(pieces)
    assert difference(wave, whole) < LOUDEST.get(kind, 1e-4)
    assert torch.equal(torch.cat(list(chosen.stream(iter([mel]), **options))), wave)


@pytest.mark.parametrize("options", [{"n_iter": 3}, {"transpose": 4}, {"n_iter": 2, "steps": 1}])
def test_options_of_a_mel_in_pieces(vocoders: dict[str, Vocoder], options: dict[str, Any]) -> None:
    chosen = vocoders["source"]
    options = {"steps": 2} | options
    wave = chosen(cut(MEL, [9]), **options, chunk_frames=30)
    assert difference(wave, chosen(MEL, **options)) < LOUDEST["source"]
    assert difference(wave, chosen(MEL, steps=2)) > 1e-2
    enhancing = vocoders["enhancing"]
    plain = enhancing(cut(MEL, [9]), enhance=False)
    assert difference(plain, enhancing(MEL, enhance=False)) < 1e-4
    assert difference(plain, enhancing(MEL)) > 1e-2


@pytest.mark.parametrize("low_latency", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_audio_comes_as_soon_as_the_look_ahead_has(
    vocoders: dict[str, Vocoder], kind: str, low_latency: bool
) -> None:
    if low_latency and kind == "waveform":
        pytest.skip("is refused")
    chosen, given = vocoders[kind], 0

    def frames() -> Iterator[torch.Tensor]:
        nonlocal given
        for frame in MEL.mT:
            given += 1
            yield frame

    ahead = chosen.look_ahead(steps=1, n_iter=0, low_latency=low_latency)
    size: dict[str, Any] = {"low_latency": True} if low_latency else {"chunk_frames": 5}
    done, wave = 0, chosen.stream(frames(), steps=1, n_iter=0, **size)
    assert not given  # nothing is asked for before the wave is
    for piece in wave:
        done += len(piece) // HOP
        assert given == min(done + ahead, FRAMES)
    assert done == FRAMES and ahead + 10 < FRAMES


@given(SIZES, st.integers(1, 200), st.integers(1, 50), st.integers(0, 50))
def test_blocks_follow_from_the_number_of_frames(
    sizes: list[int], frames: int, block_frames: int, look_ahead: int
) -> None:
    def found(pieces: Iterator[torch.Tensor]) -> list[tuple[Any, ...]]:
        return [block[:-1] for block in blocks(pieces, block_frames, look_ahead)]

    numbers = torch.arange(frames)[None].float()
    one = found(iter([numbers]))
    assert found(cut(numbers, sizes)) == one
    assert [start for start, *_ in one] == list(range(0, frames, block_frames))
    for start, stop, known, whole in one:
        assert start < stop <= known <= min(frames, start + block_frames + look_ahead)
        assert whole == (start + block_frames + look_ahead > frames)


def test_a_track_keeps_the_numbers_of_its_frames() -> None:
    track = Track()
    for start in range(0, 12, 3):
        track.append(torch.arange(start, start + 3.0)[None])
    track.forget(5)
    track.forget(2)  # long gone
    assert (track.first, track.end) == (5, 12)
    assert track.frames(6, 9).tolist() == [[6, 7, 8]]
    with pytest.raises(AssertionError):
        track.frames(4, 6)
    assert isinstance(next(blocks([MEL[None]], 4, 1)), Block)


# --- low latency


@settings(max_examples=15)
@given(
    kind=st.sampled_from(KINDS[:-1]),
    sizes=SIZES,
    frames=st.integers(2, 60),
    n_iter=st.integers(0, 4),
)
def test_low_latency_depends_on_the_frames_only(
    vocoders: dict[str, Vocoder], kind: str, sizes: list[int], frames: int, n_iter: int
) -> None:
    chosen, mel = vocoders[kind], MEL[:, 30 : 30 + frames]
    options: dict[str, Any] = {"steps": 1, "n_iter": n_iter, "low_latency": True}
    whole = chosen(mel, **options)
    assert whole.shape == (frames * HOP,) and whole.isfinite().all()
    assert torch.equal(chosen(cut(mel, sizes), **options), whole)


def test_low_latency_is_at_most_80_ms(vocoders: dict[str, Vocoder]) -> None:
    """Samples depend on no frame beyond the look-ahead, and on one within it."""
    chosen = vocoders["source"]
    ahead = chosen.look_ahead(low_latency=True)
    (first, *_) = chosen.stream(MEL, steps=1, n_iter=3, low_latency=True)
    block = len(first) // HOP
    assert (block - 1 + ahead) * HOP / 22050 <= 0.080
    before = chosen(MEL, steps=1, n_iter=3, low_latency=True)
    for frame, matters in ((block * 10 + block + ahead, False), (block * 11 + ahead - 1, True)):
        changed = MEL.clone()
        changed[:, frame:] += 1
        after = chosen(changed, steps=1, n_iter=3, low_latency=True)
        stretch = slice(0, block * 11 * HOP)
        assert torch.equal(after[stretch], before[stretch]) != matters


def test_low_latency_without_iterations_is_nearly_the_offline_wave(
    vocoders: dict[str, Vocoder],
) -> None:
    """Of a mel that does not change nothing that lies ahead could have been missed."""
    chosen, mel = vocoders["spectral"], MEL[:, 40:41].expand(80, 80)
    whole = chosen(mel, steps=1, n_iter=0)
    wave = chosen(mel, steps=1, n_iter=0, low_latency=True)
    inner = slice(20 * HOP, 60 * HOP)
    correlation = torch.corrcoef(torch.stack((wave[inner], whole[inner])))[0, 1]
    assert correlation > 0.9


def test_low_latency_of_a_batch_is_each_alone(vocoders: dict[str, Vocoder]) -> None:
    mels = torch.stack([MEL, MEL.flip(1)])
    options: dict[str, Any] = {"steps": 1, "n_iter": 2, "low_latency": True}
    together = vocoders["source"](mels, **options)
    for mel, wave in zip(mels, together, strict=True):
        assert difference(wave, vocoders["source"](mel, **options)) < 2e-3


def test_iterations_bring_a_low_latency_wave_to_its_mel(vocoders: dict[str, Vocoder]) -> None:
    chosen = vocoders["spectral"]

    def error(n_iter: int) -> float:
        wave = chosen(MEL, steps=1, n_iter=n_iter, low_latency=True)
        got = chosen.mel(wave)
        return float((got - MEL)[:, 5:-5].abs().mean())

    assert error(8) < 0.6 * error(0)


def test_low_latency_blocks_meet_without_a_click(vocoders: dict[str, Vocoder]) -> None:
    """Where blocks meet, the wave is no rougher than anywhere."""
    chosen = vocoders["spectral"]
    wave = chosen(MEL, steps=1, n_iter=3, low_latency=True)
    rough = wave.diff(n=3).square()
    rough = rough[: len(rough) // BLOCK * BLOCK].view(-1, BLOCK)[2:-2].mean(0)
    assert float(rough[-2:].mean()) < 1.5 * float(rough.mean())


# --- the bundled voice


def test_the_bundled_voice_in_pieces() -> None:
    bundled, mel = Vocoder.from_pretrained(device="cpu"), speech_mel(1.3)
    whole = bundled(mel, n_iter=4)
    wave = bundled(cut(mel, [5, 0, 1, 17]), n_iter=4, chunk_frames=8)
    assert difference(wave, whole) < 1e-3
    low = bundled(mel, n_iter=4, low_latency=True)
    levels = [float(w.square().mean().sqrt()) for w in (low, whole)]
    assert levels[0] == pytest.approx(levels[1], rel=0.1)
    assert bundled.look_ahead() * HOP / 22050 < 2 and bundled.look_ahead(low_latency=True) == 3


# --- what is refused


@pytest.mark.parametrize(
    ("pieces", "words"),
    [
        ([MEL[:70]], r"shape \[80, frames\], not \[70, "),
        ([MEL, MEL[None]], r"shape \[80, frames\], not \[1, 80"),
        ([MEL, MEL.mT], r"shape \[80, frames\]"),
        ([torch.full((80, 3), torch.nan)], "NaN"),
        ([MEL, MEL[:, :3] + 100], "do not fit"),
        ([(MEL / np.log(10))[:, i : i + 10] for i in range(0, FRAMES, 10)], "look like"),
        ([MEL[:, :1]], "single frame"),
        ([], "has no frame"),
        ([MEL[:, :0]], "has no frame"),
        (["mel"], "must be floating point"),
        ([None], "must be floating point"),
        ([MEL.int()], "must be floating point"),
    ],
)
@pytest.mark.parametrize("low_latency", [False, True])
def test_a_piece_that_is_none(
    vocoder: Vocoder, pieces: list[Any], words: str, low_latency: bool
) -> None:
    with pytest.raises(InputError, match=words):
        list(vocoder.stream(iter(pieces), steps=1, n_iter=0, low_latency=low_latency))


@pytest.mark.parametrize(
    ("kind", "options", "words"),
    [
        ("source", {"f0": np.full(FRAMES, 100.0)}, "whole mel"),
        ("spectral", {"transpose": 2}, "has no source"),
        ("spectral", {"low_latency": True, "chunk_frames": 4}, "its own number of frames"),
        ("waveform", {"low_latency": True}, "spectral space"),
        ("spectral", {"chunk_frames": 0}, "chunk_frames"),
        ("spectral", {"seed": 0.5}, "seed"),
    ],
)
def test_options_that_cannot_be_are_refused_at_once(
    vocoders: dict[str, Vocoder], kind: str, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        vocoders[kind].stream(iter([MEL]), **options)


def test_the_picture_of_latency_and_cost(tiny_checkpoint: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    root = Path(__file__).parents[1]
    command = [sys.executable, str(root / "egs/streaming_latency.py"), str(tmp_path / "a.png")]
    command += ["--checkpoint", str(tiny_checkpoint), "--mel", str(root / "egs/mel.npy")]
    command += ["--exact", "4", "64", "--low-latency", "3", "--blocks", "2"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, cwd=root)
    assert result.returncode == 0, result.stderr
    rows = [line.split("|")[1:-1] for line in result.stdout.splitlines() if line.startswith("|")]
    sizes = [(row[0].strip(), row[1].strip(), row[3].strip()) for row in rows[2:]]
    ahead = Vocoder.from_pretrained(tiny_checkpoint, "cpu").look_ahead()
    waits = [f"{1000 * (size - 1 + ahead) * HOP / 22050:.0f}" for size in (4, 64)]
    assert sizes == [
        ("as in one piece", "4", waits[0]),
        ("as in one piece", "64", waits[1]),
        ("low latency", "3", "70"),
    ]
    assert float(rows[2][6]) > float(rows[3][6]) > 0  # small chunks cost more
    assert (tmp_path / "a.png").stat().st_size > 10_000

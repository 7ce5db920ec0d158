from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import HOP, enhancing_config, random_model, source_config, speech_mel, waveform_config

from diffwave.chain.sampling import Sampling
from diffwave.errors import InputError
from diffwave.spaces import EnergyPrior, WaveformConfig
from diffwave.synthesis import UtteranceSource, chunks, enhanced, generate, reach, utterance_source
from diffwave.vocoder import Vocoder

MEL = speech_mel(1.6)
FRAMES = MEL.shape[-1]


def difference(one: torch.Tensor, other: torch.Tensor) -> float:
    """Largest deviation, relative to the largest sample."""
    assert one.shape == other.shape
    return float((one - other).abs().max() / other.abs().max())


@given(st.integers(1, 500), st.integers(1, 300), st.integers(0, 200))
def test_chunks_cover_every_frame_once_with_their_context(
    frames: int, chunk_frames: int, context: int
) -> None:
    cut = list(chunks(frames, chunk_frames, context))
    kept = [frame for chunk in cut for frame in range(chunk.keep_first, chunk.keep_last)]
    assert kept == list(range(frames))
    for chunk in cut:
        assert 0 < chunk.keep_last - chunk.keep_first <= chunk_frames
        assert chunk.first == max(0, chunk.keep_first - context)
        assert chunk.last == min(frames, chunk.keep_last + context)


@pytest.mark.parametrize("sampler", ["ddim", "dpm-solver++", "ancestral"])
@pytest.mark.parametrize("kind", ["spectral", "waveform"])
@pytest.mark.parametrize("chunk_frames", [20, 50])
def test_chunks_change_nothing(
    vocoder: Vocoder, waveform_vocoder: Vocoder, kind: str, sampler: str, chunk_frames: int
) -> None:
    chosen = vocoder if kind == "spectral" else waveform_vocoder
    steps = 3 if kind == "spectral" else 6
    # Otherwise every chunk would see the whole mel, and nothing would be tested.
    assert 2 * reach(chosen.model, Sampling(steps)) + chunk_frames < FRAMES
    whole = chosen(MEL, steps=steps, sampler=sampler, chunk_frames=FRAMES)
    pieces = list(chosen.stream(MEL, steps=steps, sampler=sampler, chunk_frames=chunk_frames))
    assert len(pieces) == -(-FRAMES // chunk_frames)
    assert all(len(piece) == chunk_frames * HOP for piece in pieces[:-1])
    assert difference(torch.cat(pieces), whole) < 1e-4


def test_chunks_change_nothing_under_an_energy_prior() -> None:
    config = dataclasses.replace(
        waveform_config(), space=WaveformConfig(HOP, EnergyPrior(floor=0.1))
    )
    chosen = Vocoder(random_model(config), "cpu")
    whole = chosen(MEL, steps=3, chunk_frames=FRAMES)
    assert difference(chosen(MEL, steps=3, chunk_frames=20), whole) < 1e-4
    plain = Vocoder(random_model(waveform_config()), "cpu")(MEL, steps=3)
    assert difference(whole, plain) > 0.1


@settings(max_examples=12, deadline=None)
@given(frames=st.integers(2, 90), chunk_frames=st.integers(1, 100), seed=st.integers(0, 99))
def test_any_length_in_any_chunks(
    vocoder: Vocoder, frames: int, chunk_frames: int, seed: int
) -> None:
    mel = MEL[:, 20 : 20 + frames]
    whole = vocoder(mel, steps=2, seed=seed, chunk_frames=frames)
    assert whole.shape == (frames * HOP,)
    in_chunks = vocoder(mel, steps=2, seed=seed, chunk_frames=chunk_frames)
    assert difference(in_chunks, whole) < 1e-4


@pytest.mark.parametrize("n_iter", [1, 4])
def test_chunks_change_nothing_after_iterations(vocoder: Vocoder, n_iter: int) -> None:
    assert 2 * reach(vocoder.model, Sampling(1, n_iter=n_iter)) + 20 < FRAMES
    whole = vocoder(MEL, steps=1, n_iter=n_iter, chunk_frames=FRAMES)
    in_chunks = vocoder(MEL, steps=1, n_iter=n_iter, chunk_frames=20)
    assert difference(in_chunks, whole) < 1e-4
    assert difference(whole, vocoder(MEL, steps=1, n_iter=0)) > 1e-2


def test_chunks_change_nothing_of_an_enhanced_mel() -> None:
    chosen = Vocoder(random_model(enhancing_config()), "cpu")
    assert 2 * reach(chosen.model, Sampling(1)) + 20 < FRAMES
    whole = chosen(MEL, steps=1, chunk_frames=FRAMES)
    assert difference(chosen(MEL, steps=1, chunk_frames=20), whole) < 1e-4
    assert difference(whole, chosen(MEL, steps=1, enhance=False)) > 1e-2
    enhanced = chosen.model.enhance(MEL[None])[0]
    assert difference(whole, chosen(enhanced, steps=1, enhance=False)) < 1e-4


@pytest.mark.parametrize("chunk_frames", [1, 7, 50])
def test_a_mel_enhanced_in_chunks_is_that_enhanced_whole(chunk_frames: int) -> None:
    model = random_model(enhancing_config())
    found = enhanced(model, MEL[None], chunk_frames)
    torch.testing.assert_close(found, model.enhance(MEL[None]), atol=1e-4, rtol=0)
    assert difference(found, MEL[None]) > 1e-2


# --- a source ---


@pytest.fixture(scope="module")
def source_vocoder() -> Vocoder:
    return Vocoder(random_model(source_config()), "cpu")


@pytest.mark.parametrize("chunk_frames", [1, 20, 50])
def test_chunks_change_nothing_with_a_source(source_vocoder: Vocoder, chunk_frames: int) -> None:
    assert 2 * reach(source_vocoder.model, Sampling(2)) + 50 < FRAMES
    mel = MEL[:, :60] if chunk_frames == 1 else MEL
    whole = source_vocoder(mel, steps=2, chunk_frames=FRAMES)
    found = source_vocoder(mel, steps=2, chunk_frames=chunk_frames)
    assert difference(found, whole) < 1e-4


@pytest.mark.parametrize("chunk_frames", [1, 7, 50])
def test_a_source_predicted_in_chunks_is_that_of_the_whole(
    source_vocoder: Vocoder, chunk_frames: int
) -> None:
    model, mels = source_vocoder.model, torch.stack([MEL, MEL.flip(1)])
    whole = utterance_source(model, mels)
    found = utterance_source(model, mels, chunk_frames=chunk_frames)
    assert whole is not None and found is not None
    torch.testing.assert_close(found.share, whole.share, atol=1e-4, rtol=0)
    for one, other in zip(found.pulses, whole.pulses, strict=True):
        assert len(other.times) > 50
        np.testing.assert_allclose(one.times, other.times, atol=0.01)


def test_a_batch_with_a_source_is_each_alone(source_vocoder: Vocoder) -> None:
    mels = torch.stack([MEL, MEL.flip(1)])
    f0 = torch.stack([torch.full((FRAMES,), 120.0), torch.full((FRAMES,), 200.0)])
    for pitch in (None, f0):
        together = source_vocoder(mels, steps=2, f0=pitch)
        for i in range(2):
            alone = source_vocoder(mels[i], steps=2, f0=None if pitch is None else pitch[i])
            assert difference(together[i], alone) < 1e-3  # pulse times add up rounding
        assert difference(together[0], together[1]) > 0.1


def f0_of(wave: torch.Tensor, low: float = 70, high: float = 400) -> float:
    """Hz of the first high peak of the autocorrelation (later ones are octaves below)."""
    spectrum = torch.fft.rfft(wave.double(), n=2 * len(wave)).abs().square()
    spectrum[torch.fft.rfftfreq(2 * len(wave), 1 / 22050) > 2000] = 0  # peaks broader than a sample
    correlation = torch.fft.irfft(spectrum)[: len(wave)]
    first, last = int(22050 / high), int(22050 / low)
    high_enough = correlation[first:last] > 0.9 * correlation[first:last].max()
    lag = first + int(high_enough.nonzero()[0])
    lag += int(correlation[lag : lag + 10].argmax())
    left, peak, right = correlation[lag - 1 : lag + 2]
    return float(22050 / (lag + 0.5 * (left - right) / (left - 2 * peak + right)))


@pytest.mark.parametrize(("hz", "semitones"), [(110.0, 0), (173.0, 0), (110.0, 7), (220.0, -12)])
def test_a_given_pitch_is_followed(source_vocoder: Vocoder, hz: float, semitones: float) -> None:
    """By the mean of the prior, and so by the wave of a network that predicts nothing."""
    model, mel = random_model(source_config()), MEL[:, 30:31].expand(80, 150)
    for parameter in (model.network.filter.weight, model.network.filter.bias):  # type: ignore[union-attr]
        parameter.zero_()  # type: ignore[operator]
    f0 = np.full(150, hz)
    wave = Vocoder(model, "cpu")(mel, steps=1, f0=f0, transpose=semitones)
    assert f0_of(wave[20 * HOP : -20 * HOP]) == pytest.approx(hz * 2 ** (semitones / 12), rel=3e-3)
    # a network that has learnt something else is still heard to depend on it
    one, other = (source_vocoder(mel, steps=2, f0=f0 * factor) for factor in (1, 1.01))
    assert difference(one, other) > 0.1


def test_pulses_stop_where_a_given_pitch_does(source_vocoder: Vocoder) -> None:
    f0 = torch.full((1, FRAMES), 150.0)
    f0[:, 40:80] = 0
    source = utterance_source(source_vocoder.model, MEL[None], f0)
    assert isinstance(source, UtteranceSource)
    assert not source.share[0, 40:80].any()
    assert bool((source.share[0, :40] > 0).all())
    (pulses,) = source.pulses
    frames = pulses.times / HOP
    assert not ((frames > 40.5) & (frames < 79.5)).any()
    assert ((frames < 40).sum(), (frames > 80).sum()) == pytest.approx(
        (40 * HOP * 150 / 22050, (FRAMES - 80) * HOP * 150 / 22050), abs=1.5
    )


def test_transposition_moves_the_predicted_pitch(source_vocoder: Vocoder) -> None:
    model = source_vocoder.model
    predicted = model.predict_source(MEL[None])
    given = torch.where(predicted.voiced, (predicted.f0 * 2 ** (3 / 12)).clamp(50, 600), 0)
    found = utterance_source(model, MEL[None], transpose=3)
    asked = utterance_source(model, MEL[None], given)
    assert found is not None and asked is not None
    torch.testing.assert_close(found.share, asked.share)
    counts = [len(source.pulses[0].times) for source in (found, asked)]
    assert counts[0] == pytest.approx(counts[1], rel=0.03)  # glides over unvoiced frames differ
    assert difference(source_vocoder(MEL, steps=1, transpose=3), source_vocoder(MEL, steps=1)) > 0.1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"f0": np.full(FRAMES, 100.0)}, "has no source"),
        ({"transpose": 1.0}, "has no source"),
        ({"transpose": 25}, "transposition must be a number from -24 to 24"),
        ({"f0": np.full((1, FRAMES), 100.0)}, "one number for each frame"),
        ({"f0": np.full(FRAMES, np.inf)}, "not finite"),
        ({"f0": "high"}, "one number for each frame"),
    ],
)
def test_a_pitch_that_cannot_be_is_refused(
    vocoder: Vocoder, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        vocoder(MEL, steps=1, **options)


@pytest.mark.parametrize("kind", ["spectral", "waveform"])
def test_reach_is_enough_and_needed(vocoder: Vocoder, waveform_vocoder: Vocoder, kind: str) -> None:
    """A change of the mel beyond `reach` is not heard, and one within it is."""
    chosen = vocoder if kind == "spectral" else waveform_vocoder
    steps = 3
    distance = reach(chosen.model, Sampling(steps))
    first, last = 60, 61  # the frames that we listen to
    stretch = slice(first * HOP, last * HOP)
    before = chosen(MEL, steps=steps)[stretch]

    def heard(frame: int) -> bool:
        changed = MEL.clone()
        changed[:, frame] += 1
        return not torch.equal(chosen(changed, steps=steps)[stretch], before)

    assert not heard(last - 1 + distance + 1)
    assert not heard(first - distance - 1)
    assert heard(first)
    # Rounded up to whole frames at every step: not exact, but not wasteful.
    assert any(heard(first - distance + spare) for spare in range(steps + 1))


def test_noise_has_its_own_place_in_every_chunk(vocoder: Vocoder) -> None:
    """Were each chunk's noise to start anew, equal frames would sound alike in every chunk."""
    mel = MEL[:, 40:41].expand(80, 120)
    wave = vocoder(mel, steps=2, chunk_frames=30)
    assert difference(wave[40 * HOP : 45 * HOP], wave[70 * HOP : 75 * HOP]) > 0.1


def test_progress_and_callback_hear_of_every_chunk(vocoder: Vocoder) -> None:
    done: list[int] = []
    steps: list[int] = []
    vocoder_pieces = vocoder.stream(
        MEL,
        steps=3,
        chunk_frames=50,
        progress=done.append,
        callback=lambda step, *_: steps.append(step),
    )
    assert not done  # nothing is computed before it is asked for
    next(vocoder_pieces)
    assert steps == [0, 1, 2]
    for _ in vocoder_pieces:
        pass
    assert sum(done) == FRAMES
    assert len(done) == -(-FRAMES // 50)
    assert steps == [0, 1, 2] * len(done)


def test_pieces_are_float32_without_gradient(vocoder: Vocoder) -> None:
    mel = MEL[None].clone().requires_grad_()
    (piece,) = generate(vocoder.model, mel, Sampling(2))
    assert piece.dtype == torch.float32
    assert not piece.requires_grad
    assert piece.shape == (1, FRAMES * HOP)


PEAKS = """
import re, sys
import torch
sys.path.insert(0, sys.argv[1])
from diffwave.audio import write_audio
from diffwave.vocoder import Vocoder
from tiny import speech_mel

def peak():
    # Not getrusage: its peak is inherited from the process that started this one.
    status = open("/proc/self/status").read()
    return int(re.search(r"VmHWM:\\s+(\\d+)", status)[1]) // 1024  # MiB

torch.set_num_threads(1)
vocoder = Vocoder.from_pretrained(sys.argv[2], "cpu")
mel = speech_mel(3.0)[:, :256]
long = mel.repeat(1, 20)
for example, chunk_frames in ((mel, 64), (long, 64), (long, long.shape[1])):
    wave = vocoder.stream(example, steps=1, chunk_frames=chunk_frames)
    write_audio(sys.argv[3], wave, vocoder.sample_rate)
    print(peak())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/status")
def test_memory_does_not_grow_with_the_mel(tiny_checkpoint: Path, tmp_path: Path) -> None:
    tests = str(Path(__file__).parent)
    arguments = [tests, str(tiny_checkpoint), str(tmp_path / "out.wav")]
    result = subprocess.run(
        [sys.executable, "-c", PEAKS, *arguments],
        capture_output=True,
        text=True,
        timeout=240,
        cwd=Path(__file__).parent.parent,
    )
    assert result.returncode == 0, result.stderr
    short, long, unchunked = map(int, result.stdout.split())
    assert long - short < 40  # the mel itself takes 5 times 3 MiB at the most
    assert unchunked - long > 100  # what would have shown

"""Generation in chunks is generation in one piece; pulses follow the pitch; memory is bounded."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from patience import PATIENCE
from tiny import HOP, difference, random_model, source_config, speech_mel

from diffwave.base.errors import InputError
from diffwave.chain.sampling import Sampling
from diffwave.synthesis import chunks, enhanced, reach, utterance_source
from diffwave.vocoder import Vocoder

MEL = speech_mel(1.6)
FRAMES = MEL.shape[-1]


@given(st.integers(1, 500), st.integers(1, 300), st.integers(0, 200))
def test_chunks_cover_every_frame_once_with_their_context(
    frames: int, chunk_frames: int, context: int
) -> None:
    every, seen = list(range(frames)), []
    for stretch, kept in chunks(frames, chunk_frames, context):
        inner = every[stretch][kept]
        assert 0 < len(inner) <= chunk_frames
        assert stretch.start == max(0, inner[0] - context)
        assert stretch.stop == min(frames, inner[-1] + 1 + context)
        seen += inner
    assert seen == every


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        *[("spectral", {"steps": 3, "sampler": s}) for s in ("ddim", "dpm-solver++", "ancestral")],
        *[("waveform", {"steps": 6, "sampler": s}) for s in ("ddim", "dpm-solver++", "ancestral")],
        ("spectral", {"steps": 1, "n_iter": 1}),
        ("spectral", {"steps": 1, "n_iter": 4}),
        ("prior", {"steps": 3}),
        ("enhancing", {"steps": 1}),
        ("source", {"steps": 2}),
        ("source", {"steps": 2, "transpose": 3}),
    ],
)
def test_chunks_change_nothing(
    vocoders: dict[str, Vocoder], kind: str, options: dict[str, Any]
) -> None:
    chosen = vocoders[kind]
    sampling = chosen.model.sampling(options["steps"], n_iter=options.get("n_iter"))
    # Otherwise every chunk would see the whole mel, and nothing would be tested.
    assert 2 * reach(chosen.model, sampling) + 20 < FRAMES
    whole = chosen(MEL, **options, chunk_frames=FRAMES)
    pieces = list(chosen.stream(MEL, **options, chunk_frames=20))
    assert len(pieces) == -(-FRAMES // 20)
    assert all(len(piece) == 20 * HOP for piece in pieces[:-1])
    assert difference(torch.cat(pieces), whole) < 1e-4


def test_every_part_of_a_vocoder_matters(vocoders: dict[str, Vocoder], vocoder: Vocoder) -> None:
    plain = vocoders["waveform"](MEL, steps=3)
    assert difference(vocoders["prior"](MEL, steps=3), plain) > 0.1
    assert difference(vocoder(MEL, steps=1, n_iter=1), vocoder(MEL, steps=1, n_iter=0)) > 1e-2
    whole = vocoders["enhancing"](MEL, steps=1)
    assert difference(whole, vocoders["enhancing"](MEL, steps=1, enhance=False)) > 1e-2
    better = vocoders["enhancing"].model.enhance(MEL[None])[0]
    assert difference(whole, vocoders["enhancing"](better, steps=1, enhance=False)) < 1e-4


@pytest.mark.parametrize("kind", ["spectral", "source", "enhancing", "waveform"])
def test_autocast_around_a_call_is_the_networks_alone(
    vocoders: dict[str, Vocoder], kind: str
) -> None:
    """Pulses, envelopes and iterations stay in float32, whatever a pipeline computes in."""
    plain = vocoders[kind](MEL, steps=1, n_iter=0 if kind != "waveform" else None)
    with torch.autocast("cpu", torch.bfloat16):
        less = vocoders[kind](MEL, steps=1, n_iter=0 if kind != "waveform" else None)
    assert less.dtype == torch.float32
    assert 0 < float((less - plain).norm()) < 0.03 * float(plain.norm())


@pytest.mark.parametrize("chunk_frames", [1, 7, 50])
def test_mels_are_enhanced_and_sources_predicted_in_chunks(
    vocoders: dict[str, Vocoder], chunk_frames: int
) -> None:
    mels = torch.stack([MEL, MEL.flip(1)])
    found = enhanced(vocoders["enhancing"].model, mels, chunk_frames)
    torch.testing.assert_close(found, vocoders["enhancing"].model.enhance(mels), atol=1e-4, rtol=0)
    whole = utterance_source(vocoders["source"].model, mels)
    source = utterance_source(vocoders["source"].model, mels, chunk_frames=chunk_frames)
    assert whole is not None and source is not None
    torch.testing.assert_close(source.share, whole.share, atol=1e-4, rtol=0)
    for one, other in zip(source.pulses, whole.pulses, strict=True):
        assert len(other.times) > 50
        np.testing.assert_allclose(one.times, other.times, atol=0.01)


# --- a source ---


def test_a_batch_with_a_source_is_each_alone(vocoders: dict[str, Vocoder]) -> None:
    mels = torch.stack([MEL, MEL.flip(1)])
    f0 = torch.tensor([[120.0], [200.0]]).expand(2, FRAMES)
    for pitch in ([None, None], f0):
        together = vocoders["source"](mels, steps=2, f0=None if pitch is not f0 else f0)
        for i in range(2):
            alone = vocoders["source"](mels[i], steps=2, f0=pitch[i])
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
def test_a_given_pitch_is_followed(
    vocoders: dict[str, Vocoder], hz: float, semitones: float
) -> None:
    """By the mean of the prior, and so by the wave of a network that predicts nothing."""
    model, mel = random_model(source_config()), MEL[:, 30:31].expand(80, 150)
    for parameter in model.network.filter.parameters():  # type: ignore[union-attr]
        parameter.zero_()
    f0 = np.full(150, hz)
    wave = Vocoder(model, "cpu")(mel, steps=1, f0=f0, transpose=semitones)
    assert f0_of(wave[20 * HOP : -20 * HOP]) == pytest.approx(hz * 2 ** (semitones / 12), rel=3e-3)
    # a network that has learnt something else depends on it as well
    one, other = (vocoders["source"](mel, steps=2, f0=f0 * factor) for factor in (1, 1.01))
    assert difference(one, other) > 0.1


def test_pulses_stop_where_a_given_pitch_does(vocoders: dict[str, Vocoder]) -> None:
    f0 = torch.full((1, FRAMES), 150.0)
    f0[:, 40:80] = 0
    source = utterance_source(vocoders["source"].model, MEL[None], f0)
    assert source is not None and not source.share[0, 40:80].any()
    assert bool((source.share[0, :40] > 0).all())
    frames = source.pulses[0].times / HOP
    assert not ((frames > 40.5) & (frames < 79.5)).any()
    assert ((frames < 40).sum(), (frames > 80).sum()) == pytest.approx(
        (40 * HOP * 150 / 22050, (FRAMES - 80) * HOP * 150 / 22050), abs=1.5
    )


@pytest.mark.parametrize(
    ("kind", "options", "words"),
    [
        ("spectral", {"f0": np.full(FRAMES, 100.0)}, "has no source"),
        ("spectral", {"transpose": 1.0}, "has no source"),
        ("source", {"transpose": 25}, "transposition must be a number of at most 24, not 25"),
        ("source", {"f0": np.full((1, FRAMES), 100.0)}, "one number for each frame"),
        ("source", {"f0": np.full(FRAMES, np.inf)}, "from 50 to 600 Hz"),
        ("source", {"f0": "high"}, "pitch must be floating point"),
    ],
)
def test_a_pitch_that_cannot_be_is_refused(
    vocoders: dict[str, Vocoder], kind: str, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        vocoders[kind](MEL, steps=1, **options)


# --- context, memory ---


@pytest.mark.parametrize("kind", ["spectral", "waveform"])
def test_reach_is_enough_and_needed(vocoders: dict[str, Vocoder], kind: str) -> None:
    """A change of the mel beyond `reach` changes nothing, and one within it does."""
    chosen, steps = vocoders[kind], 3
    distance = reach(chosen.model, Sampling(steps))
    first, last = 60, 61  # the frames that are looked at
    stretch = slice(first * HOP, last * HOP)
    before = chosen(MEL, steps=steps)[stretch]

    def matters(frame: int) -> bool:
        changed = MEL.clone()
        changed[:, frame] += 1
        return not torch.equal(chosen(changed, steps=steps)[stretch], before)

    assert not matters(last - 1 + distance + 1)
    assert not matters(first - distance - 1)
    assert matters(first)
    # Rounded up to whole frames at every step: not exact, but not wasteful.
    assert any(matters(first - distance + spare) for spare in range(steps + 1))


def test_progress_and_callback_are_called_for_every_chunk(vocoder: Vocoder) -> None:
    done: list[int] = []
    steps: list[int] = []
    pieces = vocoder.stream(
        MEL, steps=3, chunk_frames=50,
        progress=done.append, callback=lambda step, *_: steps.append(step),
    )  # fmt: skip
    assert not done  # nothing is computed before it is asked for
    next(pieces)
    assert steps == [0, 1, 2]
    assert len(list(pieces)) + 1 == len(done) == -(-FRAMES // 50)
    assert sum(done) == FRAMES and steps == [0, 1, 2] * len(done)


PEAKS = """
import re, sys
import torch
sys.path.insert(0, sys.argv[1])
from diffwave.base.audio import write_audio
from diffwave.vocoder import Vocoder
from tiny import HOP, difference, random_model, source_config, speech_mel

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
    tests = Path(__file__).parent
    arguments = [str(tests), str(tiny_checkpoint), str(tmp_path / "out.wav")]
    command = [sys.executable, "-c", PEAKS, *arguments]
    result = subprocess.run(
        command, capture_output=True, text=True, timeout=PATIENCE, cwd=tests.parent
    )
    assert result.returncode == 0, result.stderr
    short, long, unchunked = map(int, result.stdout.split())
    assert long - short < 40  # the mel itself takes 5 times 3 MiB at the most
    assert unchunked - long > 100  # what would have shown

"""Formulas for NumPy and PyTorch alike give the same with both."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from diffwave.base.arrays import like, windows
from diffwave.chain import angles, schedule
from diffwave.chain.gaussian import q_posterior_mean_variance
from diffwave.chain.samplers import SAMPLERS, sample
from diffwave.dsp.chunks import by_chunks
from diffwave.dsp.consistency import match_bands
from diffwave.dsp.source import Source, minimum_phase, shaped_source, transposed, with_f0
from diffwave.dsp.stft import ShortTimeFourier
from diffwave.mel import MelSpectrogram, preset
from diffwave.spaces.stft import STFT

pytestmark = pytest.mark.skipif(
    np.lib.NumpyVersion(np.__version__) < "2.0.0", reason="NumPy 1 has no FFT in float32"
)
FRAMES, N_FFT, HOP = 30, 1024, 256
RNG = np.random.default_rng(0)


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def agree(ours: np.ndarray, theirs: torch.Tensor, tolerance: float) -> None:
    assert isinstance(ours, np.ndarray)
    assert ours.dtype == torch.empty(0, dtype=theirs.dtype).numpy().dtype
    np.testing.assert_allclose(ours, theirs.numpy(), rtol=0, atol=tolerance)


def test_transform_and_its_inverse() -> None:
    wave = normal(2, (FRAMES - 1) * HOP + N_FFT)
    ours, theirs = ShortTimeFourier(N_FFT, HOP), STFT(N_FFT, HOP)
    spectrum = ours.analyse(wave)
    agree(spectrum, theirs(torch.from_numpy(wave)), 1e-5)
    agree(ours.inverse(spectrum), theirs.inverse(torch.from_numpy(spectrum)), 1e-4)
    inner = slice(100, -100)  # at the ends the window is too small to be divided by
    np.testing.assert_allclose(ours.inverse(spectrum)[:, inner], wave[:, inner], atol=1e-4)


def test_windows_are_views_of_every_hop() -> None:
    wave = np.arange(10.0)[None]
    expected = [[[0, 1, 2, 3], [3, 4, 5, 6], [6, 7, 8, 9]]]
    assert windows(wave, 4, 3).tolist() == expected
    assert windows(torch.from_numpy(wave), 4, 3).tolist() == expected


def test_iterations() -> None:
    frontend = MelSpectrogram(preset("hifigan"))
    ends, filters = frontend.config.amplitude_range, frontend.unit_filterbank
    spectrum = ShortTimeFourier(N_FFT, HOP).analyse(normal(1, (FRAMES - 1) * HOP + N_FFT))
    wanted = normal(1, FRAMES, 80) - 3
    start = torch.from_numpy(spectrum.copy())
    ours = match_bands(
        spectrum.copy(), wanted, ends, filters.numpy(), ShortTimeFourier(N_FFT, HOP), 8, 0.9
    )
    with torch.no_grad():
        theirs = match_bands(
            start, torch.from_numpy(wanted), ends, filters, STFT(N_FFT, HOP), 8, 0.9, in_place=False
        )
    assert np.abs(ours - spectrum).max() > 0.1
    agree(ours, theirs, 1e-4)


def test_source() -> None:
    envelope = np.cumsum(normal(1, FRAMES, 512), -1) / 20
    pulses = ShortTimeFourier(N_FFT, HOP).analyse(normal(1, (FRAMES - 1) * HOP + N_FFT))
    share = RNG.uniform(-0.2, 1.2, (1, FRAMES, 512)).astype(np.float32)
    ours = shaped_source(pulses, share, envelope, 0.1)
    theirs = shaped_source(*map(torch.from_numpy, (pulses, share, envelope)), 0.1)
    for a, b in zip(ours, theirs, strict=True):
        agree(a, b, 1e-4)
    agree(minimum_phase(envelope), minimum_phase(torch.from_numpy(envelope)), 1e-4)


def test_pitch_given_and_transposed() -> None:
    voiced = np.arange(FRAMES)[None] % 7 > 2
    share = RNG.uniform(0, 1, (1, FRAMES, 4)).astype(np.float32) * voiced[..., None]
    source = Source(np.full((1, FRAMES), 120, np.float32), voiced, share)
    f0 = np.where(np.arange(FRAMES)[None] % 5 > 1, 200, 0).astype(np.float32)
    ours = transposed(with_f0(source, f0), 3)
    theirs = transposed(with_f0(Source(*map(torch.from_numpy, source)), torch.from_numpy(f0)), 3)
    for a, b in zip(ours, theirs, strict=True):
        agree(a, b, 1e-4)


@pytest.mark.parametrize("name", SAMPLERS)
def test_samplers(name: str) -> None:
    noise = normal(5, 6, 7)
    levels = schedule.uniform_angles(4)

    def run(x: np.ndarray | torch.Tensor, levels: np.ndarray | torch.Tensor) -> np.ndarray:
        return sample(
            SAMPLERS[name],
            lambda x, alpha_bar: 0.5 * x + like(alpha_bar, x),
            x,
            levels,
            noise=lambda i: like(noise[i + 1], x),
        )

    agree(run(noise[0], levels.numpy()), run(torch.from_numpy(noise[0]), levels), 1e-5)


def test_posterior_and_angles() -> None:
    x, y = normal(3, 4), normal(3, 4)
    ours = q_posterior_mean_variance(x, y, np.float64(0.2), np.float64(0.6))
    theirs = q_posterior_mean_variance(
        torch.from_numpy(x), torch.from_numpy(y), torch.tensor(0.2).double(), torch.tensor(0.6)
    )
    agree(ours[0], theirs[0], 1e-6)
    assert float(ours[1]) == pytest.approx(float(theirs[1]))
    u = np.linspace(0, 1, 11)
    bar = angles.alpha_bar_of(u)
    assert bar[-1] == 0
    agree(bar, schedule.alpha_bar_of_angle(u), 1e-15)
    np.testing.assert_allclose(angles.angle_of(bar), u, atol=1e-7)


def test_pieces_are_put_together() -> None:
    mel = normal(1, 3, 50)

    def means(piece: np.ndarray) -> list[np.ndarray]:  # of three frames
        padded = np.pad(piece, ((0, 0), (0, 0), (1, 1)))
        return [(padded[..., :-2] + padded[..., 1:-1] + padded[..., 2:]).swapaxes(1, 2)]

    np.testing.assert_allclose(by_chunks(means, mel, 7, 1)[0], means(mel)[0], rtol=1e-6)

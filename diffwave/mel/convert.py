"""Mels of one convention as mels of another.

Where both come of the same filters over the same transform, only units, logarithms and statistics
differ, and the conversion is exact but for what a floor or a limit has cut off. Otherwise the
magnitudes of the source's transform are estimated frame by frame and analysed anew:

    bands = F m,  m >= 0:  m starts as the envelope interpolated between the bands' centres, and is
    multiplied by F^T(bands / F m) / F^T 1 a few times

(Richardson 1972, Lucy 1974: the likelihood rises with every iteration, positive m stay positive,
and few iterations stay near the smooth start: the regularisation). Beyond the source's edges m goes
on in the shape of the mean spectrum of speech. Frames at other times are interpolated by cubic
convolution (Keys 1981) of the logarithms.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from diffwave.base.errors import InputError
from diffwave.mel.check import check_shape
from diffwave.mel.conventions import TINY, Convention

ITERATIONS = 8
ENVELOPE = (
    (20, -5.1), (80, -5.4), (100, -5.0), (150, -3.0), (300, -3.0), (500, -3.5), (1000, -4.6),
    (2000, -5.5), (3000, -5.2), (4000, -5.5), (5000, -6.0), (6000, -6.7), (7000, -6.4),
    (8000, -6.2), (9000, -6.5), (10000, -6.8), (10500, -7.2), (11000, -7.7), (24000, -12.0),
)  # fmt: skip
"""Hz and mean log magnitude, 0 for white noise of variance 1, of two readers' speech at an rms of
-23 dB; above 11 kHz, where those recordings end, continued."""
RAYLEIGH = math.sqrt(math.pi) / 2
"""Mean magnitude of a bin of noise over the root of its mean power."""


@dataclass(frozen=True)
class Difference:
    """What stands between two conventions."""

    filters: bool
    """The filters' edges, number, scale or exponent."""
    transform: bool
    """Sample rate, transform or window."""
    frames: bool
    """The time from a frame to the next."""
    missing: tuple[float, float] | None
    """Hz of what the source does not hold: from its upper edge to the target's."""

    @property
    def exact(self) -> bool:
        """Whether only units, logarithms and statistics differ."""
        return not (self.filters or self.transform or self.frames)

    def __str__(self) -> str:
        if self.exact:
            return "exact: only units and logarithms differ"
        what = [
            name
            for name, differs in (
                ("filterbank", self.filters),
                ("sample rate, transform or window", self.transform),
                ("time between frames", self.frames),
            )
            if differs
        ]
        text = f"estimated, as these differ: {', '.join(what)}"
        if self.missing is not None:
            low, high = self.missing
            text += f"; nothing is known from {low:.0f} to {high:.0f} Hz"
        return text


def difference(source: Convention, target: Convention) -> Difference:
    """What makes a conversion inexact."""
    a, b = source.mel, target.mel
    filters = (source.power, a.n_mels, a.mel_scale) != (target.power, b.n_mels, b.mel_scale) or (
        _edges(source) != _edges(target)
    )
    top_a, top_b = _edges(source)[1], _edges(target)[1]
    return Difference(
        filters=filters or source.filter_rate != target.filter_rate,
        transform=(a.sample_rate, a.n_fft, a.win_length) != (b.sample_rate, b.n_fft, b.win_length),
        frames=a.hop_length * b.sample_rate != b.hop_length * a.sample_rate,
        missing=(top_a, top_b) if top_a < top_b * 0.999 else None,
    )


def convert(mel: Tensor, source: Convention, target: Convention) -> Tensor:
    """A mel [n_mels, T] of `source` as float32 [n_mels', T'] of `target`.

    Frames as far apart as the target's are taken one for one, so that the wave may begin up to half
    a hop earlier or later; others are interpolated at the target's times.

    Raises:
        InputError: for a mel that has not the source's bands, has fewer than two frames, or holds
            NaN or infinity.
    """
    if mel.dim() != 2 or not mel.is_floating_point():
        raise InputError(
            f"A mel-spectrogram must be floating point of the shape [{source.mel.n_mels}, frames], "
            f"not {mel.dtype} of the shape {list(mel.shape)}."
        )
    check_shape(tuple(mel.shape), source.mel)
    if not torch.isfinite(mel).all():
        raise InputError("The mel-spectrogram holds NaN or infinity.")
    values = mel.detach().double()
    differs = difference(source, target)
    bands = source.bands(values)
    if differs.exact:
        units = (target.window_norm / source.window_norm) ** source.power
        # The triangles may be of another height.
        ours, theirs = source.filterbank().sum(1), target.filterbank().sum(1)
        heights = torch.where(ours > 0, theirs / ours.clamp(min=TINY), 1.0)
        return target.values(bands * (units * heights)[:, None]).float()
    bands = _widened(bands, source, target)
    if differs.frames:
        bands = _at_times(bands.log(), _times(source, target, bands.shape[1])).exp()
    magnitude = _magnitude(bands, source)
    return target.values(_analyse(magnitude, source, target)).float()


def _edges(convention: Convention) -> tuple[float, float]:
    stretch = convention.stretch
    return convention.mel.fmin * stretch, convention.mel.fmax * stretch


def _widened(bands: Tensor, source: Convention, target: Convention) -> Tensor:
    """Bands [n_mels, T] with their power averaged over time, as a longer window would.

    The energy under a Hann window has a deviation of 0.141 times its length; what the target's
    lacks is made up for by a Gaussian.
    """
    lengths = [
        c.mel.win_length / c.mel.sample_rate / source.frame_seconds for c in (source, target)
    ]
    variance = 0.141**2 * (lengths[1] ** 2 - lengths[0] ** 2)
    if variance < 0.05:  # frames squared: a neighbour would weigh less than 1 in 10 000
        return bands
    reach = math.ceil(3 * math.sqrt(variance))
    offsets = torch.arange(-reach, reach + 1, dtype=bands.dtype)
    kernel = (-offsets.square() / (2 * variance)).exp()
    kernel = kernel / kernel.sum()
    power = bands ** (2 / source.power)
    padded = torch.nn.functional.pad(power[:, None], (reach, reach), mode="replicate")
    widened = torch.nn.functional.conv1d(padded, kernel[None, None])[:, 0]
    return widened ** (source.power / 2)


def _times(source: Convention, target: Convention, n_frames: int) -> Tensor:
    """Where the target's frames lie, in frames of the source."""
    a, b = source.mel, target.mel
    step = target.frame_seconds / source.frame_seconds
    seconds = (n_frames - a.centered) * source.frame_seconds
    count = max(2, round(seconds / target.frame_seconds) + b.centered)
    first = 0.0 if b.centered else step / 2
    return first + step * torch.arange(count, dtype=torch.float64) - (0.0 if a.centered else 0.5)


def _at_times(values: Tensor, times: Tensor) -> Tensor:
    """Values [n, T] at fractional frames [T'], by cubic convolution; the ends are repeated."""
    times = times.clamp(0, values.shape[1] - 1)
    left = times.floor()
    u = times - left
    found = torch.zeros(len(values), len(times), dtype=values.dtype)
    weights = (
        ((-0.5 * u + 1) * u - 0.5) * u,
        (1.5 * u - 2.5) * u * u + 1,
        ((-1.5 * u + 2) * u + 0.5) * u,
        (0.5 * u - 0.5) * u * u,
    )
    for offset, weight in zip((-1, 0, 1, 2), weights, strict=True):
        index = (left + offset).long().clamp(0, values.shape[1] - 1)
        found += values[:, index] * weight
    return found


def _envelope(hz: Tensor) -> Tensor:
    """Mean log magnitude of speech at frequencies [n]."""
    points = torch.tensor(ENVELOPE, dtype=torch.float64)
    return _interpolate(hz, points[:, 0].contiguous(), points[:, 1:])[:, 0]


def _interpolate(at: Tensor, knots: Tensor, values: Tensor) -> Tensor:
    """Values [n, T] at knots [n], rising, at places [m]; the ends are repeated."""
    at = at.clamp(float(knots[0]), float(knots[-1]))
    right = torch.searchsorted(knots, at.contiguous()).clamp(1, len(knots) - 1)
    share = (at - knots[right - 1]) / (knots[right] - knots[right - 1]).clamp(min=1e-9)
    return values[right - 1] * (1 - share[:, None]) + values[right] * share[:, None]


def _hz(convention: Convention) -> Tensor:
    """Frequencies of the transform's bins, [n_fft // 2 + 1]."""
    config = convention.mel
    bins = torch.arange(config.n_fft // 2 + 1, dtype=torch.float64)
    return bins * config.sample_rate / config.n_fft


def _magnitude(bands: Tensor, source: Convention) -> Tensor:
    """Magnitudes [bins, T] of the source's transform, 1 for white noise, of bands [n_mels, T]."""
    filters = source.filterbank() * source.window_norm**source.power
    used = filters.sum(1) > 0  # narrow filters may lie between two bins
    filters, bands = filters[used], bands[used]
    hz = _hz(source)
    weight = filters.sum(1)
    centres = (filters @ hz) / weight
    shape = _envelope(hz) * source.power
    # Relative to the shape of speech, so that what lies beyond the edges follows it.
    relative = (bands / weight[:, None]).clamp(min=TINY).log()
    relative = relative - _interpolate(centres, hz, shape[:, None])
    estimate = (_interpolate(hz, centres, relative) + shape[:, None]).exp()
    covered = filters.sum(0)[:, None]
    for _ in range(ITERATIONS):
        ratio = filters.T @ (bands / (filters @ estimate).clamp(min=TINY))
        estimate = torch.where(covered > 0, estimate * ratio / covered.clamp(min=TINY), estimate)
    return estimate if source.power == 1 else estimate.clamp(min=TINY).sqrt() * RAYLEIGH


def _analyse(magnitude: Tensor, source: Convention, target: Convention) -> Tensor:
    """Bands [n_mels, T] of the target of the source's magnitudes [bins, T]."""
    filters = target.filterbank() * target.window_norm**target.power
    hz, known = _hz(target), _hz(source)
    log = magnitude.clamp(min=TINY).log()
    found = _interpolate(hz, known, log)
    above = hz > known[-1]
    if above.any():
        found[above] += (_envelope(hz[above]) - _envelope(known[-1:]))[:, None]
    found = found.exp()
    # The same sound has less power in a bin, in units of white noise, the higher the sample rate.
    found = found * math.sqrt(target.mel.sample_rate / source.mel.sample_rate)
    return filters @ (found if target.power == 1 else (found / RAYLEIGH).square())


def rms(mel: Tensor, source: Convention) -> float:
    """About the rms of the wave of a mel [n_mels, T], 1 for full scale."""
    magnitude = _magnitude(source.bands(mel.double()), source)
    return float(magnitude.square().mean().sqrt()) / RAYLEIGH

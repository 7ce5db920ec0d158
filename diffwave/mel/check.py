"""Is this array a mel-spectrogram of the convention that the vocoder was trained on?

A mel of another convention has the right shape and gives noise, so its values are looked at too.
They are first brought to a common unit: the natural logarithm of the amplitude, 0 where white noise
of variance 1 would lie. In that unit speech looks alike in every convention, but speech *misread*
(log10 taken for ln, say) is squeezed, stretched or shifted. A mel is refused

- if values lie beyond what a wave within -1..1 and the convention's floor can give; or
- if it is no speech as it stands, but clearly is speech when read as another convention.

The second rule errs on accepting: it wants 128 frames, and lets noise, noisy speech, music,
silence, quiet and smoothed mels pass. What it cannot tell apart: conventions that differ only in
the filterbank or the sample rate (`espnet` and `speecht5`), loud log10 mels from Coqui's, quiet
Coqui mels from log10 and, under a config with `mean` and `scale`, most of what lies near 0. The
thresholds lie in the gaps measured between speech (two readers, -12 to +12 dB), misread speech,
and speech in white noise.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from diffwave.base.errors import InputError
from diffwave.mel.config import PRESETS, MelConfig
from diffwave.mel.normalise import log_amplitude

FLOOR_MARGIN = 1.5  # nats a predicted mel may undershoot the floor
LIMITS_MARGIN = 0.05  # part of the range by which a predicted mel may overshoot `limits`
TOP = 5.0  # nats; full-scale speech reaches 2.5, so this is 20 dB more
MIN_FRAMES = 128  # fewer do not show what speech looks like
MAX_FRAMES = 20_000  # more need not be looked at


def check_mel(mel: Tensor | ArrayLike, config: MelConfig) -> Tensor:
    """A mel as float32 [B, n_mels, T], or an `InputError` saying why it is not one of `config`'s.

    mel: [n_mels, T] or [B, n_mels, T] with T >= 2, floating point, NumPy or PyTorch, in the values
    of `config`. Device and gradients are kept. A square mel is taken as [n_mels, T].
    """
    mel = as_tensor("mel-spectrogram", mel).float()
    check_shape(tuple(mel.shape), config)
    if not torch.isfinite(mel).all():
        raise InputError("The mel-spectrogram holds NaN or infinity.")
    mel = mel if mel.dim() == 3 else mel[None]
    _check_values(mel.detach(), config)
    return mel


def check_one(mel: Tensor | ArrayLike, config: MelConfig, place: object) -> Tensor:
    """The only mel of a place, [n_mels, T], as `check_mel` has it; InputError for several."""
    mels = check_mel(mel, config)
    if len(mels) != 1:
        raise InputError(f"{place} holds {len(mels)} mel-spectrograms; give one.")
    return mels[0]


def as_tensor(name: str, value: Tensor | ArrayLike, integers: bool = False) -> Tensor:
    """An array of floating-point numbers as a tensor, or an `InputError` that begins "A `name`"."""
    if not isinstance(value, Tensor):
        try:
            array = np.asarray(value)
        except (ValueError, TypeError, RuntimeError):  # rows of several lengths, say
            raise InputError(f"A {name} must be an array, and this cannot be made one.") from None
        if array.dtype.kind not in ("fiu" if integers else "f"):
            numbers = array.dtype.kind not in "USO" or isinstance(value, np.ndarray)
            kind = array.dtype if numbers else type(value).__name__
            raise InputError(f"A {name} must be floating point, not {kind}.")
        return torch.from_numpy(array.astype(np.float32))
    if not (value.is_floating_point() or integers):
        raise InputError(f"A {name} must be floating point, not {value.dtype}.")
    if value.is_meta or value.layout != torch.strided:
        raise InputError(f"A {name} must be a dense tensor that holds its values.")
    return value


def check_shape(shape: tuple[int, ...], config: MelConfig) -> None:
    """Raise InputError unless a mel has a convention's bands in their place, and 2 frames."""
    n_mels, mel = config.n_mels, f"The mel-spectrogram of shape {list(shape)}"
    if len(shape) not in (2, 3):
        raise InputError(
            f"A mel-spectrogram must have the shape [{n_mels}, frames] or "
            f"[batch, {n_mels}, frames], not {list(shape)}."
        )
    if 0 in shape:
        raise InputError(f"{mel} is empty.")
    bands, frames = len(shape) - 2, len(shape) - 1  # axes
    if shape[bands] != n_mels and shape[frames] == n_mels:
        turn = "mel.T" if len(shape) == 2 else "mel.swapaxes(1, 2)"
        raise InputError(
            f"{mel} looks transposed: the {n_mels} mel bands are on axis {frames} but belong on "
            f"axis {bands}; pass {turn}."
        )
    if shape[bands] != n_mels:
        raise InputError(
            f"{mel} has {shape[bands]} mel bands on axis {bands}, but the {config.name!r} "
            f"convention has {n_mels}."
        )
    if shape[frames] < 2:
        raise InputError("The mel-spectrogram has a single frame, but at least 2 are needed.")


def _check_values(mel: Tensor, config: MelConfig) -> None:
    """mel [B, n_mels, T], finite."""
    raw = mel.movedim(1, 0).flatten(1)  # [n_mels, B * T]
    raw = raw[:, :: 1 + raw.shape[1] // MAX_FRAMES]
    inside = _within_range(raw, config)
    if inside and (raw.shape[1] < MIN_FRAMES or not _Reading(raw, config).is_odd()):
        return
    other = _recognise(raw, config, inside)
    if inside and other is None:
        return
    usual = ""
    if config.mean is None:
        low, high = config.limits or (
            config.log_factor * level + config.offset
            for level in (math.log(config.floor), _unit(config) + 2.5)
        )
        usual = f" ({low:.3g} to about {high:.3g})"
    raise InputError(
        f"The mel-spectrogram's values ({raw.min():.4g} to {raw.max():.4g}) do not fit the "
        f"{config.name!r} convention{usual}" + (f"; they look like {other}." if other else ".")
    )


class _Reading:
    """What values [n_mels, T] would be as speech if they were of a convention; in nats."""

    def __init__(self, raw: Tensor, config: MelConfig) -> None:
        amplitude = log_amplitude(raw, config) - _unit(config)
        loudness = amplitude.mean(0)
        loud = amplitude[:, loudness.topk(max(1, len(loudness) // 5)).indices]
        at = torch.tensor([0.1, 0.25, 0.5, 0.75, 0.9], device=loud.device)
        # Of the loud fifth of the frames: quantiles over bands, then the median over frames.
        quantiles = loud.quantile(at, dim=0).median(1).values.tolist()
        self.level = quantiles[2]
        self.spread = quantiles[4] - quantiles[0]
        self.middle = quantiles[3] - quantiles[1]
        self.top = float(amplitude.max())
        self.quiet = float(amplitude.flatten().kthvalue(1 + amplitude.numel() // 20).values)
        self.depth = float(amplitude.median()) - self.quiet
        self.motion = float(loudness.std())  # over frames

    def is_speech(self) -> bool:
        """Whether this cannot but be clean speech."""
        return (
            -4 < self.top < 4.5
            and -8.5 < self.level < -1.2
            and 2.4 < self.spread < 6
            and 0.4 < self.motion < 3
            # In noise frames differ less in loudness, and nothing is much quieter than the rest.
            and self.motion * self.depth > 0.08 * self.spread**2
        )

    def is_odd(self) -> bool:
        """Whether this is hardly clean speech: squeezed, without quiet, or stretched."""
        return self.spread < 2.2 or self.quiet > -4.4 or (self.middle > 3.2 and self.level < -8.5)


def _unit(config: MelConfig) -> float:
    """The log amplitude at which a mel shows white noise of variance 1, averaged over bands."""
    bin_width = config.sample_rate / config.n_fft
    area = 1.0 if config.mel_norm == "slaney" else (config.fmax - config.fmin) / config.n_mels
    window = 1.0 if config.normalized else math.sqrt(3 / 8 * config.win_length)
    return math.log(area / bin_width * window)


def _within_range(raw: Tensor, config: MelConfig) -> bool:
    """Whether a wave within -1..1, and a model's imprecision, may give these values."""
    amplitude = log_amplitude(raw, config)
    low, high = math.log(config.floor) - FLOOR_MARGIN, _unit(config) + TOP
    if config.limits is not None:
        low, high = ((end - config.offset) / config.log_factor for end in config.limits)
        margin = LIMITS_MARGIN * (high - low)
        low, high = low - margin, high + margin
    return bool(amplitude.min() >= low and amplitude.max() <= high)


def _others(config: MelConfig) -> dict[str, MelConfig]:
    """The conventions with other values than `config`'s for the same amplitudes, by description."""

    def values(convention: MelConfig) -> tuple[object, ...]:
        c = convention
        return c.log, c.gain, c.offset, c.limits, c.mean

    plain = dataclasses.replace(config, gain=1, offset=0, limits=None, mean=None, scale=None)
    sixteen_bit = config.offset + config.log_factor * math.log(2**15)
    others = {
        "decibels": dataclasses.replace(plain, log="db", floor=1e-10),
        "a mel of samples in -32768..32767 instead of -1..1": dataclasses.replace(
            config, offset=sixteen_bit, limits=None
        ),
    }
    for known in PRESETS.values():
        alike = [repr(c.name) for c in PRESETS.values() if values(c) == values(known)]
        plain_log10 = known.log == "log10" and known.gain == 1
        kind = "base-10 logarithms, as of " * plain_log10
        others[f"{kind}the convention {' or '.join(alike)}"] = known
    return {label: other for label, other in others.items() if values(other) != values(config)}


def _recognise(raw: Tensor, config: MelConfig, inside: bool) -> str | None:
    """The convention, other than `config`, as which raw [n_mels, T] is speech."""
    if config.mean is None and _is_normalised(raw):
        return "a mel normalised to zero mean and unit variance, as ESPnet's are"
    readings = {
        label: _Reading(raw, other)
        for label, other in _others(config).items()
        if _within_range(raw, other)
    }
    if raw.min() >= 0:
        plain = dataclasses.replace(config, log="ln", gain=1, offset=0, mean=None, scale=None)
        readings["amplitudes without a logarithm"] = _Reading(raw.clamp(min=1e-10).log(), plain)
    found: list[tuple[float, str]] = []
    for label, reading in readings.items():
        # Out of range is reason enough to refuse, so that any plausible name helps.
        if reading.is_speech() or (not inside and -4 < reading.top < 4.5):
            found.append((abs(reading.level + 4.5) + abs(reading.spread - 4), label))
    return min(found)[1] if found else None


def _is_normalised(raw: Tensor) -> bool:
    """Whether every band has roughly mean 0 and variance 1, and frames are louder and softer."""
    return (
        float(raw.mean(1).abs().max()) < 0.8
        and 0.6 < float(raw.std()) < 1.5
        and float(raw.mean(0).std()) > 0.3
    )

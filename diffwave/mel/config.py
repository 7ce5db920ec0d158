"""The conventions in which software computes mel-spectrograms, as data.

A vocoder only understands mels made the way its training mels were made. A `MelConfig` spells that
way out down to the last constant; `PRESETS` holds those of the common text-to-speech projects.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from diffwave.bounds import integer, shown
from diffwave.errors import InputError

# What the natural logarithm is multiplied by. Decibels are 20 log10, because mels are amplitudes.
LOG_FACTORS = {"ln": 1.0, "log10": 1 / math.log(10), "db": 20 / math.log(10)}


@dataclass(frozen=True)
class MelConfig:
    """Everything that decides the numbers in a mel-spectrogram.

    value = gain * log(max(filterbank @ |STFT(wave)|, floor)) + offset, clipped to `limits`; then,
    if there are statistics, (value - mean) / scale. Raises `InputError` for settings of a wrong
    type or that contradict each other.
    """

    name: str
    sample_rate: int  # Hz
    n_fft: int  # samples
    hop_length: int  # samples from one frame to the next
    win_length: int  # samples of the periodic Hann window, centred in n_fft
    n_mels: int
    fmin: float  # Hz, lower edge of the first band
    fmax: float  # Hz, upper edge of the last band
    mel_scale: str  # "slaney" (linear below 1 kHz) or "htk"
    mel_norm: str | None  # "slaney" (triangles of equal area) or None (triangles of height 1)
    centered: bool  # reflect-pad n_fft // 2, T = 1 + L // hop; else (n_fft - hop) / 2, T = L // hop
    log: str  # "ln", "log10" or "db" (20 log10)
    floor: float  # smallest amplitude that enters the logarithm
    magnitude_eps: float = 0.0  # |X| = sqrt(re^2 + im^2 + magnitude_eps)
    normalized: bool = False  # |X| divided by the l2 norm of the window
    gain: float = 1.0
    offset: float = 0.0
    limits: tuple[float, ...] | None = None  # (low, high), to which gain * log + offset is clipped
    mean: tuple[float, ...] | None = None  # [n_mels], statistics of a normalised mel
    scale: tuple[float, ...] | None = None  # [n_mels], its standard deviations

    def __post_init__(self) -> None:
        for name, hint in _TYPES.items():
            object.__setattr__(self, name, _typed(name, getattr(self, name), hint))
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                raise InputError(
                    f"Mel setting {name} must be one of {', '.join(map(repr, allowed))}, "
                    f"not {shown(getattr(self, name))}."
                )
        self._check_stft()
        self._check_scaling()

    def _check_stft(self) -> None:
        for name, most in _MOST.items():
            integer(f"Mel setting {name}", getattr(self, name), 1, most)
        for name in ("hop_length", "win_length"):
            if getattr(self, name) > self.n_fft:
                raise InputError(
                    f"Mel setting {name} ({getattr(self, name)}) must not exceed "
                    f"n_fft ({self.n_fft})."
                )
        if not 0 <= self.fmin < self.fmax <= self.sample_rate / 2:
            raise InputError(
                f"Mel settings must satisfy 0 <= fmin < fmax <= sample_rate / 2, but fmin is "
                f"{self.fmin:g}, fmax {self.fmax:g} and sample_rate / 2 {self.sample_rate / 2:g}."
            )
        if math.ceil(self.fmax * self.n_fft / self.sample_rate) - 1 <= math.floor(
            self.fmin * self.n_fft / self.sample_rate
        ):
            raise InputError(
                f"No frequency of a transform of {self.n_fft} samples lies in a mel band between "
                f"fmin {self.fmin:g} and fmax {self.fmax:g}."
            )

    def _check_scaling(self) -> None:
        if self.floor <= 0 or self.gain <= 0 or self.magnitude_eps < 0:
            raise InputError(
                f"Mel settings floor ({self.floor:g}) and gain ({self.gain:g}) must be positive "
                f"and magnitude_eps ({self.magnitude_eps:g}) must not be negative."
            )
        if self.limits is not None and (len(self.limits) != 2 or self.limits[0] >= self.limits[1]):
            raise InputError(f"Mel setting limits must be two rising numbers, not {self.limits}.")
        if (self.mean is None) != (self.scale is None):
            raise InputError("Mel settings mean and scale must be given together.")
        for name in ("mean", "scale"):
            values = getattr(self, name)
            if values is not None and len(values) != self.n_mels:
                raise InputError(
                    f"Mel setting {name} has {len(values)} numbers, but n_mels is {self.n_mels}."
                )
        if self.scale is not None and min(self.scale) <= 0:
            raise InputError("Mel setting scale must be positive in every band.")

    @property
    def log_factor(self) -> float:
        """value = log_factor * ln(amplitude) + offset."""
        return self.gain * LOG_FACTORS[self.log]

    @property
    def amplitude_range(self) -> tuple[float, float]:
        """Smallest and largest mel amplitude that the values tell from what lies beyond."""
        low, high = self.limits or (-math.inf, math.inf)
        ends = [(end - self.offset) / self.log_factor for end in (low, high)]
        return max(self.floor, math.exp(ends[0])), math.exp(ends[1])

    @property
    def pad_left(self) -> int:
        """Samples of context that frame 0 has to the left of sample 0."""
        return self.n_fft // 2 if self.centered else (self.n_fft - self.hop_length) // 2

    @property
    def pad_right(self) -> int:
        """Samples of context to the right of the wave; the longer side if n_fft - hop is odd."""
        if self.centered:
            return self.n_fft // 2
        return self.n_fft - self.hop_length - self.pad_left

    def frames(self, n_samples: int) -> int:
        """Number of frames T of a padded wave of n_samples."""
        padded = n_samples + self.pad_left + self.pad_right
        return max(0, 1 + (padded - self.n_fft) // self.hop_length)

    def to_dict(self) -> dict[str, Any]:
        """The settings as JSON types."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in dataclasses.asdict(self).items()
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> MelConfig:
        """The inverse of `to_dict`; `InputError` names an unknown or missing key or wrong type."""
        if not isinstance(values, Mapping):
            raise InputError(f"Mel settings must be a mapping, not {type(values).__name__}.")
        for key in values:
            if key not in _TYPES:
                raise InputError(f"Unknown mel setting {key!r}; known are {', '.join(_TYPES)}.")
        for field in dataclasses.fields(cls):
            if field.name not in values and field.default is dataclasses.MISSING:
                raise InputError(f"Mel setting {field.name!r} is missing.")
        return cls(**values)


_TYPES: dict[str, str] = {field.name: str(field.type) for field in dataclasses.fields(MelConfig)}
_LARGEST = 1e30
"""Beyond it arithmetic overflows."""
_MOST = {
    "sample_rate": 1 << 20,
    "n_fft": 1 << 16,
    "hop_length": 1 << 16,
    "win_length": 1 << 16,
    "n_mels": 1 << 12,
}
_CHOICES: dict[str, tuple[str | None, ...]] = {
    "mel_scale": ("slaney", "htk"),
    "mel_norm": ("slaney", None),
    "log": tuple(LOG_FACTORS),
}


def _typed(name: str, value: Any, hint: str) -> Any:
    """value in the field's type (int may stand for float, list for tuple), or an `InputError`."""
    kind = hint.removesuffix(" | None")
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if value is None and kind != hint:
        return None
    if kind == "float" and number and abs(value) < _LARGEST:
        return float(value)
    if kind == "int" and number and isinstance(value, int):
        return value
    if (kind == "bool" and isinstance(value, bool)) or (kind == "str" and isinstance(value, str)):
        return value
    if kind.startswith("tuple") and isinstance(value, list | tuple):
        return tuple(_typed(name, item, "float") for item in value)
    wanted = {"float": "a finite number", "int": "an integer", "bool": "true or false"}
    wanted |= {"str": "a string"}
    raise InputError(
        f"Mel setting {name} must be {wanted.get(kind, 'a list of numbers')}, not {shown(value)}."
    )


_SLANEY: dict[str, Any] = {"mel_scale": "slaney", "mel_norm": "slaney"}
_HTK: dict[str, Any] = {"mel_scale": "htk", "mel_norm": None}
_HIFIGAN: dict[str, Any] = {
    **_SLANEY,
    "centered": False,
    "magnitude_eps": 1e-9,
    "log": "ln",
    "floor": 1e-5,
}
_ESPNET: dict[str, Any] = {**_SLANEY, "centered": True, "log": "log10", "floor": 1e-10}
_DB: dict[str, Any] = {"centered": True, "log": "db", "floor": 1e-5}

# As in the named projects' preprocessing. `espnet` and `speecht5` are the plain log10 mels, which
# those projects then normalise: dataclasses.replace(config, mean=..., scale=...).
PRESETS: dict[str, MelConfig] = {
    config.name: config
    for config in (
        # Tacotron 2 (NVIDIA), HiFi-GAN, FastSpeech 2, Matcha-TTS, BigVGAN with fmax 8000
        MelConfig("hifigan", 22050, 1024, 256, 1024, 80, 0, 8000, **_HIFIGAN),
        # lmnt-com/diffwave: (20 log10 x - 20 + 100) / 100
        MelConfig(
            "lmnt", 22050, 1024, 256, 1024, 80, 20, 11025, **_HTK, **_DB,
            normalized=True, gain=0.01, offset=0.8, limits=(0, 1),
        ),
        # ESPnet and ParallelWaveGAN
        MelConfig("espnet", 22050, 1024, 256, 1024, 80, 80, 7600, **_ESPNET),
        # SpeechT5 in Hugging Face transformers
        MelConfig("speecht5", 16000, 1024, 256, 1024, 80, 80, 7600, **_ESPNET),
        # Vocos, the 24 kHz mel models
        MelConfig(
            "vocos", 24000, 1024, 256, 1024, 100, 0, 12000, **_HTK,
            centered=True, log="ln", floor=1e-7,
        ),
        # Coqui TTS: 8 (20 log10 x - 20 + 100) / 100 - 4
        MelConfig(
            "coqui", 22050, 1024, 256, 1024, 80, 0, 11025, **_SLANEY, **_DB,
            gain=0.08, offset=2.4, limits=(-4, 4),
        ),
        # BigVGAN v2, 44 kHz, 128 bands, hop 512
        MelConfig("bigvgan-44k", 44100, 2048, 512, 2048, 128, 0, 22050, **_HIFIGAN),
        # Ours, for want of a common one: bigvgan-44k at 48 kHz
        MelConfig("diffwave-48k", 48000, 2048, 512, 2048, 128, 0, 24000, **_HIFIGAN),
    )
}  # fmt: skip


def preset(name: str) -> MelConfig:
    """The preset of that name; raises `InputError` listing the presets if there is none."""
    if name not in PRESETS:
        raise InputError(f"Unknown mel preset {name!r}; known are {', '.join(PRESETS)}.")
    return PRESETS[name]


def mel_config(setting: str | Mapping[str, Any]) -> MelConfig:
    """What a setting means: a preset's name, or a mapping of changes to a preset.

    {"preset": "hifigan", "hop_length": 300} is HiFi-GAN's convention at another hop. Without
    "preset" the changes are to `hifigan`.

    Raises:
        InputError: an unknown preset or setting, or settings that contradict each other.
    """
    if isinstance(setting, str):
        return preset(setting)
    changes = dict(setting)
    base = preset(str(changes.pop("preset", "hifigan")))
    if not changes:
        return base
    changed = ", ".join(f"{key} {value}" for key, value in changes.items())
    return MelConfig.from_dict({**base.to_dict(), "name": f"{base.name} with {changed}", **changes})

"""The conventions in which software computes mel-spectrograms, as data.

A vocoder only understands mels made the way its training mels were made. A `MelConfig` spells that
way out down to the last constant; `PRESETS` holds those of the common text-to-speech projects.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from msgspec import Meta

from diffwave.base.errors import InputError
from diffwave.base.schema import check_fields, shown, stored, strictly

Samples = Annotated[int, Meta(ge=1, le=1 << 16)]
Finite = Annotated[float, Meta(gt=-1e30, lt=1e30)]  # beyond it arithmetic overflows
Above0 = Annotated[float, Meta(gt=0, lt=1e30)]

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
    sample_rate: Annotated[int, Meta(ge=1, le=1 << 20)]  # Hz
    n_fft: Samples
    hop_length: Samples  # from one frame to the next
    win_length: Samples  # of the periodic Hann window, centred in n_fft
    n_mels: Annotated[int, Meta(ge=1, le=1 << 12)]
    fmin: Finite  # Hz, lower edge of the first band
    fmax: Finite  # Hz, upper edge of the last band
    mel_scale: Literal["slaney", "htk"]  # slaney: linear below 1 kHz
    mel_norm: Literal["slaney"] | None  # triangles of equal area, or of height 1
    centered: bool  # reflect-pad n_fft // 2, T = 1 + L // hop; else (n_fft - hop) / 2, T = L // hop
    log: Literal["ln", "log10", "db"]  # db: 20 log10
    floor: Above0  # smallest amplitude that enters the logarithm
    magnitude_eps: Annotated[float, Meta(ge=0, lt=1e30)] = 0.0  # |X| = sqrt(re^2 + im^2 + eps)
    normalized: bool = False  # |X| divided by the l2 norm of the window
    gain: Above0 = 1.0
    offset: Finite = 0.0
    limits: tuple[Finite, Finite] | None = None  # to which gain * log + offset is clipped
    mean: tuple[Finite, ...] | None = None  # [n_mels], statistics of a normalised mel
    scale: tuple[Above0, ...] | None = None  # [n_mels], its standard deviations

    def __post_init__(self) -> None:
        check_fields(self, "Mel setting ")
        lowest = math.floor(self.fmin * self.n_fft / self.sample_rate) + 1
        highest = math.ceil(self.fmax * self.n_fft / self.sample_rate) - 1
        statistics = [values for values in (self.mean, self.scale) if values is not None]
        rising = self.limits is None or self.limits[0] < self.limits[1]
        for holds, rule in (
            (self.hop_length <= self.n_fft, "hop_length must not exceed n_fft"),
            (self.win_length <= self.n_fft, "win_length must not exceed n_fft"),
            (
                0 <= self.fmin < self.fmax <= self.sample_rate / 2,
                "0 <= fmin < fmax <= sample_rate / 2 must hold",
            ),
            (lowest <= highest, "no frequency of the transform lies in a mel band"),
            (rising, "limits must be two rising numbers"),
            (len(statistics) != 1, "mean and scale must be given together"),
            (
                all(len(values) == self.n_mels for values in statistics),
                "mean and scale must be of n_mels numbers",
            ),
        ):
            if not holds:
                raise InputError(f"In the mel {self.name!r}, {rule}.")

    @property
    def log_factor(self) -> float:
        """value = log_factor * ln(amplitude) + offset."""
        return self.gain * LOG_FACTORS[self.log]

    @property
    def amplitude_range(self) -> tuple[float, float]:
        """Smallest and largest mel amplitude that the values tell from what lies beyond."""
        low, high = self.limits or (-math.inf, math.inf)
        # Beyond e^700 is beyond float64.
        ends = [min(700.0, (end - self.offset) / self.log_factor) for end in (low, high)]
        return max(self.floor, math.exp(ends[0])), math.inf if ends[1] == 700 else math.exp(ends[1])

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


SLANEY: dict[str, Any] = {"mel_scale": "slaney", "mel_norm": "slaney"}
HTK: dict[str, Any] = {"mel_scale": "htk", "mel_norm": None}
HIFIGAN: dict[str, Any] = {
    **SLANEY, "centered": False, "magnitude_eps": 1e-9, "log": "ln", "floor": 1e-5
}  # fmt: skip
_ESPNET: dict[str, Any] = {**SLANEY, "centered": True, "log": "log10", "floor": 1e-10}
_DB: dict[str, Any] = {"centered": True, "log": "db", "floor": 1e-5}

# As in the named projects' preprocessing. `espnet` and `speecht5` are the plain log10 mels, which
# those projects then normalise: dataclasses.replace(config, mean=..., scale=...).
PRESETS: dict[str, MelConfig] = {
    config.name: config
    for config in (
        # Tacotron 2 (NVIDIA), HiFi-GAN, FastSpeech 2, Matcha-TTS, BigVGAN with fmax 8000
        MelConfig("hifigan", 22050, 1024, 256, 1024, 80, 0, 8000, **HIFIGAN),
        # lmnt-com/diffwave: (20 log10 x - 20 + 100) / 100
        MelConfig(
            "lmnt", 22050, 1024, 256, 1024, 80, 20, 11025, **HTK, **_DB,
            normalized=True, gain=0.01, offset=0.8, limits=(0, 1),
        ),
        # ESPnet and ParallelWaveGAN
        MelConfig("espnet", 22050, 1024, 256, 1024, 80, 80, 7600, **_ESPNET),
        # SpeechT5 in Hugging Face transformers
        MelConfig("speecht5", 16000, 1024, 256, 1024, 80, 80, 7600, **_ESPNET),
        # Vocos, the 24 kHz mel models
        MelConfig(
            "vocos", 24000, 1024, 256, 1024, 100, 0, 12000, **HTK,
            centered=True, log="ln", floor=1e-7,
        ),
        # Coqui TTS: 8 (20 log10 x - 20 + 100) / 100 - 4
        MelConfig(
            "coqui", 22050, 1024, 256, 1024, 80, 0, 11025, **SLANEY, **_DB,
            gain=0.08, offset=2.4, limits=(-4, 4),
        ),
        # BigVGAN v2, 44 kHz, 128 bands, hop 512
        MelConfig("bigvgan-44k", 44100, 2048, 512, 2048, 128, 0, 22050, **HIFIGAN),
        # Ours, for want of a common one: bigvgan-44k at 48 kHz
        MelConfig("diffwave-48k", 48000, 2048, 512, 2048, 128, 0, 24000, **HIFIGAN),
    )
}  # fmt: skip


def preset(name: str) -> MelConfig:
    """The preset of that name; raises `InputError` listing the presets if there is none."""
    if not isinstance(name, str) or name not in PRESETS:
        raise InputError(f"Unknown mel preset {shown(name)}; known are {', '.join(PRESETS)}.")
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
    base = preset(changes.pop("preset", "hifigan"))
    if not changes:
        return base
    changed = ", ".join(
        f"{key} {value if isinstance(value, str) else shown(value)}"
        for key, value in changes.items()
    )
    values = {**stored(base), "name": f"{base.name} with {changed}", **changes}
    return strictly(MelConfig, values, "a mel")

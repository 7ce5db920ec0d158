"""Conventions whose mels can be read, converted and recognised; more than a vocoder is trained on.

Those of `PRESETS`, and others that a `MelConfig` alone cannot say: mels of power, without a
logarithm, clipped below their own maximum, or of a filterbank made for another sample rate.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from msgspec import Meta
from torch import Tensor
from torch.nn import functional as F

from diffwave.base.errors import InputError
from diffwave.base.schema import convert, hints, shown
from diffwave.mel.config import HIFIGAN, HTK, PRESETS, SLANEY, Above0, MelConfig
from diffwave.mel.frontend import mel_filterbank, power_spectrum
from diffwave.mel.normalise import log_amplitude, scaled_log

TINY = 1e-20


@dataclass(frozen=True)
class Convention:
    """A mel convention as a source of mels.

    value = log_factor * log(max(filterbank @ |STFT|^power + added, floor)) + offset, with the
    further steps of `mel`; where `linear`, filterbank @ |STFT|^power itself.
    """

    mel: MelConfig
    used_by: str
    """Whose it is."""
    power: Annotated[int, Meta(ge=1, le=2)] = 1
    """Exponent of the magnitudes that enter the filterbank, 1 or 2."""
    linear: bool = False
    """Whether no logarithm is taken."""
    depth: Above0 | None = None
    """Values lower than this below the largest one of the utterance are raised to it."""
    added: Annotated[float, Meta(ge=0, lt=1e30)] = 0.0
    """What is added before the logarithm."""
    filter_rate: Annotated[int, Meta(ge=1, le=1 << 20)] | None = None
    """Sample rate that the filterbank was made for, where it is not that of the waves."""

    @property
    def name(self) -> str:
        """As the command line takes it."""
        return self.mel.name

    @property
    def stretch(self) -> float:
        """Frequency of the wave for a frequency of `mel.fmin` and `mel.fmax`."""
        return 1.0 if self.filter_rate is None else self.mel.sample_rate / self.filter_rate

    @property
    def frame_seconds(self) -> float:
        """From one frame to the next."""
        return self.mel.hop_length / self.mel.sample_rate

    def filterbank(self) -> Tensor:
        """[n_mels, n_fft // 2 + 1], float64."""
        if self.filter_rate is None:
            return mel_filterbank(self.mel)
        return mel_filterbank(dataclasses.replace(self.mel, sample_rate=self.filter_rate))

    @property
    def window_norm(self) -> float:
        """What a magnitude is divided by, so that white noise of variance 1 has an rms of 1."""
        if self.mel.normalized:
            return 1.0
        window = torch.hann_window(self.mel.win_length, dtype=torch.float64)
        return float(window.square().sum().sqrt())

    def values(self, mel: Tensor) -> Tensor:
        """Values of filterbank @ |STFT|^power, [n_mels, T]."""
        if self.linear:
            return mel
        mel = mel + self.added
        if self.depth is not None:
            mel = mel.clamp(min=float(mel.max()) * math.exp(-self.depth / self.mel.log_factor))
        return scaled_log(mel, self.mel)

    def bands(self, values: Tensor) -> Tensor:
        """The inverse of `values`, as far as it goes: filterbank @ |STFT|^power, above 0."""
        if self.linear:
            return values.clamp(min=TINY)
        log = log_amplitude(values, self.mel).clamp(-80, 80)
        return (log.exp() - self.added).clamp(min=max(self.mel.floor * 0.1, TINY))

    def with_statistics(self, mean: Tensor, scale: Tensor) -> Convention:
        """The same, normalised by a mean and a deviation, [n_mels] each or single numbers.

        Raises:
            InputError: for statistics of another number of bands, or deviations that are not above
                zero.
        """
        n_mels = self.mel.n_mels
        if mean.numel() not in (1, n_mels) or scale.numel() not in (1, n_mels):
            raise InputError(
                f"The statistics are of {max(mean.numel(), scale.numel())} bands, but a mel of the "
                f"{self.name!r} convention has {n_mels}."
            )
        config = dataclasses.replace(
            self.mel,
            mean=tuple(mean.double().flatten().expand(n_mels).tolist()),
            scale=tuple(scale.double().flatten().expand(n_mels).tolist()),
        )
        return dataclasses.replace(self, mel=config)

    def analyse(self, wave: Tensor) -> Tensor:
        """Mel [n_mels, T] of a wave [L] at the convention's rate, float32."""
        config = self.mel
        padded = F.pad(wave[None].float(), (config.pad_left, config.pad_right), mode="reflect")
        power = power_spectrum(padded, config, torch.hann_window(config.win_length))
        magnitude = power if self.power == 2 else (power + config.magnitude_eps).sqrt()
        if config.normalized:
            window = torch.hann_window(config.win_length).square().sum()
            magnitude = magnitude / (window if self.power == 2 else window.sqrt())
        return self.values((self.filterbank().float() @ magnitude)[0])


_POWER: dict[str, Any] = {**HTK, "centered": True, "floor": 1e-10}
_SLANEY: dict[str, Any] = {**SLANEY, "centered": True, "floor": 1e-10}
_WHISPER: dict[str, Any] = {**_SLANEY, "log": "log10", "gain": 0.25, "offset": 1.0}

_OF_PRESETS = {
    "hifigan": "Tacotron 2, HiFi-GAN, FastSpeech 2, BigVGAN v2 22 kHz with fmax 8000",
    "lmnt": "lmnt-com/diffwave",
    "espnet": "ESPnet, ParallelWaveGAN and TensorFlowTTS at 22.05 kHz, before normalisation",
    "speecht5": "SpeechT5 in Hugging Face transformers, 16 kHz",
    "vocos": "Vocos mel models, 24 kHz",
    "coqui": "Coqui TTS with its default audio settings",
    "bigvgan-44k": "BigVGAN v2, 44 kHz",
    "diffwave-48k": "the 48 kHz settings of this project",
}

CONVENTIONS: dict[str, Convention] = {
    convention.name: convention
    for convention in (
        *(Convention(config, _OF_PRESETS.get(name, name)) for name, config in PRESETS.items()),
        # configs/data/ljspeech.yaml of Matcha-TTS: mel_mean, mel_std
        Convention(
            dataclasses.replace(
                PRESETS["hifigan"], name="matcha", mean=(-5.536622,) * 80, scale=(2.116101,) * 80
            ),
            "Matcha-TTS, normalised by its statistics of LJSpeech",
        ),
        # egs/libritts/voc1/conf/parallel_wavegan.v1.yaml of ParallelWaveGAN
        Convention(
            MelConfig("espnet-24k", 24000, 2048, 300, 1200, 80, 80, 7600, **_SLANEY, log="log10"),
            "ESPnet, ParallelWaveGAN and TensorFlowTTS at 24 kHz, before normalisation",
        ),
        # configs/bigvgan_v2_*.json of BigVGAN, fmax null
        Convention(
            MelConfig("bigvgan-22k", 22050, 1024, 256, 1024, 80, 0, 11025, **HIFIGAN),
            "BigVGAN v2 22 kHz and HiFi-GAN with fmax null",
        ),
        Convention(
            MelConfig("bigvgan-24k", 24000, 1024, 256, 1024, 100, 0, 12000, **HIFIGAN),
            "BigVGAN v2, 24 kHz",
        ),
        # HiFi-GAN's mel at other rates and hops, as many recipes have it
        Convention(
            MelConfig("hifigan-16k", 16000, 1024, 256, 1024, 80, 0, 8000, **HIFIGAN),
            "HiFi-GAN recipes at 16 kHz",
        ),
        Convention(
            MelConfig("hifigan-24k", 24000, 1024, 256, 1024, 80, 0, 12000, **HIFIGAN),
            "HiFi-GAN recipes at 24 kHz",
        ),
        Convention(
            MelConfig("hifigan-hop200", 22050, 1024, 200, 800, 80, 0, 8000, **HIFIGAN),
            "HiFi-GAN's mel at a hop of 200 and a window of 800 samples",
        ),
        # meldataset.py of StyleTTS 2: torchaudio's filterbank keeps its default rate of 16 kHz
        Convention(
            MelConfig(
                "styletts2", 24000, 2048, 300, 1200, 80, 0, 8000, **{**_POWER, "floor": 1e-9},
                log="ln", gain=0.25, offset=1.0,
            ),
            "StyleTTS 2, 24 kHz",
            power=2, added=1e-5, filter_rate=16000,
        ),
        # feature_extraction_whisper.py of transformers; large-v3 has 128 bands
        Convention(
            MelConfig("whisper", 16000, 400, 160, 400, 80, 0, 8000, **_WHISPER),
            "Whisper", power=2, depth=2.0,
        ),
        Convention(
            MelConfig("whisper-v3", 16000, 400, 160, 400, 128, 0, 8000, **_WHISPER),
            "Whisper large-v3", power=2, depth=2.0,
        ),
        # torchaudio.transforms.MelSpectrogram() and AmplitudeToDB("power") with their defaults
        Convention(
            MelConfig("torchaudio", 16000, 400, 200, 400, 128, 0, 8000, **_POWER, log="ln"),
            "torchaudio.transforms.MelSpectrogram", power=2, linear=True,
        ),
        Convention(
            MelConfig(
                "torchaudio-db", 16000, 400, 200, 400, 128, 0, 8000, **_POWER, log="db", gain=0.5
            ),
            "torchaudio.transforms.MelSpectrogram and AmplitudeToDB", power=2,
        ),
        # librosa.power_to_db(librosa.feature.melspectrogram()) with their defaults
        Convention(
            MelConfig(
                "librosa-db", 22050, 2048, 512, 2048, 128, 0, 11025, **_SLANEY, log="db", gain=0.5
            ),
            "librosa.feature.melspectrogram and power_to_db", power=2, depth=80.0,
        ),
    )
}  # fmt: skip
"""By name."""

ALIASES = {
    "tacotron2": "hifigan",
    "fastspeech2": "hifigan",
    "hifi-gan": "hifigan",
    "parallelwavegan": "espnet",
    "pwg": "espnet",
    "pwg-24k": "espnet-24k",
    "tensorflowtts": "espnet",
    "tensorflowtts-24k": "espnet-24k",
    "matcha-tts": "matcha",
    "whisper-large-v3": "whisper-v3",
}
"""Other names of the same."""


def convention_with(mel: MelConfig) -> Convention | None:
    """The known convention of these settings, if there is one."""
    return next((each for each in CONVENTIONS.values() if each.mel == mel), None)


def same_values(convention: Convention, mel: MelConfig) -> bool:
    """Whether mels of a convention are those of `mel`, whatever they are called."""
    renamed = dataclasses.replace(convention.mel, name=mel.name)
    return dataclasses.replace(convention, mel=renamed, used_by="") == Convention(mel, "")


def convention_of(text: str) -> Convention:
    """The convention that a word means: a name, or NAME,KEY=VALUE,... for one that differs from it.

    "hifigan,hop_length=200" is HiFi-GAN's with another hop; keys are those of `MelConfig`, and
    power, linear, depth, added and filter_rate.

    Raises:
        InputError: an unknown name or setting, or settings that contradict each other.
    """
    name, *words = text.split(",")
    word = name.strip().lower()
    known = ALIASES.get(word, word if word in CONVENTIONS else None)
    if known is None:
        raise InputError(
            f"Unknown mel convention {name.strip()!r:.80}; known are {', '.join(CONVENTIONS)}."
        )
    base = CONVENTIONS[known]
    if not words:
        return base
    own = {key: kind for key, kind in hints(Convention).items() if key not in ("mel", "used_by")}
    kinds = {**hints(MelConfig), **own}
    changes: dict[str, Any] = {}
    for word in words:
        key, equals, value = (part.strip() for part in word.partition("="))
        if not equals:
            raise InputError(f"A setting of a convention is given as KEY=VALUE, not {word!r:.80}.")
        if key not in kinds:
            raise InputError(f"Unknown setting {shown(key)}; known are {', '.join(kinds)}.")
        value = "null" if value.lower() == "none" else value
        changes[key] = convert(value, kinds[key], f"A convention's {key}")
    mine = {key: changes.pop(key) for key in own.keys() & changes.keys()}
    if "n_mels" in changes and base.mel.mean is not None:
        changes["mean"] = changes["scale"] = None
    mel = dataclasses.replace(base.mel, **{"name": text, **changes}) if changes else base.mel
    return dataclasses.replace(base, mel=mel, **mine)

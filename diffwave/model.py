"""A vocoder's three parts put together: mel frontend, representation and network, and the chain.

`ModelConfig` is everything that decides what the weights mean; it is what `config.json` holds.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import dacite
import torch
from torch import Tensor, nn

from diffwave.chain import schedule
from diffwave.chain.gaussian import v_of, x0_from_eps, x0_from_v
from diffwave.chain.samplers import Denoise, get_sampler
from diffwave.errors import InputError
from diffwave.mel import MelConfig, MelSpectrogram
from diffwave.networks.diffwave import WaveformNet, WaveformNetConfig
from diffwave.networks.enhancer import MelRestorer, MelRestorerConfig
from diffwave.networks.spectral import SpectralNet, SpectralNetConfig
from diffwave.spaces.consistency import agree_with_mel
from diffwave.spaces.spectral import (
    EnergyPrior,
    SpectralConfig,
    SpectralRepresentation,
    WaveformRepresentation,
)


@dataclass(frozen=True)
class DiffusionConfig:
    """The chain the network was trained on, and what it predicts."""

    prediction: str = "v"
    """"v" or "eps"."""
    schedule: str = "angle"
    """"angle": continuous, the network hears u with alpha_bar = cos(pi u / 2)^2; or the name of a
    discrete schedule, of which the network hears the (fractional) step."""
    zero_terminal_snr: bool = False
    """Whether a discrete schedule was rescaled to end in pure noise."""

    def __post_init__(self) -> None:
        if self.prediction not in ("v", "eps"):
            raise InputError(f"A network predicts 'v' or 'eps', not {self.prediction!r}.")
        if self.schedule == "angle" and self.prediction == "eps":
            raise InputError("A chain in angles starts at pure noise, which needs prediction 'v'.")
        if self.schedule != "angle":
            schedule.named_betas(self.schedule)
        elif self.zero_terminal_snr:
            raise InputError("A chain in angles ends in pure noise as it is.")
        if self.zero_terminal_snr and self.prediction == "eps":
            raise InputError("A chain that ends in pure noise needs prediction 'v'.")


@dataclass(frozen=True)
class SamplingConfig:
    """How the model is best sampled."""

    steps: int = 4
    """Network calls per utterance unless the caller says otherwise."""
    sampler: str = "ddim"
    """A name in `diffwave.chain.samplers.SAMPLERS`."""
    angles: dict[str, list[float]] = field(default_factory=dict)
    """Noise levels for a number of steps, as angles u, noisiest first, where better ones than the
    plain ones are known."""
    mel_rounds: int = 0
    """Rounds of :mod:`diffwave.spaces.consistency` after the last step; spectral space only."""
    rounds: dict[str, int] = field(default_factory=dict)
    """The same for a number of steps, where another number of rounds is better than that."""

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise InputError(f"The number of steps must be at least 1, not {self.steps}.")
        for rounds in (self.mel_rounds, *self.rounds.values()):
            if rounds < 0:
                raise InputError(f"Rounds of mel agreement are 0 or more, not {rounds}.")
        for steps in self.rounds:
            if not steps.isdecimal() or int(steps) < 1:
                raise InputError(f"Rounds are given for a number of steps, not for {steps!r}.")
        get_sampler(self.sampler)
        for steps, angles in self.angles.items():
            falling = all(high > low for high, low in pairwise([*angles, 0]))
            if str(len(angles)) != steps or not falling or max(angles, default=2) > 1:
                raise InputError(
                    f"The angles for {steps} steps must be as many falling numbers above 0 and "
                    f"not above 1, not {angles}."
                )

    def rounds_after(self, steps: int) -> int:
        """Rounds of agreement with the mel after so many network calls."""
        return self.rounds.get(str(steps), self.mel_rounds)

    @property
    def most_rounds(self) -> int:
        """After whatever number of steps."""
        return max(self.mel_rounds, *self.rounds.values(), 0)


@dataclass(frozen=True)
class ModelConfig:
    """Everything needed to use weights rightly."""

    mel: MelConfig
    network: SpectralNetConfig | WaveformNetConfig
    space: SpectralConfig | None = None
    """Geometry of the spectral space; None: the chain runs on samples."""
    diffusion: DiffusionConfig = DiffusionConfig()
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    prior: EnergyPrior | None = None
    """Of a chain on samples; None: unit noise."""
    restorer: MelRestorerConfig | None = None
    """Of mels that lost detail; None: every mel is taken as it is."""

    def __post_init__(self) -> None:
        if isinstance(self.network, SpectralNetConfig) != (self.space is not None):
            raise InputError("A spectral network needs a spectral space, and only it does.")
        if self.sampling.most_rounds and self.space is None:
            raise InputError("Rounds of mel agreement are for the spectral space.")
        if self.prior is not None and self.space is not None:
            raise InputError(
                "An energy prior is for a chain on samples; an envelope does its work."
            )
        if self.network.n_mels not in (0, self.mel.n_mels):
            raise InputError(
                f"The network takes {self.network.n_mels} mel bands, the mel frontend makes "
                f"{self.mel.n_mels}."
            )
        if self.restorer is not None and self.restorer.n_mels != self.mel.n_mels:
            raise InputError(
                f"The mel restorer takes {self.restorer.n_mels} mel bands, the mel frontend makes "
                f"{self.mel.n_mels}."
            )
        if isinstance(self.network, WaveformNetConfig):
            if self.network.hop_length != self.mel.hop_length:
                raise InputError("The network's hop_length is not the mel frontend's.")
        elif self.space is not None:
            frame = (self.mel.n_mels, self.mel.hop_length, self.mel.pad_left)
            if (self.space.n_mels, self.space.hop_length, self.space.pad_left) != frame:
                raise InputError("The frames of the spectral space are not the mel frontend's.")
            if self.sampling.most_rounds and self.mel.win_length != self.mel.n_fft:
                raise InputError(
                    f"Rounds of mel agreement need a window as long as the transform, but the "
                    f"mel's win_length is {self.mel.win_length} and its n_fft {self.mel.n_fft}."
                )
            if self.network.bins != self.space.bins:
                raise InputError(
                    f"The network has {self.network.bins} bins, the space {self.space.bins}."
                )

    def to_dict(self) -> dict[str, Any]:
        """JSON types; the kind of network stands beside its sizes."""
        data = dataclasses.asdict(self)
        data["mel"] = self.mel.to_dict()
        kind = "spectral" if self.space is not None else "waveform"
        data["network"] = {"kind": kind, **data["network"]}
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ModelConfig:
        """The inverse of :meth:`to_dict`; InputError names what is missing, unknown or wrong."""
        if not isinstance(data, Mapping) or not isinstance(data.get("network"), Mapping):
            raise InputError("A model's configuration is a mapping that holds a mapping 'network'.")
        data, network = dict(data), dict(data["network"])
        kind = network.pop("kind", None)
        kinds: dict[str, type] = {"spectral": SpectralNetConfig, "waveform": WaveformNetConfig}
        if not isinstance(kind, str) or kind not in kinds:
            raise InputError(f"A network's kind is 'spectral' or 'waveform', not {kind!r}.")
        try:
            data["network"] = dacite.from_dict(kinds[kind], network, _STRICT)
            data["mel"] = MelConfig.from_dict(data.get("mel") or {})
            return dacite.from_dict(cls, data, _STRICT)
        except InputError:
            raise
        except (dacite.DaciteError, TypeError, ValueError) as error:  # the latter: no list at all
            raise InputError(f"The model's configuration is wrong: {error}.") from None


_STRICT = dacite.Config(strict=True, cast=[tuple])


class DiffusionModel(nn.Module):
    """Mel frontend, representation and network of one `ModelConfig`."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.mel = MelSpectrogram(config.mel)
        self.representation: SpectralRepresentation | WaveformRepresentation
        self.network: SpectralNet | WaveformNet
        if config.space is not None and isinstance(config.network, SpectralNetConfig):
            self.representation = SpectralRepresentation(config.space)
            self.network = SpectralNet(config.network)
        elif isinstance(config.network, WaveformNetConfig):
            self.representation = WaveformRepresentation(
                config.mel.hop_length, config.prior, self.mel
            )
            self.network = WaveformNet(config.network)
        self.restorer = None if config.restorer is None else MelRestorer(config.restorer)
        self.trained_levels: Tensor | None = None
        if config.diffusion.schedule != "angle":
            betas = schedule.named_betas(config.diffusion.schedule)
            if config.diffusion.zero_terminal_snr:
                betas = schedule.zero_terminal_snr(betas)
            self.trained_levels = schedule.alpha_bars(betas)

    def learners(self) -> list[nn.Module]:
        """What training changes: the network, then the restorer if there is one."""
        return [self.network] if self.restorer is None else [self.network, self.restorer]

    def learned(self) -> list[nn.Parameter]:
        """Their parameters."""
        return [parameter for part in self.learners() for parameter in part.parameters()]

    def restored(self, mel: Tensor) -> Tensor:
        """The mel [B, n_mels, T] that a wave is to be made of; itself without a restorer."""
        return mel if self.restorer is None else self.restorer(mel)

    def network_time(self, alpha_bar: Tensor) -> Tensor:
        """What the network is told of a noise level, float32, same shape."""
        if self.trained_levels is None:
            return schedule.angle(alpha_bar).float()
        return schedule.align(alpha_bar, self.trained_levels).float()

    def target(self, x_0: Tensor, eps: Tensor, alpha_bar: Tensor) -> Tensor:
        """What the network is trained to predict, of the shape of x_0."""
        return v_of(x_0, eps, alpha_bar) if self.config.diffusion.prediction == "v" else eps

    def denoiser(self, mel: Tensor | None) -> Denoise:
        """`denoise(x, alpha_bar) -> x_0` for one mel [B, n_mels, T], its projections made once."""
        unconditional = self.config.network.n_mels == 0
        cond = self.network.condition(None if unconditional else mel)  # type: ignore[arg-type]

        def denoise(x: Tensor, alpha_bar: Tensor) -> Tensor:
            t = self.network_time(alpha_bar).to(x.device).expand(len(x))
            prediction = self.network(x, t, cond=cond)
            if self.config.diffusion.prediction == "v":
                return x0_from_v(x, prediction, alpha_bar)
            return x0_from_eps(x, prediction, alpha_bar)

        return denoise

    def decode(self, state: Tensor, mel: Tensor, rounds: int = 0) -> Tensor:
        """Samples [B, T * hop_length] of the chain's last state, made to agree with the mel.

        `rounds` of :mod:`diffwave.spaces.consistency`; a chain on samples has none.
        """
        space = self.representation
        if not rounds or isinstance(space, WaveformRepresentation):
            return space.decode(state, mel)
        spectrum = space.coloured(state, mel)
        spectrum = agree_with_mel(spectrum, mel, self.mel, space, rounds)
        return space.trimmed(space.signal(spectrum))

    def levels(self, steps: int) -> Tensor:
        """alpha_bar that a chain of `steps` network calls visits, noisiest first, [steps].

        The configuration's own list for that count if it has one; the whole trained chain if the
        count is its length; else equal steps in angle over what was trained.
        """
        if steps < 1:
            raise InputError(f"The number of steps must be at least 1, not {steps}.")
        known = self.config.sampling.angles.get(str(steps))
        if known is not None:
            return schedule.alpha_bar_of_angle(known)
        if self.trained_levels is None:
            return schedule.uniform_angles(steps)
        if steps == len(self.trained_levels):
            return self.trained_levels.flip(0)
        ends = schedule.angle(self.trained_levels[[-1, 0]])
        return schedule.alpha_bar_of_angle(torch.linspace(float(ends[0]), float(ends[1]), steps))

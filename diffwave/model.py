"""A vocoder's parts put together: mel frontend, space, denoiser and mel enhancer.

`ModelConfig` is everything that decides what the weights mean; it is what `config.json` holds.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from diffwave.base.device import in_float32
from diffwave.base.errors import InputError
from diffwave.base.migrate import current_config, current_state
from diffwave.base.schema import shown, strictly
from diffwave.chain.sampling import Sampling, SamplingConfig
from diffwave.denoiser import Denoiser, DiffusionConfig
from diffwave.mel import MelConfig, MelSpectrogram
from diffwave.mel.normalise import NormaliseConfig
from diffwave.networks import (
    NETWORKS,
    MelEnhancer,
    MelEnhancerConfig,
    Network,
    NetworkConfig,
    SourcePredictor,
    SourcePredictorConfig,
)
from diffwave.spaces import SPACES, Source, Space, SpaceConfig

MOST_WEIGHTS = 1_000_000_000
"""Of one network: a damaged configuration shall not take all memory. No vocoder has a tenth."""


@dataclass(frozen=True)
class ModelConfig:
    """Everything needed to use weights rightly. Raises InputError for parts that do not fit.

    The mel decides all sizes that a part shares with another; they are set here, and not stored.
    """

    mel: MelConfig
    network: NetworkConfig
    """Sizes of one of `diffwave.networks.NETWORKS`."""
    space: SpaceConfig
    """Geometry of one of `diffwave.spaces.SPACES`."""
    diffusion: DiffusionConfig = field(default_factory=DiffusionConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    normalise: NormaliseConfig = field(default_factory=NormaliseConfig)
    """How mels are brought to the unit of the networks."""
    enhancer: MelEnhancerConfig | None = None
    """Of mels that lost detail; None: every mel is taken as it is."""
    source: SourcePredictorConfig | None = None
    """Of what excites the voice; of a space whose prior has a source."""

    def __post_init__(self) -> None:
        if self.network.space != self.space.kind:
            raise InputError(
                f"A {self.network.kind} network needs a {self.network.space} space, not a "
                f"{self.space.kind} one."
            )
        n_mels, bands = self.mel.n_mels, self.space.source_bands
        if (self.source is None) != (not bands):
            raise InputError("A space with source bands and a source predictor need each other.")
        sized: dict[str, Any] = {"space": self.space.of(self.mel)}
        sized["network"] = self.network.of(self.mel, self.space)
        if self.diffusion.variance == "learned":
            if not hasattr(self.network, "outputs"):
                raise InputError("Variances are learned by the waveform network alone.")
            sized["network"] = dataclasses.replace(sized["network"], outputs=2)
        if self.enhancer is not None:
            sized["enhancer"] = dataclasses.replace(self.enhancer, n_mels=n_mels)
        if self.source is not None:
            sized["source"] = dataclasses.replace(self.source, n_mels=n_mels, bands=len(bands) - 1)
        for name, value in sized.items():
            object.__setattr__(self, name, value)
        self.space.check(self.mel, self.sampling.most_iterations)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ModelConfig:
        """Of what `stored` makes of one, in this format or an earlier one.

        InputError names what is missing, unknown or wrong.
        """
        if not isinstance(data, Mapping) or not isinstance(data.get("network"), Mapping):
            raise InputError("A model's configuration is a mapping that holds a mapping 'network'.")
        data = current_config(data)
        data["mel"] = strictly(MelConfig, data.get("mel") or {}, "a mel")
        data["network"] = _of_kind("network", NETWORKS, data["network"])
        data["space"] = _of_kind("space", SPACES, data.get("space"))
        return strictly(cls, data, "the model")


def _of_kind(name: str, registry: Mapping[str, tuple[type, type]], values: Any) -> Any:
    """The settings of a network or space, of the class that its kind says."""
    values = dict(values) if isinstance(values, Mapping) else {}
    kind = values.pop("kind", None)
    if not isinstance(kind, str) or kind not in registry:
        kinds = " or ".join(map(repr, registry))
        raise InputError(f"A {name}'s kind is {kinds}, not {shown(kind)}.")
    return strictly(registry[kind][0], values, f"the {name}")


def _built(kind: Callable[[Any], nn.Module], config: Any) -> Any:
    """A network of these sizes, if any; InputError for more weights than a vocoder has."""
    if config is None:
        return None
    sizes = [value for value in vars(config).values() if type(value) is int]
    # Counting loads a compiler, for 1 s: only where a generous estimate says that it may be needed.
    if 64 * getattr(config, "layers", 1) * max(sizes) ** 2 > MOST_WEIGHTS:
        with torch.device("meta"):  # where weights take no memory, and no time
            count = sum(parameter.numel() for parameter in kind(config).parameters())
        if count > MOST_WEIGHTS:
            raise InputError(f"A network of these sizes would have {count:,} weights.")
    return kind(config)


class DiffusionModel(nn.Module):
    """Mel frontend, space, denoiser and mel enhancer of one `ModelConfig`."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.mel = MelSpectrogram(config.mel)
        self.space: Space = SPACES[config.space.kind][1](config.space, self.mel)
        network: Network = _built(NETWORKS[config.network.kind][1], config.network)
        self.denoiser = Denoiser(network, config.diffusion, config.normalise)
        self.enhancer: MelEnhancer | None = _built(MelEnhancer, config.enhancer)
        self.source: SourcePredictor | None = _built(SourcePredictor, config.source)

    @property
    def network(self) -> Network:
        """The denoiser's."""
        return self.denoiser.network

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return next(itertools.chain(self.parameters(), self.buffers())).device

    def learners(self) -> list[nn.Module]:
        """What training changes: the network, then mel enhancer and source predictor if any."""
        return [self.network] + [part for part in (self.enhancer, self.source) if part is not None]

    def learned(self) -> list[nn.Parameter]:
        """Their parameters."""
        return [parameter for learner in self.learners() for parameter in learner.parameters()]

    def enhance(self, mel: Tensor) -> Tensor:
        """The mel [B, n_mels, T] that a wave is to be made of; itself without an enhancer."""
        return mel if self.enhancer is None else self.enhance_gated(mel)[0]

    @in_float32
    def enhance_gated(self, mel: Tensor) -> tuple[Tensor, Tensor]:
        """The enhanced mel, and the logits [B, T] of the gates that let frames be changed.

        Raises:
            InputError: for a model without a mel enhancer.
        """
        if self.enhancer is None:
            raise InputError("The model has no mel enhancer.")
        normalise = self.enhancer.config.normalise or self.config.normalise
        change, gate = self.enhancer(normalise(mel))
        opening = normalise.scale * torch.sigmoid(gate)
        return mel + opening[:, None] * change, gate

    def source_predictor(self) -> SourcePredictor:
        """The model's; InputError for a model without a source."""
        if self.source is None:
            raise InputError(
                "This checkpoint has no source: its pitch can be neither given nor transposed."
            )
        return self.source

    @in_float32
    def predict_source(self, mel: Tensor) -> Source:
        """What excites a mel [B, n_mels, T]; InputError for a model without a source."""
        return self.source_predictor().predict(self.config.normalise(mel))

    def sampling(
        self, steps: int | None = None, solver: str | None = None, n_iter: int | None = None
    ) -> Sampling:
        """How to sample with what the caller asks for; the configuration says the rest.

        Raises:
            InputError: for steps, a solver or iterations that there are not, or not in this space.
        """
        sampling = self.config.sampling.preset(steps, solver, n_iter)
        self.config.space.check(self.config.mel, sampling.n_iter)
        return sampling

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """As of any module; weights of earlier versions are taken as well."""
        return super().load_state_dict(current_state(state_dict), strict, assign)

"""What a network is: from a noisy state and a normalised log-mel it predicts; it knows no chain."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Self

from torch import Tensor, nn

from diffwave.base.schema import check_fields
from diffwave.mel import MelConfig
from diffwave.spaces import Prior, SpaceConfig


class NetworkConfig(ABC):
    """Sizes of a network; a frozen dataclass. Those of the mel and the space are derived.

    Raises InputError for a field of a wrong type, or beyond its limits.
    """

    kind: ClassVar[str]
    space: ClassVar[str]
    """Kind of the space whose states it takes."""
    n_mels: int
    """Mel bands of the condition; 0 makes a network unconditional, where it can be."""

    def __post_init__(self) -> None:
        check_fields(self, f"The {self.kind} network's ")

    @abstractmethod
    def of(self, mel: MelConfig, space: SpaceConfig) -> Self:
        """This with the sizes of a mel and of the states of a space, which is of the right kind."""


class Network(nn.Module, ABC):
    """``forward(x_t, t, mel) -> prediction`` of the shape of x_t."""

    config: NetworkConfig
    receptive_field: int
    """Places of the state on each side of a place that its prediction depends on."""

    @abstractmethod
    def condition(self, mel: Tensor | None) -> Any:
        """What does not depend on the noise level, computed once for all steps of a sampler."""

    @abstractmethod
    def forward(
        self,
        x_t: Tensor,
        t: Tensor,
        mel: Tensor | None = None,
        prior: Prior | None = None,
        cond: Any = None,
    ) -> Tensor:
        """Prediction for a noisy state.

        Args:
            x_t: noisy state, [B, ...].
            t: noise level as the network counts it, [B].
            mel: normalised log-mel [B, n_mels, T], or
            cond: what :meth:`condition` made of it.
            prior: where the chain ends for this mel.
        """

"""How a model is sampled: one record that travels from the command line to the sampler."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any

from msgspec import Meta

from diffwave.base.errors import InputError
from diffwave.base.schema import check_fields, shown
from diffwave.chain.samplers import SAMPLERS

Steps = Annotated[int, Meta(ge=1, le=10_000)]  # ten times the longest published chain
Iterations = Annotated[int, Meta(ge=0, le=10_000)]


@dataclass(frozen=True)
class Sampling:
    """One way to sample a model. Raises InputError for values that make no sense."""

    steps: Steps
    """Network calls."""
    solver: str = "ddim"
    """A name in `diffwave.chain.samplers.SAMPLERS`."""
    levels: tuple[float, ...] = ()
    """Noise level of every step as an angle u (alpha_bar = cos(pi u / 2)^2), noisiest first; none:
    equal steps over what the network was trained on."""
    n_iter: Iterations = 0
    """Mel-consistency iterations after the last step (:mod:`diffwave.dsp.consistency`)."""

    def __post_init__(self) -> None:
        check_fields(self, "The sampling's ")
        if self.solver not in SAMPLERS:
            raise InputError(
                f"There is no sampler named {self.solver!r}; there are {', '.join(SAMPLERS)}."
            )
        levels = self.levels
        falling = all(high > low for high, low in pairwise([*levels, 0]))
        if levels and (len(levels) != self.steps or not falling or max(levels) > 1):
            raise InputError(
                f"The levels of {self.steps} steps must be as many falling numbers above 0 and not "
                f"above 1, not {shown(list(levels))}."
            )


@dataclass(frozen=True)
class SamplingConfig:
    """How a model is best sampled: a preset for every number of steps that has been tried."""

    default: Steps = 4
    """Network calls per utterance unless the caller says otherwise."""
    solver: str = "ddim"
    """Of a number of steps that has no preset."""
    n_iter: Iterations = 0
    """Mel-consistency iterations of a number of steps that has no preset."""
    presets: Annotated[tuple[Sampling, ...], Meta(max_length=1000)] = ()

    def __post_init__(self) -> None:
        check_fields(self, "The sampling's ")
        Sampling(self.default, self.solver)
        counts = [preset.steps for preset in self.presets]
        if len(set(counts)) < len(counts):
            raise InputError(
                f"Sampling presets are one for each number of steps, not {shown(counts)}."
            )

    def preset(
        self, steps: int | None = None, solver: str | None = None, n_iter: int | None = None
    ) -> Sampling:
        """The preset of a number of steps (the default's when None), with what is asked for.

        Raises:
            InputError: for a number that is none or out of bounds, or an unknown solver.
        """
        plain = Sampling(self.default if steps is None else steps, self.solver, n_iter=self.n_iter)
        found = next((preset for preset in self.presets if preset.steps == plain.steps), plain)
        asked = {"solver": solver, "n_iter": n_iter}
        changes: dict[str, Any] = {key: x for key, x in asked.items() if x is not None}
        return dataclasses.replace(found, **changes)

    @property
    def most_iterations(self) -> int:
        """Mel-consistency iterations after whatever number of steps."""
        return max([self.n_iter, *(preset.n_iter for preset in self.presets)])

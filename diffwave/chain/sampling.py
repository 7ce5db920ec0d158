"""How a model is sampled: one record that travels from the command line to the sampler."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any

from msgspec import Meta

from diffwave.chain.samplers import get_sampler
from diffwave.errors import InputError
from diffwave.migrate import current_sampling
from diffwave.schema import check_fields, shown, strictly

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
    """Mel-consistency iterations after the last step (:mod:`diffwave.spaces.consistency`)."""

    def __post_init__(self) -> None:
        check_fields(self, "The sampling's ")
        get_sampler(self.solver)
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
    presets: tuple[Sampling, ...] = ()

    def __post_init__(self) -> None:
        check_fields(self, "The sampling's ")
        get_sampler(self.solver)
        counts = [preset.steps for preset in self.presets]
        if len(set(counts)) < len(counts):
            raise InputError(f"Sampling presets are one for each number of steps, not {counts}.")

    def preset(
        self, steps: int | None = None, solver: str | None = None, n_iter: int | None = None
    ) -> Sampling:
        """The preset of a number of steps, with what the caller asks for in its place.

        Args:
            steps: network calls; the default when None.
            solver: a name in `SAMPLERS`; the preset's when None.
            n_iter: mel-consistency iterations; the preset's when None.

        Raises:
            InputError: for a number that is none or out of bounds, or an unknown solver.
        """
        steps = self.default if steps is None else steps
        plain = Sampling(steps, self.solver, n_iter=self.n_iter)
        chosen = next((preset for preset in self.presets if preset.steps == plain.steps), plain)
        given = {"solver": solver, "n_iter": n_iter}
        changes = {name: value for name, value in given.items() if value is not None}
        return dataclasses.replace(chosen, **changes)  # type: ignore[arg-type]

    @property
    def most_iterations(self) -> int:
        """Mel-consistency iterations after whatever number of steps."""
        return max([self.n_iter, *(preset.n_iter for preset in self.presets)])

    def to_dict(self) -> dict[str, Any]:
        """JSON types."""
        presets = [
            dataclasses.asdict(preset) | {"levels": list(preset.levels)} for preset in self.presets
        ]
        return dataclasses.asdict(self) | {"presets": presets}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> SamplingConfig:
        """The inverse of :meth:`to_dict`; settings of the format before are read as well."""
        return strictly(cls, current_sampling(values), "sampling")

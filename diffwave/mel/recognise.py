"""Which convention a mel is of, by softmax regression on its traits, and how sure that is.

`recognise.safetensors`, beside this file, holds the weights; `recipes/conventions/fit.py` makes
them of recordings.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from diffwave.base.errors import InputError
from diffwave.mel.conventions import CONVENTIONS, TINY, Convention
from diffwave.mel.normalise import log_amplitude
from diffwave.mel.traits import MAX_FRAMES, is_linear, traits

WEIGHTS = Path(__file__).with_suffix(".safetensors")
MIN_FRAMES = 8
"""Fewer say nothing."""
SURE = 0.9
"""Probability from which a name is given without a warning."""
EXCLUDED = 1e-3
"""Probability below which a convention that is expected is not assumed."""
IMPOSSIBLE = 20.0
"""What is taken from the logit of a convention that the values rule out."""
UNDERSHOOT, TOP, SPREAD = 1.5, (-9.0, 6.0), 2.0
"""Nats: what a predicted mel may lie below the floor; where its loudest value lies; and how far at
least above the soft ones."""
ENOUGH_FRAMES = 100
"""With fewer a name is given with a warning."""


@dataclass(frozen=True)
class Recognised:
    """What a mel is taken for."""

    probabilities: dict[str, float]
    """By label: a convention's name, or the name and "*" when normalised band by band."""
    transposed: bool
    """Whether the bands are on the last axis."""
    frames: int
    expected: str | None = None
    """The name that was expected, when it cannot be excluded."""

    @property
    def label(self) -> str:
        """The most probable one, or the expected one."""
        return self.expected or max(self.probabilities, key=self.probabilities.__getitem__)

    @property
    def convention(self) -> Convention:
        """Of that; of a normalised one without its statistics."""
        return CONVENTIONS[self.label.removesuffix("*")]

    @property
    def normalised(self) -> bool:
        """Whether it is normalised by statistics that have to be given."""
        return self.label.endswith("*")

    @property
    def sure(self) -> bool:
        """Whether the name needs no warning."""
        if self.expected is not None:
            return True
        return self.probabilities[self.label] >= SURE and self.frames >= ENOUGH_FRAMES

    @property
    def others(self) -> list[str]:
        """Less probable ones that cannot be excluded, best first."""
        rest = {
            name: p for name, p in self.probabilities.items() if p > 0.02 and name != self.label
        }
        return sorted(rest, key=rest.__getitem__, reverse=True)


@functools.cache
def _models() -> dict[int, tuple[list[str], dict[str, Tensor]]]:
    """Labels and tensors by number of bands."""
    stored = load_file(WEIGHTS)
    models: dict[int, tuple[list[str], dict[str, Tensor]]] = {}
    for bands in {int(key.split(".")[0]) for key in stored}:
        tensors = {
            key.split(".")[1]: value for key, value in stored.items() if key.startswith(f"{bands}.")
        }
        names = bytes(tensors.pop("names").tolist()).decode().split("\n")
        models[bands] = names, {key: value.float() for key, value in tensors.items()}
    return models


def recognise(mel: Tensor, plain: bool = False, expected: Convention | None = None) -> Recognised:
    """The convention of a mel [n_mels, T] or [T, n_mels] of finite numbers.

    Args:
        mel: the array.
        plain: leave out conventions that are normalised by statistics.
        expected: one that it is taken for unless that can be excluded (`EXCLUDED`).

    Raises:
        InputError: for an array of another rank, of no known number of bands, or of fewer than 8
            frames.
    """
    if mel.dim() != 2:
        raise InputError(f"A mel-spectrogram has two axes, not the shape {list(mel.shape)}.")
    layouts = [t for t in (False, True) if mel.shape[-1 if t else 0] in _models()]
    if not layouts:
        known = ", ".join(map(str, sorted(_models())))
        raise InputError(
            f"A mel-spectrogram of the shape {list(mel.shape)} is of no known convention: none of "
            f"its axes has {known} bands."
        )
    mel = mel.detach().float().cpu()
    views = {transposed: mel.T if transposed else mel for transposed in layouts}
    if max(view.shape[1] for view in views.values()) < MIN_FRAMES:
        raise InputError(
            f"{min(mel.shape)} frames are too few to tell a convention from; give it by name."
        )
    views = {t: view for t, view in views.items() if view.shape[1] >= MIN_FRAMES}
    seen = {t: _standard(view) for t, view in views.items()}
    # The wrong layout of a square looks like nothing that the weights were fitted to.
    transposed = min(seen, key=lambda t: float(seen[t].square().mean()))
    view = views[transposed]
    names, model = _models()[len(view)]
    logits = (model["weight"] @ seen[transposed] + model["bias"]).double()
    logits[[not possible(view, label) for label in names]] -= IMPOSSIBLE
    if plain:
        normalised = [n[-1] == "*" or CONVENTIONS[n].mel.mean is not None for n in names]
        logits[torch.tensor(normalised)] = -math.inf
    probabilities = dict(zip(names, logits.softmax(0).tolist(), strict=True))
    if expected is not None and probabilities.get(expected.name, 0) > EXCLUDED:
        return Recognised(probabilities, transposed, view.shape[1], expected.name)
    return Recognised(probabilities, transposed, view.shape[1])


def possible(mel: Tensor, label: str) -> bool:
    """Whether a mel [n_mels, T] may hold a wave within -1 .. 1 if it is of the label's convention.

    As amplitudes, 1 for white noise at full scale, nothing may be below the floor or far above 1,
    and loud and soft must be some way apart, or all of it as soft as the floor.
    """
    convention = CONVENTIONS[label.removesuffix("*")]
    if label.endswith("*"):
        return True  # by unknown statistics
    if convention.linear != is_linear(mel):
        return convention.linear and bool(mel.min() >= 0)
    values = mel[:, :MAX_FRAMES].double()
    log = (values if convention.linear else log_amplitude(values, convention.mel)).clamp(-99, 99)
    log = values.clamp(min=TINY).log() if convention.linear else log
    unit = convention.window_norm**convention.power * convention.filterbank().sum(1).median()
    floor = math.log(max(convention.mel.amplitude_range[0], convention.added))
    low, high = (float(log.flatten().quantile(q)) for q in (0.02, 1.0))
    top = (high - float(unit.log())) / convention.power
    above = (high - low) / convention.power
    inside = convention.linear or float(log.min()) > floor - UNDERSHOOT * convention.power
    silent = high < floor + SPREAD
    return inside and (silent or (TOP[0] < top < TOP[1] and above > SPREAD))


def _standard(mel: Tensor) -> Tensor:
    """The traits of a mel [n_mels, T] in units of their deviation in the data of the fit, to 8."""
    _, model = _models()[len(mel)]
    return ((traits(mel) - model["mean"]) / model["scale"]).clamp(-8, 8)

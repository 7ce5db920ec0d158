"""A voice of another mel convention or sample rate, started from the weights of one that is there.

A recording of 16 kHz that is played at 22.05 kHz is speech 1.38 times as fast, and a network of
that rate has seen such speech. Bin k of its transform is then bin k as before, whatever the rates;
a frequency of f Hz appears at f times the `speed` of the two transforms. So

- what is inside the networks is taken as it is;
- a layer that reads mel bands reads the new ones through the matrix that interpolates the old bands
  from them, W (P x + q) + b = (W P) x + (W q + b); one that predicts bands is interpolated;
- bins stay where they are; above the last one that was there nothing is read, and its filter is
  taken on;
- the predicted F0 moves by log2 of the speed, and the shares of the pulses to the bands of the
  source in which the new ones lie.

The envelope is not a network's: it is fitted to the data.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from diffwave.base.errors import InputError
from diffwave.base.schema import shown, stored
from diffwave.mel import MelConfig
from diffwave.mel.conventions import Convention
from diffwave.mel.normalise import NormaliseConfig, log_amplitude
from diffwave.model import DiffusionModel
from diffwave.networks.source import CENTS, CLASSES

Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class WarmStart:
    """What a model took from another one."""

    taken: list[str]
    """Names of the tensors that are as they were,"""
    moved: list[str]
    """those that were moved to other bands, bins or frequencies,"""
    random: list[str]
    """and the learners (network, enhancer, source) that start at random."""
    speed: float
    """At how many times its speed the other network meets the speech of this one."""

    def __str__(self) -> str:
        text = f"{len(self.taken)} tensors are taken as they are"
        if self.moved:
            names = sorted({name.rpartition(".")[0] for name in self.moved})
            text += (
                f", {len(self.moved)} moved to the bands and bins of this mel "
                f"({', '.join(names)}; speed {self.speed:.2f})"
            )
        text += f"; at random start: {', '.join(self.random) or 'none'}"
        return f"{text}; the envelope is fitted to the data"


@torch.no_grad()
def warm_start(model: DiffusionModel, base: DiffusionModel, name: str) -> WarmStart:
    """Give a model the weights of another one, of a mel of its own; its space stays as it is.

    Args:
        model: to be given weights, on any device.
        base: whose they are; both of spectral networks.
        name: of `base`, the subject of a refusal.

    Raises:
        InputError: for networks, chains or sizes that differ. A mel enhancer or source predictor of
            another size, or that only one of the two has, is no error: it starts at random.
    """
    _check(model, base, name)
    old = {key: value.to(model.device) for key, value in base.state_dict().items()}
    new: Tensors = {}
    random = []
    bands = _Bands(base, model)
    for part in ("network", "enhancer", "source"):
        theirs, ours = getattr(base, part), getattr(model, part)
        if ours is None:
            continue
        if theirs is None or _sizes(theirs.config) != _sizes(ours.config):
            random.append(part)
            continue
        prefix = "denoiser.network." if part == "network" else f"{part}."
        mine = {key.removeprefix(prefix): old[key] for key in old if key.startswith(prefix)}
        layers = {"network": bands.network, "enhancer": bands.enhancer, "source": bands.source}
        new |= {prefix + key: value for key, value in (mine | layers[part](mine)).items()}
    model.load_state_dict(new, strict=False)
    same = {key for key, value in new.items() if old[key].shape == value.shape}
    taken = [key for key in new if key in same and torch.equal(old[key], new[key])]
    return WarmStart(taken, [key for key in new if key not in taken], random, bands.speed)


def speed(base: MelConfig, mel: MelConfig) -> float:
    """At how many times its frequency a sound of `mel` is seen by a network of `base`."""
    return base.sample_rate / base.n_fft / (mel.sample_rate / mel.n_fft)


def _sizes(config: object) -> dict[str, object]:
    """Of a network, without those that follow from the mel, and the unit of its mel."""
    values = stored(config)
    return {key: value for key, value in values.items() if key != "normalise"}


def _check(model: DiffusionModel, base: DiffusionModel, name: str) -> None:
    """Raise InputError unless the insides of the networks mean the same."""
    theirs, ours = base.config, model.config
    if {theirs.network.kind, ours.network.kind} != {"spectral"}:
        raise InputError(
            f"Weights go from one mel to another between spectral networks; {name} has a "
            f"{theirs.network.kind} one, and these settings mean a {ours.network.kind} one."
        )
    pairs: Mapping[str, tuple[object, object]] = {
        "network": (theirs.network, ours.network),
        "diffusion": (theirs.diffusion, ours.diffusion),
    }
    for part, (there, here) in pairs.items():
        there_values, here_values = stored(there), stored(here)
        for key, value in here_values.items():
            if there_values.get(key) != value:
                raise InputError(
                    f"{name} has {part}.{key} = {shown(there_values.get(key))}, but these settings "
                    f"mean {shown(value)}: weights of another mel go to networks of their size."
                )
    if (theirs.source is None) != (ours.source is None):
        which = ("no", "a") if theirs.source is None else ("a", "no")
        raise InputError(
            f"{name} has {which[0]} source, but these settings mean {which[1]} source: its network "
            "has other inputs."
        )


class _Bands:
    """The layers between networks and what a mel's bands and a transform's bins are."""

    def __init__(self, base: DiffusionModel, model: DiffusionModel) -> None:
        self.base, self.model = base.config, model.config
        self.speed = speed(self.base.mel, self.model.mel)
        self.device = model.device

    def network(self, layers: Tensors) -> Tensors:
        there, here = (config.mel.n_fft // 2 for config in (self.base, self.model))
        bins = torch.arange(here).clamp(max=there - 1)
        blocks = layers["input.weight"].unflatten(1, (-1, there))
        widened = blocks[..., bins]  # a copy
        widened[..., there:] = 0
        found = {"input.weight": widened.flatten(1)}
        for name in ("filter.weight", "filter.bias"):
            found[name] = layers[name].unflatten(0, (-1, there))[:, bins].flatten(0, 1)
        units = self.base.normalise, self.model.normalise
        return found | self._reads(layers, "mel", *units)

    def enhancer(self, layers: Tensors) -> Tensors:
        assert self.base.enhancer is not None and self.model.enhancer is not None
        there = self.base.enhancer.normalise or self.base.normalise
        here = self.model.enhancer.normalise or self.model.normalise
        found = self._reads(layers, "input", there, here)
        old, new = self._unit(self.base.mel, there)[1], self._unit(self.model.mel, here)[1]
        matrix = _interpolation(_centres(self.model.mel), _centres(self.base.mel))
        matrix = (matrix * old / new[:, None]).float().to(self.device)
        for name in ("output.weight", "output.bias"):
            change, gate = layers[name][:-1], layers[name][-1:]
            found[name] = torch.cat((matrix @ change, gate))
        return found

    def source(self, layers: Tensors) -> Tensors:
        found = self._reads(layers, "input", self.base.normalise, self.model.normalise)
        classes = torch.arange(CLASSES, dtype=torch.float64)
        at = classes + 1200 / CENTS * math.log2(self.speed)
        matrix = _interpolation(at, classes).float().to(self.device)
        edges, ours = (
            torch.tensor(config.space.source_bands, dtype=torch.float64)
            for config in (self.base, self.model)
        )
        middles = (ours[1:] + ours[:-1]) / 2 * self.speed
        bands = (torch.searchsorted(edges, middles) - 1).clamp(0, len(edges) - 2)
        for name in ("output.weight", "output.bias"):
            f0, voiced, share = layers[name].tensor_split((CLASSES, CLASSES + 1))
            found[name] = torch.cat((matrix @ f0, voiced, share[bands]))
        return found

    def _reads(
        self, layers: Tensors, name: str, there: NormaliseConfig, here: NormaliseConfig
    ) -> Tensors:
        """The layer of that name, which reads three frames of a normalised mel."""
        old, new = self.base.mel, self.model.mel
        if old == new and there == here:
            return {}
        matrix = _interpolation(_centres(old), _centres(new))
        (mean_old, scale_old), (mean_new, scale_new) = self._unit(old, there), self._unit(new, here)
        height = _height(old) - matrix @ _height(new)
        shift = (matrix @ mean_new + height - mean_old) / scale_old
        matrix = matrix * scale_new / scale_old[:, None]
        weight, bias = (layers[f"{name}.{kind}"] for kind in ("weight", "bias"))
        frames = weight.double().cpu().unflatten(1, (3, -1))  # [out, 3, bands]
        return {
            f"{name}.weight": (frames @ matrix).flatten(1).to(weight),
            f"{name}.bias": bias + (frames.sum(1) @ shift).to(bias),
        }

    @staticmethod
    def _unit(mel: MelConfig, normalise: NormaliseConfig) -> tuple[Tensor, Tensor]:
        """Mean and deviation, [n_mels], of a normalised mel, in nepers of amplitude."""
        ends = torch.tensor([[0.0, 1.0]], dtype=torch.float64).expand(mel.n_mels, 2)
        log = log_amplitude(ends * normalise.scale + normalise.mean, mel)
        return log[:, 0], log[:, 1] - log[:, 0]


def _filters(mel: MelConfig) -> Tensor:
    """Sums of the filters and their centres in bins, [2, n_mels]; where one is empty, between."""
    filters = Convention(mel, "").filterbank()
    sums, bins = filters.sum(1), torch.arange(filters.shape[1], dtype=torch.float64)
    used = torch.nonzero(sums > 0)[:, 0]
    found = torch.stack((sums[used].log(), filters[used] @ bins / sums[used]))
    if len(used) < 2:
        return found.expand(2, mel.n_mels)
    return found @ _interpolation(torch.arange(mel.n_mels).double(), used.double()).T


def _centres(mel: MelConfig) -> Tensor:
    """Of the bands, in bins, [n_mels]."""
    return _filters(mel)[1]


def _height(mel: MelConfig) -> Tensor:
    """Log amplitude at which the bands show white noise of variance 1, [n_mels]."""
    return _filters(mel)[0] + math.log(Convention(mel, "").window_norm)


def _interpolation(at: Tensor, knots: Tensor) -> Tensor:
    """Matrix [m, n] by which values at rising knots [n] are interpolated at places [m].

    Linear; beyond the ends the last value goes on.
    """
    if len(knots) == 1:
        return torch.ones(len(at), 1, dtype=torch.float64)
    at = at.clamp(float(knots[0]), float(knots[-1]))
    right = torch.searchsorted(knots, at.contiguous()).clamp(1, len(knots) - 1)
    share = (at - knots[right - 1]) / (knots[right] - knots[right - 1])
    rows = torch.arange(len(at))
    matrix = torch.zeros(len(at), len(knots), dtype=torch.float64)
    matrix[rows, right - 1], matrix[rows, right] = 1 - share, share
    return matrix

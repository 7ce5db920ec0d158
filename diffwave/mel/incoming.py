"""A mel file of some convention, told or recognised, as a mel of the convention that is wanted."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diffwave.base.errors import InputError
from diffwave.mel.check import check_mel, check_shape
from diffwave.mel.config import MelConfig
from diffwave.mel.conventions import Convention, convention_of, convention_with
from diffwave.mel.convert import convert, difference
from diffwave.mel.files import KEY, READERS, content, read_mel
from diffwave.mel.recognise import ENOUGH_FRAMES, Recognised, recognise
from diffwave.mel.statistics import read_statistics

AUTO = "auto"


@dataclass(frozen=True)
class Incoming:
    """A mel as it was found."""

    mel: Tensor
    """[n_mels, T], float32, in the values of the file."""
    convention: Convention
    how: str
    """Where the convention is from: "as told", "as the file says", "recognised"."""
    found: Recognised | None
    """When it was recognised."""

    @property
    def doubt(self) -> str | None:
        """A warning, where the convention is not sure."""
        if self.found is None or self.found.sure:
            return None
        others = " or ".join(repr(name.removesuffix("*")) for name in self.found.others)
        return (
            f"it looks like the convention {self.convention.name!r}, but "
            + (f"may be {others}" if others else f"{self.found.frames} frames show little")
            + "; name the right one with --from."
        )

    def check(self) -> None:
        """Raise InputError where the values cannot be of a convention that was told or named.

        `check_mel` knows mels of logarithms of magnitudes alone; others pass.
        """
        told, plain = self.convention, Convention(self.convention.mel, self.convention.used_by)
        if self.found is None and told == plain:
            check_mel(self.mel, told.mel)

    def to(self, target: Convention) -> Tensor:
        """The mel as `target`'s, float32 [n_mels', T']."""
        return convert(self.mel, self.convention, target)

    def described(self, target: Convention) -> str:
        """What the conversion is, in one line."""
        return (
            f"{self.convention.name} ({self.how}) to {target.name}, "
            f"{difference(self.convention, target)}"
        )


def declared(path: str | os.PathLike[str]) -> str | None:
    """The convention that a mel file says it is of, as `convention_of` takes it, or None."""
    suffix = Path(path).suffix.lower()
    value: Any = None
    if suffix == ".npz":
        value = content(Path(path), READERS, "mel").get(KEY)
        if isinstance(value, np.ndarray):
            value = value.item() if value.size == 1 and value.dtype.kind == "U" else None
    elif suffix == ".safetensors":
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, "pt") as file:
                value = (file.metadata() or {}).get(KEY)
        except (SafetensorError, OSError):
            return None  # which the reader of the mel has words for
    return value if isinstance(value, str) else None


def read_incoming(
    path: str | os.PathLike[str],
    word: str = AUTO,
    statistics: str | None = None,
    expected: Convention | None = None,
) -> Incoming:
    """The mel of a file, either layout, and its convention.

    Args:
        path: .npy, .npz, .pt or .safetensors.
        word: the convention as `convention_of` takes it; "auto" for the one that the file says, or
            else the one that it looks like.
        statistics: what it was normalised by, as `read_statistics` takes it.
        expected: the convention that "auto" assumes unless the mel excludes it.

    Raises:
        InputError: for a file that cannot be read, an unknown convention, bands that it does not
            have, or a mel that is normalised by statistics that are not given.
    """
    mel = _two_axes(read_mel(path), path)
    how, found = "as told", None
    normaliser = None if statistics is None else read_statistics(statistics)
    if word == AUTO and (said := declared(path)) is not None:
        word, how = said, "as the file says"
    if word == AUTO:
        plain = mel if normaliser is None else _undone(mel, *normaliser)
        found = recognise(plain, plain=normaliser is not None, expected=expected)
        convention, how = found.convention, "recognised"
        if found.normalised:
            raise InputError(
                f"{path} looks like a mel of the convention {convention.name!r}, normalised band "
                f"by band: give its mean and deviation with --stats."
            )
        mel = mel.T if found.transposed else mel
    else:
        convention = convention_of(word)
        mel = _upright(mel, convention)
    if normaliser is not None:
        convention = convention.with_statistics(*normaliser)
    check_shape(tuple(mel.shape), convention.mel)
    return Incoming(mel.contiguous(), convention, how, found)


def _two_axes(mel: Tensor, path: str | os.PathLike[str]) -> Tensor:
    if mel.dim() == 3 and len(mel) == 1:
        mel = mel[0]
    if mel.dim() != 2 or not mel.is_floating_point():
        raise InputError(
            f"{path} must hold one floating-point mel-spectrogram, not {mel.dtype} of the shape "
            f"{list(mel.shape)}."
        )
    mel = mel.float()
    if not torch.isfinite(mel).all():
        raise InputError(f"The mel-spectrogram in {path} holds NaN or infinity.")
    return mel


def _undone(mel: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    """A normalised mel of either layout as it was, in that layout."""
    bands = max(mean.numel(), scale.numel())
    if bands not in (1, *mel.shape):
        raise InputError(
            f"The statistics are of {bands} bands, but the mel-spectrogram has the shape "
            f"{list(mel.shape)}."
        )
    flat = bands == 1 or mel.shape[0] != bands  # bands last; a square one is taken as bands first
    mean, scale = (each if flat else each[:, None] for each in (mean, scale))
    return (mel * scale + mean).float()


def _upright(mel: Tensor, convention: Convention) -> Tensor:
    """[n_mels, T] of either layout; a square one is taken as it looks."""
    n_mels = convention.mel.n_mels
    if mel.shape[0] != n_mels and mel.shape[1] == n_mels:
        return mel.T
    if mel.shape == (n_mels, n_mels):
        try:
            return mel.T if recognise(mel).transposed else mel
        except InputError:
            return mel
    return mel


def mistaken(mel: Tensor, target: MelConfig) -> str | None:
    """A warning for a mel [n_mels, T] whose values fit `target`, but that looks like another's.

    None unless another convention is as good as certain: what acoustic models predict, and voices
    that the weights of `recognise` were not fitted to, are not to be called wrong.
    """
    expected = convention_with(target)
    if expected is None or mel.shape[-1] < ENOUGH_FRAMES:
        return None
    found = recognise(mel)
    if found.label == expected.name or not found.sure:
        return None
    kind = found.convention.name
    told = f"--from {kind}" + " and its --stats" * found.normalised
    return f"it looks like a mel of the convention {kind!r}; if it is one, add {told}."

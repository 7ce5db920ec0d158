"""Means and deviations that other programs normalise mels by: value = (log-mel - mean) / deviation.

Read are ParallelWaveGAN's `stats.h5` (mean, scale) and TensorFlowTTS' `stats.npy` (two rows),
ESPnet2's `feats_stats.npz` (count, sum, sum_square), Matcha-TTS' two numbers, and any .npz, .json
or .safetensors that holds a mean and a std, scale or deviation.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diffwave.base.errors import InputError
from diffwave.base.files import read_json
from diffwave.base.libraries import needed_for
from diffwave.mel.files import READERS, Readers, content

MEAN = ("mean", "mel_mean", "mean_")
SCALE = ("scale", "std", "mel_std", "deviation", "scale_")


def read_statistics(word: str) -> tuple[Tensor, Tensor]:
    """Mean and deviation, float64, [n_mels] each or [1]: of a file, or of "MEAN,DEVIATION".

    Raises:
        InputError: no such file, one of another kind, no statistics in it, numbers that are not
            finite or deviations that are not above zero.
    """
    if (numbers := _numbers(word)) is not None:
        mean, scale = (torch.tensor([number], dtype=torch.float64) for number in numbers)
    else:
        path = Path(word)
        if path.suffix.lower() not in _READERS:
            raise InputError(
                f"Statistics are a file ({', '.join(_READERS)}) or MEAN,DEVIATION, not {word}."
            )
        mean, scale = _statistics(content(path, _READERS, "statistics"), path)
    if mean.numel() != scale.numel() and 1 not in (mean.numel(), scale.numel()):
        raise InputError(f"{word} has {mean.numel()} means but {scale.numel()} deviations.")
    if not (torch.isfinite(mean).all() and torch.isfinite(scale).all()):
        raise InputError(f"The statistics of {word} hold NaN or infinity.")
    if not (scale > 0).all():
        raise InputError(f"The deviations of {word} must be above zero.")
    return mean, scale


def _numbers(word: str) -> tuple[float, float] | None:
    words = word.split(",")
    if len(words) != 2:
        return None
    try:
        mean, scale = map(float, words)
    except ValueError:
        return None
    return mean, scale


def _read_h5(path: Path) -> dict[str, Any]:
    with needed_for(f"Reading {path}", "h5"):
        import h5py
    with h5py.File(path, "r") as file:
        return {
            name: np.asarray(file[name])
            for name in (*MEAN, *SCALE)
            if isinstance(file.get(name), h5py.Dataset) and file[name].size <= 1 << 16
        }


_READERS: Readers = {
    **{suffix: READERS[suffix] for suffix in (".npy", ".npz", ".safetensors")},
    ".h5": _read_h5,
    ".json": read_json,
}


def _statistics(content: Any, path: Path) -> tuple[Tensor, Tensor]:
    if not isinstance(content, Mapping):
        rows = _row(content, path, flat=False)
        if rows.dim() != 2 or len(rows) != 2:
            raise InputError(
                f"{path} must hold two rows, means and deviations, not the shape "
                f"{list(rows.shape)}."
            )
        return rows[0], rows[1]
    if {"count", "sum", "sum_square"} <= set(content):
        count = float(_row(content["count"], path)[0])
        if not count > 0:
            raise InputError(f"The statistics of {path} are of no frame.")
        mean = _row(content["sum"], path) / count
        square = _row(content["sum_square"], path) / count
        if len(mean) != len(square):
            raise InputError(f"{path} has sums of {len(mean)} and of {len(square)} bands.")
        return mean, (square - mean.square()).clamp(min=1e-20).sqrt()
    means = [content[name] for name in MEAN if name in content]
    scales = [content[name] for name in SCALE if name in content]
    if not means or not scales:
        names = ", ".join(map(str, content)) or "nothing"
        raise InputError(f"{path} holds {names:.200}, but statistics are a mean and a scale.")
    return _row(means[0], path), _row(scales[0], path)


def _row(value: Any, path: Path, flat: bool = True) -> Tensor:
    try:
        array = np.array(value.cpu() if isinstance(value, Tensor) else value, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(f"The statistics of {path} are no numbers.") from None
    if array.size == 0 or array.size > 1 << 16:
        raise InputError(f"The statistics of {path} are {array.size} numbers.")
    found = torch.from_numpy(array)
    return found.flatten() if flat else found

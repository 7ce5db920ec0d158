"""How well a number tells the unusual from the usual: ROC curve and the area under it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Scores = Sequence[NDArray[np.float64]]
"""By recording, whatever each has: one number, or one for every frame."""


class Area(NamedTuple):
    """Area under the ROC curve: how often the unusual one of a random pair has the higher score."""

    value: float
    error: float  # standard error; NaN unless there are two recordings of each kind


def area(usual: Scores, unusual: Scores) -> Area:
    """Area under the ROC curve; 0.5 is chance, ties count half.

    The error is that of DeLong et al. 1988, and for several scores of a recording, which are not
    independent, that of Obuchowski 1997 (without the covariance of recordings of both kinds).
    """
    low, high = np.sort(np.concatenate(usual)), np.sort(np.concatenate(unusual))
    hits = [_share_below(low, scores) for scores in unusual]
    misses = [1 - _share_below(high, scores) for scores in usual]
    value = float(np.concatenate(hits).mean())
    variance = _variance(hits, value) + _variance(misses, value)
    return Area(value, math.sqrt(variance))


def roc(usual: Scores, unusual: Scores) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Shares of the usual and of the unusual that lie at or above a falling threshold, from 0."""
    low, high = np.concatenate(usual), np.concatenate(unusual)
    thresholds = np.append(np.inf, np.unique(np.concatenate((low, high)))[::-1])
    shares = [
        1 - np.searchsorted(np.sort(x), thresholds, side="left") / len(x) for x in (low, high)
    ]
    return shares[0], shares[1]


def _share_below(ordered: NDArray[np.float64], scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of sorted values that lie below each score; those equal to it count half."""
    left, right = (np.searchsorted(ordered, scores, side=side) for side in ("left", "right"))
    share: NDArray[np.float64] = (left + right) / (2 * len(ordered))
    return share


def _variance(placements: Scores, mean: float) -> float:
    """Variance of the mean of values that come in clusters."""
    count, clusters = sum(map(len, placements)), len(placements)
    if clusters < 2:
        return math.nan
    sums = np.array([(values - mean).sum() for values in placements])
    return float(clusters / (clusters - 1) * (sums**2).sum() / count**2)

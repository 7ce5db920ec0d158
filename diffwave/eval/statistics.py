"""How far a mean over sentences can be trusted, and whether two systems differ."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES, SEED = 10_000, 0  # of the bootstrap
INTERVAL = f"95 %, percentile bootstrap over sentences, {RESAMPLES} resamples, seed {SEED}"


@dataclass(frozen=True)
class Summary:
    """Mean over the `n` sentences for which the metric is defined, and its 95 % interval.

    Fewer than two sentences give no interval, none at all no mean: NaN.
    """

    mean: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class PairedTest:
    """Do two systems, heard on the same sentences, differ?

    `p` is NaN where there is nothing to test: no sentence in common, or no scipy.
    """

    difference: Summary  # of first minus second, sentence by sentence
    p: float  # two-sided Wilcoxon signed-rank test
    p_holm: float  # corrected for the number of pairs of systems


def summarise(values: Sequence[float]) -> Summary:
    """Mean and percentile-bootstrap interval of the values that are not NaN."""
    defined = np.asarray([value for value in values if not math.isnan(value)], dtype=np.float64)
    n = len(defined)
    if n == 0:
        return Summary(math.nan, math.nan, math.nan, 0)
    if n == 1:
        return Summary(float(defined[0]), math.nan, math.nan, 1)
    chosen = np.random.default_rng(SEED).integers(0, n, size=(RESAMPLES, n))
    low, high = np.percentile(defined[chosen].mean(axis=1), [2.5, 97.5])
    return Summary(float(defined.mean()), float(low), float(high), n)


def paired_tests(
    systems: Mapping[str, Sequence[float]],
) -> dict[tuple[str, str], PairedTest]:
    """Test every pair of systems on one metric.

    Args:
        systems: one value for each sentence, the same sentences in the same order for every
            system; NaN where the metric is not defined. A pair is tested on the sentences for
            which both have a value.

    Returns:
        {(first, second): test} in the order of `systems`.
    """
    pairs = list(itertools.combinations(systems, 2))
    differences = [
        np.subtract(np.asarray(systems[first]), np.asarray(systems[second]))
        for first, second in pairs
    ]
    p_values = [wilcoxon(difference[~np.isnan(difference)]) for difference in differences]
    return {
        pair: PairedTest(summarise(list(difference)), p, corrected)
        for pair, difference, p, corrected in zip(
            pairs, differences, p_values, holm(p_values), strict=True
        )
    }


def wilcoxon(differences: np.ndarray[tuple[int], np.dtype[np.float64]]) -> float:
    """p of the two-sided Wilcoxon signed-rank test that the differences lie evenly around zero.

    Zeros are dropped; if there is nothing else, p is 1. NaN without differences or without scipy.
    """
    try:
        from scipy import stats
    except ImportError:
        return math.nan
    if not len(differences):
        return math.nan
    if not np.any(differences):
        return 1.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the sample is small, which n says
        return float(stats.wilcoxon(differences).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values that control the chance of one false alarm among them (Holm 1979); NaN stays NaN."""
    corrected = list(p_values)
    tested = sorted((p, i) for i, p in enumerate(p_values) if not math.isnan(p))
    largest = 0.0
    for rank, (p, i) in enumerate(tested):
        largest = max(largest, min(1.0, (len(tested) - rank) * p))
        corrected[i] = largest
    return corrected

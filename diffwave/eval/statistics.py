"""How far a mean over utterances can be trusted, and whether two systems differ."""

from __future__ import annotations

import itertools
import math
import warnings
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

RESAMPLES, SEED = 10_000, 0  # of the bootstrap
INTERVAL = f"95 %, percentile bootstrap over utterances, {RESAMPLES} resamples, seed {SEED}"
BATCH = 10_000_000  # samples that the bootstrap holds at once; bounds memory to about 0.2 GB


@dataclass(frozen=True)
class Summary:
    """Mean over the `n` utterances for which the metric is defined, and its 95 % interval.

    Fewer than two utterances give no interval, none at all no mean: NaN.
    """

    mean: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class PairedTest:
    """The comparison of two systems on the utterances for which both have a value."""

    first: str
    second: str
    difference: Summary  # of first minus second, utterance by utterance
    p: float  # of the two-sided Wilcoxon signed-rank test; NaN without a common utterance
    p_holm: float  # corrected for the number of pairs of systems


def summarise(values: ArrayLike) -> Summary:
    """Mean and percentile-bootstrap interval of the values that are not NaN."""
    defined = _defined(values)
    n = len(defined)
    if n < 2:
        return Summary(float(defined[0]) if n else math.nan, math.nan, math.nan, n)
    low, high = stats.bootstrap(
        (defined,),
        np.mean,
        n_resamples=RESAMPLES,
        batch=max(1, BATCH // n),
        method="percentile",
        rng=np.random.default_rng(SEED),
    ).confidence_interval
    return Summary(float(defined.mean()), float(low), float(high), n)


def paired_tests(values: pd.DataFrame) -> list[PairedTest]:
    """Test every pair of systems on one metric.

    Args:
        values: one row for each utterance, one column for each system; NaN where the metric is not
            defined.
    """
    pairs = list(itertools.combinations(values.columns, 2))
    differences = [values[first] - values[second] for first, second in pairs]
    p_values = [wilcoxon(difference) for difference in differences]
    return [
        PairedTest(*pair, summarise(difference), p, float(corrected))
        for pair, difference, p, corrected in zip(
            pairs, differences, p_values, holm(p_values), strict=True
        )
    ]


def wilcoxon(differences: ArrayLike) -> float:
    """p of the two-sided Wilcoxon signed-rank test that the differences lie evenly around zero.

    Zeros are dropped; if there is nothing else, p is 1. NaN without differences.
    """
    defined = _defined(differences)
    if not np.any(defined):
        return 1.0 if len(defined) else math.nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the sample is small, which n says
        return float(stats.wilcoxon(defined).pvalue)


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """p-values that control the chance of one false alarm among them; NaN stays NaN.

    Source: Holm 1979, "A simple sequentially rejective multiple test procedure": the k-th smallest
    of m is multiplied by m - k + 1, and none may fall below one before it.
    """
    corrected = np.array(p_values, dtype=np.float64)
    order = np.argsort(corrected)[: len(_defined(corrected))]  # NaN comes last
    factors = np.arange(len(order), 0, -1)
    corrected[order] = np.maximum.accumulate(np.minimum(factors * corrected[order], 1))
    return corrected


def _defined(values: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    return array[~np.isnan(array)]

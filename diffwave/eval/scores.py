"""The scores of an evaluation: one table, its means, and tests of whether systems differ."""

from __future__ import annotations

import functools
import itertools
import math
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from diffwave.base.errors import InputError
from diffwave.eval.metrics import METRICS

# Facts of a pair that stand in the table as metrics do: duration of the reference; delay of the
# generated wave that was undone; length of generated minus reference.
FACTS = ["seconds", "lag_ms", "extra_ms"]
NAMED = 5  # utterances that a remark lists by name
UNEVEN_MS = 100  # a larger difference in length is reported
FEWEST = 6  # utterances; with fewer the test cannot fall below 0.05
RESAMPLES, SEED = 10_000, 0  # of the bootstrap
INTERVAL = f"95 %, percentile bootstrap over utterances, {RESAMPLES} resamples, seed {SEED}"
BATCH = 10_000_000  # samples that the bootstrap holds at once; bounds memory to about 0.2 GB


class Summary(NamedTuple):
    """Mean over the `n` utterances for which the metric is defined, and its 95 % interval.

    Fewer than two utterances give no interval, none at all no mean: NaN.
    """

    mean: float
    low: float
    high: float
    n: int


class PairedTest(NamedTuple):
    """Two systems compared on the utterances for which both have a value of the metric."""

    metric: str
    first: str
    second: str
    difference: Summary  # of first minus second, utterance by utterance
    p: float  # of the two-sided Wilcoxon signed-rank test; NaN without a common utterance
    p_holm: float  # corrected for the number of pairs of systems


@dataclass(frozen=True)
class Scores:
    """What was measured of one system or several.

    Means and tests are over the utterances that all systems have; `InputError` if there is none.
    """

    # A row for each (system, utterance), a column for each of FACTS and each metric; NaN where a
    # metric is not defined for an utterance.
    table: pd.DataFrame
    missing: dict[str, str] = field(default_factory=dict)  # metric -> why it was not computed
    # system -> what a reader must know of it: checkpoint, steps, seed
    notes: dict[str, list[str]] = field(default_factory=dict)
    # Where they can be listened to, if they are files.
    references: dict[str, Path] = field(default_factory=dict)  # utterance -> file
    generated: dict[str, dict[str, Path]] = field(default_factory=dict)  # system -> utterance ->

    @property
    def systems(self) -> list[str]:
        return list(self.table.index.unique("system"))

    @property
    def metrics(self) -> list[str]:
        return [name for name in self.table if name not in FACTS]

    @functools.cached_property
    def common(self) -> list[str]:
        """Utterances that all systems have, in the order of the first."""
        return common_utterances({name: list(self.table.loc[name].index) for name in self.systems})

    def values(self, metric: str) -> pd.DataFrame:
        """[common utterances, systems]."""
        return self.table[metric].unstack("system").loc[self.common, self.systems]

    @functools.cached_property
    def summary(self) -> dict[str, dict[str, Summary]]:
        """{metric: {system: mean over the common utterances}}."""
        return {
            metric: {system: summarise(column) for system, column in self.values(metric).items()}
            for metric in self.metrics
        }

    @functools.cached_property
    def tests(self) -> list[PairedTest]:
        """For each metric, every pair of systems; where zero is best, of the distance from zero."""
        tests = []
        for metric in self.metrics:
            values = self.values(metric)
            if METRICS[metric].better == "zero":
                values = values.abs()
            pairs = list(itertools.combinations(self.systems, 2))
            differences = [values[first] - values[second] for first, second in pairs]
            p_values = [wilcoxon(difference) for difference in differences]
            for pair, difference, p, corrected in zip(
                pairs, differences, p_values, holm(p_values), strict=True
            ):
                tests.append(PairedTest(metric, *pair, summarise(difference), p, corrected))
        return tests

    def remarks(self) -> list[str]:
        """What is missing or odd, one statement each."""
        several, remarks = len(self.systems) > 1, []
        every = self.table.index.unique("utterance")
        for system in self.systems:
            table, prefix = self.table.loc[system], f"{system}: " if several else ""
            if absent := [name for name in every if name not in table.index]:
                remarks.append(
                    f"{system} lacks {listed(absent)}: the {len(self.common)} utterances that all "
                    "systems have are compared."
                )
            for metric, undefined in table[self.metrics].isna().sum().items():
                if undefined:
                    remarks.append(
                        f"{prefix}{metric} is not defined for {undefined} of {len(table)} "
                        "utterances."
                    )
            if uneven := int((table["extra_ms"].abs() > UNEVEN_MS).sum()):
                remarks.append(
                    f"{prefix}in {uneven} of {len(table)} pairs the lengths differ by more than "
                    f"{UNEVEN_MS} ms."
                )
        remarks += [f"{name} is missing: {reason}." for name, reason in self.missing.items()]
        if several and len(self.common) < FEWEST:
            remarks.append(f"With fewer than {FEWEST} common utterances no p can fall below 0.05.")
        return remarks


def common_utterances(systems: dict[str, list[str]]) -> list[str]:
    """Utterances that every system has, in the order of the first; `InputError` if none."""
    first, *others = systems.values()
    common = [name for name in first if all(name in names for names in others)]
    if not common:
        raise InputError(
            f"No utterance is common to {', '.join(systems)}; match them by file name."
        )
    return common


def listed(names: list[str]) -> str:
    """The first names and how many more there are: "a, b, c, d, e and 13095 more"."""
    rest = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {rest} more" if rest > 0 else "")


def summarise(values: pd.Series) -> Summary:
    """Mean and percentile-bootstrap interval of the values that are not NaN."""
    defined = values.dropna().to_numpy()
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


def wilcoxon(differences: pd.Series) -> float:
    """p of the two-sided Wilcoxon signed-rank test that the differences lie evenly around zero.

    Zeros are dropped; if there is nothing else, p is 1. NaN without differences.
    """
    defined = differences.dropna()
    if not defined.any():
        return 1.0 if len(defined) else math.nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the sample is small, which n says
        return float(stats.wilcoxon(defined).pvalue)


def holm(p_values: list[float]) -> list[float]:
    """p-values that control the chance of one false alarm among them; NaN stays NaN.

    Source: Holm 1979, "A simple sequentially rejective multiple test procedure": the k-th smallest
    of m is multiplied by m - k + 1, and none may fall below one before it.
    """
    p = pd.Series(p_values, dtype=float).dropna().sort_values()
    corrected = (p * np.arange(len(p), 0, -1)).clip(upper=1).cummax()
    return corrected.reindex(range(len(p_values))).tolist()

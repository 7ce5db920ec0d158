"""The scores of an evaluation: one tidy table, its means, and tests of whether systems differ."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from diffwave.errors import InputError
from diffwave.eval.metrics import METRICS
from diffwave.eval.pairs import listed
from diffwave.eval.statistics import PairedTest, Summary, paired_tests, summarise

COLUMNS = ["system", "utterance", "metric", "value"]
# Facts of a pair that stand in the table as metrics do: duration of the reference; delay of the
# generated wave that was undone; length of generated minus reference.
FACTS = ["seconds", "lag_ms", "extra_ms"]
UNEVEN_MS = 100  # a larger difference in length is reported
FEWEST = 6  # utterances; with fewer the test cannot fall below 0.05


@dataclass(frozen=True)
class Scores:
    """What was measured of one system or several.

    Means and tests are over the utterances that all systems have; without any, making a `Scores`
    raises `InputError`.
    """

    table: pd.DataFrame  # tidy: `COLUMNS`; NaN where a metric is not defined for an utterance
    missing: dict[str, str] = field(default_factory=dict)  # metric -> why it was not computed
    # system -> what a reader must know of it: checkpoint, steps, seed
    notes: dict[str, list[str]] = field(default_factory=dict)
    # Where they can be listened to, if they are files.
    references: dict[str, Path] = field(default_factory=dict)  # utterance -> file
    generated: dict[str, dict[str, Path]] = field(default_factory=dict)  # system -> utterance ->

    def __post_init__(self) -> None:
        if self.table.duplicated(COLUMNS[:3]).any():
            raise InputError("Two utterances of one system have the same name.")
        common_utterances({system: self.utterances(system) for system in self.systems})

    @property
    def systems(self) -> list[str]:
        return list(self.table["system"].unique())

    @property
    def metrics(self) -> list[str]:
        return [name for name in self.table["metric"].unique() if name not in FACTS]

    @functools.cached_property
    def wide(self) -> pd.DataFrame:
        """One row for each utterance of each system, one column for each fact and metric."""
        wide = self.table.pivot(index=COLUMNS[:2], columns="metric", values="value")
        rows = pd.MultiIndex.from_frame(self.table[COLUMNS[:2]].drop_duplicates())
        return wide.reindex(index=rows, columns=[*FACTS, *self.metrics])

    def utterances(self, system: str) -> list[str]:
        return list(self.table.loc[self.table["system"] == system, "utterance"].unique())

    @functools.cached_property
    def common(self) -> list[str]:
        """Utterances that all systems have, in the order of the first."""
        return common_utterances({system: self.utterances(system) for system in self.systems})

    def values(self, metric: str) -> pd.DataFrame:
        """[common utterances, systems]."""
        return self.wide[metric].unstack("system").loc[self.common, self.systems]

    @functools.cached_property
    def summary(self) -> dict[str, dict[str, Summary]]:
        """{metric: {system: mean over the common utterances}}."""
        return {
            metric: {system: summarise(column) for system, column in self.values(metric).items()}
            for metric in self.metrics
        }

    @functools.cached_property
    def tests(self) -> dict[str, list[PairedTest]]:
        """{metric: test of each pair of systems}; where zero is best, of the distance from zero."""
        return {
            metric: paired_tests(
                values.abs() if METRICS[metric].better == "zero" else values,
            )
            for metric, values in ((metric, self.values(metric)) for metric in self.metrics)
        }

    def remarks(self) -> list[str]:
        """What is missing or odd, one statement each."""
        several, remarks = len(self.systems) > 1, []
        for system in self.systems:
            table, prefix = self.wide.loc[system], f"{system}: " if several else ""
            if absent := [name for name in self._every() if name not in table.index]:
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

    def _every(self) -> list[str]:
        return list(self.table["utterance"].unique())


def common_utterances(systems: dict[str, list[str]]) -> list[str]:
    """Utterances that every system has, in the order of the first; `InputError` if none."""
    first, *others = systems.values()
    common = [name for name in first if all(name in names for names in others)]
    if not common:
        raise InputError(
            f"No utterance is common to {', '.join(systems)}; match them by file name."
        )
    return common

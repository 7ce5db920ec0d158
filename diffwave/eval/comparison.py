"""Several systems side by side on the same sentences, and tests of whether they differ."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from diffwave.errors import InputError
from diffwave.eval.libraries import import_library, version_of
from diffwave.eval.metrics import METRICS, library_version
from diffwave.eval.pairs import listed
from diffwave.eval.report import (
    METHOD,
    Report,
    csv_text,
    heading,
    interval,
    json_text,
    metric_facts,
    missing_remarks,
    row_table,
    save_text,
    show,
    summary_facts,
    table,
)
from diffwave.eval.statistics import PairedTest, Summary, paired_tests, summarise

TESTED = (
    "Tested, for each metric and each pair of systems: the difference, first minus second, of the "
    "scores of each common sentence for which both are defined (of their absolute values where "
    "zero is best). The interval is that of the mean difference. p: two-sided Wilcoxon signed-rank "
    "test that the differences lie evenly around zero ({library}; zero differences dropped). "
    "p (Holm): corrected for the number of pairs of systems, each metric by itself; the metrics "
    "are not corrected for being several."
)
FEWEST = 6  # sentences; with fewer the test cannot fall below 0.05


@dataclass(frozen=True)
class Comparison:
    """Reports of at least two systems, made with the same metrics.

    Means and tests are over the sentences that all systems have; without any, making a `Comparison`
    raises `InputError`.
    """

    systems: dict[str, Report]

    def __post_init__(self) -> None:
        common_sentences(self._sentences())

    @functools.cached_property
    def common(self) -> list[str]:
        """Sentences that all systems have, in the order of the first."""
        return common_sentences(self._sentences())

    @property
    def metrics(self) -> list[str]:
        return list(next(iter(self.systems.values())).values)

    def values(self, metric: str) -> dict[str, list[float]]:
        """{system: one value for each common sentence}; NaN where it is not defined."""
        columns = {
            system: dict(zip(report.sentences, report.values[metric], strict=True))
            for system, report in self.systems.items()
        }
        return {
            system: [column[sentence] for sentence in self.common]
            for system, column in columns.items()
        }

    def summary(self) -> dict[str, dict[str, Summary]]:
        """{metric: {system: mean over the common sentences}}."""
        return {
            metric: {system: summarise(values) for system, values in self.values(metric).items()}
            for metric in self.metrics
        }

    @functools.cached_property
    def tests(self) -> dict[str, dict[tuple[str, str], PairedTest]]:
        """{metric: {(first, second): test}}; where zero is best, of the distance from zero."""
        tests = {}
        for metric in self.metrics:
            values = self.values(metric)
            if METRICS[metric].better == "zero":
                values = {system: [abs(v) for v in column] for system, column in values.items()}
            tests[metric] = paired_tests(values)
        return tests

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write everything (.json), the table of sentences (.csv) or a page to read (.md)."""
        save_text(path, {".json": self.to_json, ".csv": self.to_csv, ".md": self.to_markdown})

    def to_json(self) -> str:
        """Strict JSON: an undefined value is null."""
        return json_text(
            {
                "method": METHOD,
                "tested": _tested(),
                "notes": {system: list(report.notes) for system, report in self.systems.items()},
                "common_sentences": self.common,
                "metrics": {
                    metric: metric_facts(metric)
                    | {"systems": {name: summary_facts(s) for name, s in systems.items()}}
                    for metric, systems in self.summary().items()
                },
                "tests": [
                    {
                        "metric": metric,
                        "first": first,
                        "second": second,
                        "mean_difference": test.difference.mean,
                        "interval": [test.difference.low, test.difference.high],
                        "n": test.difference.n,
                        "p": test.p,
                        "p_holm": test.p_holm,
                    }
                    for metric, first, second, test in self._each_test()
                ],
                "missing": self._missing(),
                "sentences": self.rows(),
            }
        )

    def to_csv(self) -> str:
        """One row for each sentence of each system; an undefined value is an empty cell."""
        return csv_text(self.rows())

    def to_markdown(self) -> str:
        lines = [
            f"# Evaluation of {len(self.systems)} systems on {len(self.common)} common "
            f"sentence{'s'[: len(self.common) != 1]}",
            "",
        ]
        lines += [f"- {note}" for note in self.notes] + [""] * bool(self.notes)
        lines += table(
            ["metric", "better", *self.systems],
            (
                [heading(metric), METRICS[metric].better, *map(_mean_and_interval, row.values())]
                for metric, row in self.summary().items()
            ),
        )
        lines += ["", f"Mean and, in brackets, its 95 % interval. {METHOD}"]
        remarks = self.remarks()
        lines += [""] * bool(remarks) + [f"- {remark}" for remark in remarks]
        lines += ["", "## Paired tests", ""]
        lines += table(
            ["metric", "first", "second", "mean difference", "95 % interval", "n", "p", "p (Holm)"],
            (
                [
                    heading(metric),
                    first,
                    second,
                    show(test.difference.mean),
                    interval(test.difference),
                    str(test.difference.n),
                    _show_p(test.p),
                    _show_p(test.p_holm),
                ]
                for metric, first, second, test in self._each_test()
            ),
        )
        lines += ["", _tested(), "", "## Metrics", ""]
        lines += table(
            ["metric", "library", "settings"],
            (
                [metric, library_version(METRICS[metric]), METRICS[metric].settings]
                for metric in self.metrics
            ),
        )
        return "\n".join([*lines, "", "## Sentences", "", *row_table(self.rows())]) + "\n"

    @property
    def notes(self) -> list[str]:
        """The notes of every system, with its name."""
        return [f"{name}: {note}" for name, report in self.systems.items() for note in report.notes]

    def remarks(self) -> list[str]:
        """What is missing or odd, a sentence each."""
        every = dict.fromkeys(name for names in self._sentences().values() for name in names)
        remarks = []
        for name, report in self.systems.items():
            if absent := [s for s in every if s not in report.sentences]:
                remarks += [
                    f"{name} lacks {listed(absent)}: the {len(self.common)} sentences that all "
                    "systems have are compared."
                ]
            remarks += [f"{name}: {remark}" for remark in report.oddities()]
        remarks += missing_remarks(self._missing())
        if len(self.common) < FEWEST:
            remarks += [f"With fewer than {FEWEST} common sentences no p can fall below 0.05."]
        return remarks

    def rows(self) -> list[dict[str, Any]]:
        """One for each sentence of each system, those that are not common too."""
        return [
            {"system": system} | row
            for system, report in self.systems.items()
            for row in report.rows()
        ]

    def _missing(self) -> dict[str, str]:
        """What could not be computed: metrics are the same for all systems; and the tests."""
        missing = dict(next(iter(self.systems.values())).missing)
        try:
            import_library("scipy")
        except (ImportError, OSError) as error:
            missing["p"] = f"scipy cannot be imported ({error})"
        return missing

    def _sentences(self) -> dict[str, tuple[str, ...]]:
        return {name: report.sentences for name, report in self.systems.items()}

    def _each_test(self) -> Iterator[tuple[str, str, str, PairedTest]]:
        for metric, tests in self.tests.items():
            for (first, second), test in tests.items():
                yield metric, first, second, test


def common_sentences(systems: Mapping[str, Sequence[str]]) -> list[str]:
    """Sentences that every system has, in the order of the first; `InputError` if none."""
    first, *others = systems.values()
    common = [sentence for sentence in first if all(sentence in names for names in others)]
    if not common:
        raise InputError(f"No sentence is common to {', '.join(systems)}; match them by file name.")
    return common


def _tested() -> str:
    return TESTED.format(library=version_of("scipy"))


def _mean_and_interval(summary: Summary) -> str:
    return f"{show(summary.mean)} ({interval(summary)})" if summary.n > 1 else show(summary.mean)


def _show_p(p: float) -> str:
    return "< 0.001" if p < 0.001 else show(p)

"""Scores as a file to keep or a page to read: JSON, CSV or Markdown."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from diffwave.base.errors import InputError
from diffwave.base.files import atomic_path, json_text
from diffwave.base.libraries import version_of
from diffwave.base.text import csv_cell, decimals, markdown_table, printable
from diffwave.eval.metrics import METRICS
from diffwave.eval.scores import INTERVAL, Scores, Summary

METHOD = (
    "Waves are aligned by cross-correlation (of spectrograms, then of waves within 1.5 ms; at "
    "most 50 ms) and cut to their common length; loudness is left alone. "
    f"Intervals: {INTERVAL}."
)
TESTED = (
    "Tested, for each metric and each pair of systems: the difference, first minus second, of the "
    "scores of each common utterance for which both are defined (of their absolute values where "
    "zero is best). The interval is that of the mean difference. p: two-sided Wilcoxon signed-rank "
    f"test that the differences lie evenly around zero ({version_of('scipy')}; zero differences "
    "dropped). p (Holm): corrected for the number of pairs of systems, each metric by itself; the "
    "metrics are not corrected for being several."
)


def save(scores: Scores, path: str | os.PathLike[str]) -> None:
    """Write everything (.json), the table of utterances (.csv) or a page to read (.md)."""
    writer = WRITERS.get(Path(path).suffix.lower())
    if writer is None:
        raise InputError(f"Cannot write {path}: a report ends in .json, .csv or .md.")
    with atomic_path(path) as temporary:
        temporary.write_text(writer(scores), encoding="utf-8", newline="")


def to_json(scores: Scores) -> str:
    """Strict JSON: an undefined value is null. One system is not named, several are."""
    several = len(scores.systems) > 1
    document: dict[str, Any] = {"method": METHOD, "notes": scores.notes}
    if several:
        document |= {"tested": TESTED, "common_utterances": scores.common}
    else:
        document["notes"] = next(iter(scores.notes.values()), [])
    document["metrics"] = {}
    for name, summaries in scores.summary.items():
        means = {system: _summary("mean", summary) for system, summary in summaries.items()}
        document["metrics"][name] = {
            **{key: getattr(METRICS[name], key) for key in ("unit", "better", "settings")},
            "library": version_of(METRICS[name].library),
            **({"systems": means} if several else means[scores.systems[0]]),
        }
    if several:
        document["tests"] = [
            {
                "metric": test.metric, "first": test.first, "second": test.second,
                **_summary("mean_difference", test.difference), "p": test.p, "p_holm": test.p_holm,
            }
            for test in scores.tests
        ]  # fmt: skip
    document |= {"missing": scores.missing, "utterances": _table(scores).to_dict("records")}
    return json_text(document)


def to_csv(scores: Scores) -> str:
    """One row for each utterance of each system; an undefined value is an empty cell."""
    return str(_table(scores, csv_cell).to_csv(lineterminator="\n", index=False))


def to_markdown(scores: Scores) -> str:
    """Means side by side, tests between systems, what the metrics are, and every utterance."""
    several, count = len(scores.systems) > 1, len(scores.common)
    seconds = float(scores.values("seconds").iloc[:, 0].sum())
    compared = f"{len(scores.systems)} systems on {count} common" if several else str(count)
    means = [
        [_heading(metric), METRICS[metric].better, *map(_mean_and_interval, row.values())]
        for metric, row in scores.summary.items()
    ]
    blocks = [
        [f"# Evaluation of {compared} utterance{'s'[: count != 1]}, {seconds:.1f} s"],
        _bullets(all_notes(scores)),
        markdown_table(
            ["metric", "better", *(scores.systems if several else ["mean (95 % interval)"])], means
        ),
        [f"Mean and, in brackets, its 95 % interval. {METHOD}"],
        _bullets(scores.remarks()),
    ]
    if several:
        header = ["metric", "first", "second", "mean difference", "95 % interval", "n", "p"]
        rows = [
            [
                _heading(test.metric), test.first, test.second, decimals(test.difference.mean),
                _interval(test.difference), test.difference.n,
                *("< 0.001" if p < 0.001 else decimals(p) for p in (test.p, test.p_holm)),
            ]
            for test in scores.tests
        ]  # fmt: skip
        blocks += [["## Paired tests"], markdown_table([*header, "p (Holm)"], rows), [TESTED]]
    metrics = [
        [name, METRICS[name].title, version_of(METRICS[name].library), METRICS[name].settings]
        for name in scores.metrics
    ]
    table = _table(scores)
    values = table.map(lambda value: value if isinstance(value, str) else decimals(value))
    blocks += [
        ["## Metrics"],
        markdown_table(["metric", "name", "library", "settings"], metrics),
        ["## Utterances"],
        markdown_table(list(table), values.to_numpy().tolist()),
    ]
    return "\n\n".join("\n".join(block) for block in blocks if block) + "\n"


WRITERS = {".json": to_json, ".csv": to_csv, ".md": to_markdown}


def all_notes(scores: Scores) -> list[str]:
    """The notes of every system, with its name if there are several."""
    return [
        f"{system}: {note}" if len(scores.systems) > 1 else note
        for system, notes in scores.notes.items()
        for note in notes
    ]


def _bullets(statements: Sequence[str]) -> list[str]:
    return [f"- {printable(text)}" for text in statements]


def _table(scores: Scores, named: Callable[[str], str] = str) -> pd.DataFrame:
    """One row for each utterance, with its system if there are several."""
    table = scores.table.rename(named).reset_index()
    return table.drop(columns="system") if len(scores.systems) == 1 else table


def _summary(mean: str, summary: Summary) -> dict[str, Any]:
    return {mean: summary.mean, "interval": [summary.low, summary.high], "n": summary.n}


def _heading(metric: str) -> str:
    """For example "f0_cents (cents)"."""
    unit = METRICS[metric].unit
    return f"{metric} ({unit})" if unit else metric


def _interval(summary: Summary) -> str:
    return f"{decimals(summary.low)} to {decimals(summary.high)}" if summary.n > 1 else "-"


def _mean_and_interval(summary: Summary) -> str:
    return decimals(summary.mean) + f" ({_interval(summary)})" * (summary.n > 1)

"""Scores as a file to keep or a page to read: JSON, CSV or Markdown.

The keys of the files are stable; an utterance is called "sentence" there, as it always was.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from diffwave.errors import InputError
from diffwave.eval.libraries import version_of
from diffwave.eval.metrics import METRICS, library_version
from diffwave.eval.scores import Scores
from diffwave.eval.statistics import INTERVAL, Summary
from diffwave.files import atomic_path
from diffwave.text import csv_cell, markdown_cell, printable

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


def check_suffix(path: str | os.PathLike[str]) -> None:
    """Raise `InputError` unless the path names a report."""
    if Path(path).suffix.lower() not in WRITERS:
        raise InputError(f"Cannot write {path}: a report ends in .json, .csv or .md.")


def save(scores: Scores, path: str | os.PathLike[str]) -> None:
    """Write everything (.json), the table of utterances (.csv) or a page to read (.md)."""
    check_suffix(path)
    with atomic_path(path) as temporary:
        text = WRITERS[Path(path).suffix.lower()](scores)
        temporary.write_text(text, encoding="utf-8", newline="")


def to_json(scores: Scores) -> str:
    """Strict JSON: an undefined value is null. One system is not named, several are."""
    several = len(scores.systems) > 1
    document: dict[str, Any] = {"method": METHOD}
    if several:
        document |= {"tested": TESTED, "notes": scores.notes, "common_sentences": scores.common}
    else:
        document["notes"] = next(iter(scores.notes.values()), [])
    document["metrics"] = {
        metric: _facts(metric)
        | (
            {"systems": {name: _summary(summary) for name, summary in summaries.items()}}
            if several
            else _summary(summaries[scores.systems[0]])
        )
        for metric, summaries in scores.summary.items()
    }
    if several:
        document["tests"] = [
            {
                "metric": metric,
                "first": test.first,
                "second": test.second,
                "mean_difference": test.difference.mean,
                "interval": [test.difference.low, test.difference.high],
                "n": test.difference.n,
                "p": test.p,
                "p_holm": test.p_holm,
            }
            for metric, tests in scores.tests.items()
            for test in tests
        ]
    document |= {"missing": scores.missing, "sentences": _rows(scores)}
    return json.dumps(_finite(document), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def to_csv(scores: Scores) -> str:
    """One row for each utterance of each system; an undefined value is an empty cell."""
    table = scores.wide.rename(csv_cell)
    if len(scores.systems) == 1:
        table = table.droplevel("system")
    text: str = table.rename_axis(index={"utterance": "sentence"}).to_csv(lineterminator="\n")
    return text


def to_markdown(scores: Scores) -> str:
    """Means side by side, tests between systems, what the metrics are, and every utterance."""
    several, count = len(scores.systems) > 1, len(scores.common)
    seconds = float(scores.values("seconds").iloc[:, 0].sum())
    lines = [
        f"# Evaluation of {len(scores.systems)} systems on {count} common "
        if several
        else f"# Evaluation of {count} "
    ]
    lines[0] += f"utterance{'s'[: count != 1]}, {seconds:.1f} s"
    lines += ["", *_bullets(all_notes(scores))]
    lines += markdown_table(
        ["metric", "better", *(scores.systems if several else ["mean (95 % interval)"])],
        (
            [_heading(metric), METRICS[metric].better, *map(_mean_and_interval, row.values())]
            for metric, row in scores.summary.items()
        ),
    )
    lines += ["", f"Mean and, in brackets, its 95 % interval. {METHOD}", ""]
    lines += _bullets(scores.remarks())
    if several:
        lines += ["## Paired tests", ""]
        lines += markdown_table(
            ["metric", "first", "second", "mean difference", "95 % interval", "n", "p", "p (Holm)"],
            (
                [
                    _heading(metric),
                    test.first,
                    test.second,
                    _show(test.difference.mean),
                    _interval(test.difference),
                    str(test.difference.n),
                    _show_p(test.p),
                    _show_p(test.p_holm),
                ]
                for metric, tests in scores.tests.items()
                for test in tests
            ),
        )
        lines += ["", TESTED, ""]
    lines += ["## Metrics", ""]
    lines += markdown_table(
        ["metric", "name", "library", "settings"],
        (
            [metric, METRICS[metric].title, library_version(METRICS[metric]),
             METRICS[metric].settings]
            for metric in scores.metrics
        ),
    )  # fmt: skip
    rows = _rows(scores)
    lines += ["", "## Utterances", ""]
    lines += markdown_table(
        list(rows[0]),
        ([v if isinstance(v, str) else _show(v) for v in row.values()] for row in rows),
    )
    return "\n".join(lines) + "\n"


WRITERS: dict[str, Callable[[Scores], str]] = {
    ".json": to_json,
    ".csv": to_csv,
    ".md": to_markdown,
}


def all_notes(scores: Scores) -> list[str]:
    """The notes of every system, with its name if there are several."""
    return [
        f"{system}: {note}" if len(scores.systems) > 1 else note
        for system, notes in scores.notes.items()
        for note in notes
    ]


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table."""
    lines = [" | ".join(map(markdown_cell, line)) for line in [header, *rows]]
    return [f"| {lines[0]} |", "|" + "---|" * len(header), *(f"| {line} |" for line in lines[1:])]


def _bullets(statements: Sequence[str]) -> list[str]:
    return [f"- {printable(text)}" for text in statements] + [""] * bool(statements)


def _rows(scores: Scores) -> list[dict[str, Any]]:
    table = scores.wide.rename_axis(index={"utterance": "sentence"}).reset_index()
    if len(scores.systems) == 1:
        table = table.drop(columns="system")
    rows: list[dict[str, Any]] = table.to_dict("records")
    return rows


def _facts(name: str) -> dict[str, str]:
    """What a reader must know to repeat the measurement."""
    metric = METRICS[name]
    return {
        "unit": metric.unit,
        "better": metric.better,
        "library": library_version(metric),
        "settings": metric.settings,
    }


def _summary(summary: Summary) -> dict[str, Any]:
    return {"mean": summary.mean, "interval": [summary.low, summary.high], "n": summary.n}


def _heading(metric: str) -> str:
    """For example "f0_cents (cents)"."""
    unit = METRICS[metric].unit
    return f"{metric} ({unit})" if unit else metric


def _interval(summary: Summary) -> str:
    return f"{_show(summary.low)} to {_show(summary.high)}" if summary.n > 1 else "-"


def _mean_and_interval(summary: Summary) -> str:
    return f"{_show(summary.mean)} ({_interval(summary)})" if summary.n > 1 else _show(summary.mean)


def _show(value: float) -> str:
    """Three significant digits at least; a dash for what is not defined."""
    if not math.isfinite(value):
        return "-"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"


def _show_p(p: float) -> str:
    return "< 0.001" if p < 0.001 else _show(p)


def _finite(value: Any) -> Any:
    """The same with None for NaN and infinities, which JSON has no words for."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

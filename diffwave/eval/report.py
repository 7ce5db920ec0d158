"""Scores of one system: per sentence, their means, and how far the means can be trusted."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from diffwave.errors import InputError
from diffwave.eval.metrics import METRICS, library_version
from diffwave.eval.statistics import INTERVAL, Summary, summarise
from diffwave.files import atomic_path

METHOD = (
    "Waves are aligned by cross-correlation (of spectrograms, then of waves within 1.5 ms; at "
    "most 50 ms) and cut to their common length; loudness is left alone. "
    f"Intervals: {INTERVAL}."
)
UNEVEN = 100  # ms by which lengths may differ before the reader is told


@dataclass(frozen=True)
class Report:
    """What was measured of one system. NaN: the metric is not defined for that sentence."""

    sentences: tuple[str, ...]
    seconds: tuple[float, ...]  # duration of each reference
    lag_ms: tuple[float, ...]  # delay of the generated wave that was undone
    extra_ms: tuple[float, ...]  # length of generated minus reference, before the cut
    values: dict[str, tuple[float, ...]]  # metric -> one value for each sentence
    missing: dict[str, str]  # metric -> why it could not be computed
    notes: tuple[str, ...] = ()  # what the caller wants the reader to know: checkpoint, steps, seed
    # sentence -> where it can be listened to, if it was read from or written to a file
    reference_files: dict[str, Path] = field(default_factory=dict)
    generated_files: dict[str, Path] = field(default_factory=dict)

    def summary(self) -> dict[str, Summary]:
        return {name: summarise(values) for name, values in self.values.items()}

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the whole report (.json), the table of sentences (.csv) or a page to read (.md)."""
        save_text(path, {".json": self.to_json, ".csv": self.to_csv, ".md": self.to_markdown})

    def to_json(self) -> str:
        """Strict JSON: an undefined value is null."""
        return json_text(
            {
                "method": METHOD,
                "notes": list(self.notes),
                "metrics": {
                    name: summary_facts(summary) | metric_facts(name)
                    for name, summary in self.summary().items()
                },
                "missing": self.missing,
                "sentences": self.rows(),
            }
        )

    def to_csv(self) -> str:
        """One row for each sentence; an undefined value is an empty cell."""
        return csv_text(self.rows())

    def to_markdown(self) -> str:
        count = len(self.sentences)
        lines = [
            f"# Evaluation of {count} sentence{'s'[: count != 1]}, {sum(self.seconds):.1f} s",
            "",
        ]
        lines += [f"- {note}" for note in self.notes] + [""] * bool(self.notes)
        lines += table(
            ["metric", "better", "mean", "95 % interval", "n", "library", "settings"],
            (
                [
                    heading(name),
                    METRICS[name].better,
                    show(summary.mean),
                    interval(summary),
                    str(summary.n),
                    library_version(METRICS[name]),
                    METRICS[name].settings,
                ]
                for name, summary in self.summary().items()
            ),
        )
        lines += ["", METHOD]
        remarks = self.remarks()
        lines += [""] * bool(remarks) + [f"- {remark}" for remark in remarks]
        return "\n".join([*lines, "", *row_table(self.rows())]) + "\n"

    def remarks(self) -> list[str]:
        """What is odd in the scores, or missing, a sentence each."""
        return self.oddities() + missing_remarks(self.missing)

    def oddities(self) -> list[str]:
        count = len(self.sentences)
        remarks = [
            f"**{name}** is not defined for {count - summary.n} of {count} sentences."
            for name, summary in self.summary().items()
            if summary.n < count
        ]
        uneven = sum(abs(extra) > UNEVEN for extra in self.extra_ms)
        if uneven:
            remarks += [
                f"In {uneven} of {count} pairs the lengths differ by more than {UNEVEN} ms."
            ]
        return remarks

    def rows(self) -> list[dict[str, Any]]:
        """One for each sentence: its name, its times and its value of every metric."""
        columns: dict[str, tuple[Any, ...]] = {
            "sentence": self.sentences,
            "seconds": self.seconds,
            "lag_ms": self.lag_ms,
            "extra_ms": self.extra_ms,
            **self.values,
        }
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def save_text(path: str | os.PathLike[str], writers: Mapping[str, Callable[[], str]]) -> None:
    """Write what the writer of the path's suffix returns; `InputError` if there is none."""
    suffix = Path(path).suffix.lower()
    if suffix not in writers:
        raise InputError(
            f"Cannot write {os.fspath(path)}: a report's name must end in {', '.join(writers)}."
        )
    with atomic_path(path) as temporary:
        temporary.write_text(writers[suffix](), encoding="utf-8", newline="")


def json_text(document: dict[str, Any]) -> str:
    return json.dumps(_finite(document), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def csv_text(rows: Sequence[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(_finite(list(rows)))  # None is written as an empty cell
    return text.getvalue()


def metric_facts(name: str) -> dict[str, str]:
    """What a reader must know to repeat the measurement."""
    metric = METRICS[name]
    return {
        "unit": metric.unit,
        "better": metric.better,
        "library": library_version(metric),
        "settings": metric.settings,
    }


def summary_facts(summary: Summary) -> dict[str, Any]:
    return {"mean": summary.mean, "interval": [summary.low, summary.high], "n": summary.n}


def missing_remarks(missing: Mapping[str, str]) -> list[str]:
    """A sentence for each metric that could not be computed."""
    return [f"**{name}** is missing: {reason}." for name, reason in missing.items()]


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table."""
    lines = [header, *rows]
    cells = [" | ".join(cell.replace("|", "\\|") for cell in line) for line in lines]
    return [f"| {cells[0]} |", "|" + "---|" * len(header), *(f"| {line} |" for line in cells[1:])]


def row_table(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Lines of a Markdown table of `Report.rows`."""
    return table(
        list(rows[0]),
        ([v if isinstance(v, str) else show(v) for v in row.values()] for row in rows),
    )


def heading(metric: str) -> str:
    """For example "f0_cents (cents)"."""
    unit = METRICS[metric].unit
    return f"{metric} ({unit})" if unit else metric


def interval(summary: Summary) -> str:
    return f"{show(summary.low)} to {show(summary.high)}" if summary.n > 1 else "-"


def show(value: float) -> str:
    """Three significant digits at least; a dash for what is not defined."""
    if not math.isfinite(value):
        return "-"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"


def _finite(value: Any) -> Any:
    """The same with None for NaN and infinities, which JSON has no words for."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

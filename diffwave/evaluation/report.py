"""Scores of many sentences: per sentence, their means, and how far the means can be trusted."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diffwave.audio import AUDIO_SUFFIXES, read_audio
from diffwave.errors import InputError
from diffwave.evaluation.metrics import METRICS, align, choose_metrics, library_version
from diffwave.files import atomic_path

RESAMPLES, SEED = 10_000, 0  # of the bootstrap
METHOD = (
    "Waves are aligned by cross-correlation (of spectrograms, then of waves within 1.5 ms; at "
    "most 50 ms) and cut to their common length; loudness is left alone. "
    f"Intervals: 95 %, percentile bootstrap over sentences, {RESAMPLES} resamples, seed {SEED}."
)


@dataclass(frozen=True)
class Pair:
    """One sentence: the recording and what is to be judged, [L] each, at one sample rate (Hz)."""

    name: str
    reference: Tensor
    generated: Tensor
    sample_rate: int


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
class Report:
    """What `evaluate_pairs` measured. NaN: the metric is not defined for that sentence."""

    sentences: tuple[str, ...]
    seconds: tuple[float, ...]  # duration of each reference
    lag_ms: tuple[float, ...]  # delay of the generated wave that was undone
    extra_ms: tuple[
        float, ...
    ]  # length of the generated wave minus the reference's, before the cut
    values: dict[str, tuple[float, ...]]  # metric -> one value for each sentence
    missing: dict[str, str]  # metric -> why it could not be computed
    notes: tuple[str, ...] = ()  # what the caller wants the reader to know: checkpoint, steps, seed

    def summary(self) -> dict[str, Summary]:
        return {name: summarise(values) for name, values in self.values.items()}

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the whole report (.json), the table of sentences (.csv) or a page to read (.md)."""
        writers = {".json": self.to_json, ".csv": self.to_csv, ".md": self.to_markdown}
        suffix = Path(path).suffix.lower()
        if suffix not in writers:
            raise InputError(
                f"Cannot write {os.fspath(path)}: a report's name must end in {', '.join(writers)}."
            )
        with atomic_path(path) as temporary:
            temporary.write_text(writers[suffix](), encoding="utf-8", newline="")

    def to_json(self) -> str:
        """Strict JSON: an undefined value is null."""
        columns = self._columns()
        document = {
            "method": METHOD,
            "notes": list(self.notes),
            "metrics": {
                name: {
                    "mean": _finite(summary.mean),
                    "interval": [_finite(summary.low), _finite(summary.high)],
                    "n": summary.n,
                    "unit": METRICS[name].unit,
                    "better": METRICS[name].better,
                    "library": library_version(METRICS[name]),
                    "settings": METRICS[name].settings,
                }
                for name, summary in self.summary().items()
            },
            "missing": self.missing,
            "sentences": [
                dict(zip(columns, map(_finite, row), strict=True))
                for row in zip(*columns.values(), strict=True)
            ],
        }
        return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    def to_csv(self) -> str:
        """One row for each sentence; an undefined value is an empty cell."""
        columns = self._columns()
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(columns)
        for row in zip(*columns.values(), strict=True):
            writer.writerow(["" if _finite(value) is None else value for value in row])
        return text.getvalue()

    def to_markdown(self) -> str:
        count = len(self.sentences)
        lines = [
            f"# Evaluation of {count} sentence{'s'[: count != 1]}, {sum(self.seconds):.1f} s",
            "",
        ]
        lines += [f"- {note}" for note in self.notes] + [""] * bool(self.notes)
        lines += ["| metric | better | mean | 95 % interval | n | library | settings |"]
        lines += ["|---|---|---|---|---|---|---|"]
        for name, summary in self.summary().items():
            metric = METRICS[name]
            lines += [
                f"| {name}{f' ({metric.unit})' if metric.unit else ''} | {metric.better} "
                f"| {_show(summary.mean)} | {_interval(summary)} | {summary.n} "
                f"| {library_version(metric)} | {metric.settings} |"
            ]
        lines += ["", METHOD]
        remarks = [
            f"- **{name}** is not defined for {count - summary.n} of {count} sentences."
            for name, summary in self.summary().items()
            if summary.n < count
        ]
        remarks += [f"- **{name}** is missing: {reason}." for name, reason in self.missing.items()]
        uneven = sum(abs(extra) > 100 for extra in self.extra_ms)
        if uneven:
            remarks += [f"- In {uneven} of {count} pairs the lengths differ by more than 100 ms."]
        lines += [""] * bool(remarks) + remarks
        columns = self._columns()
        lines += ["", f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]
        for row in zip(*columns.values(), strict=True):
            cells = [v.replace("|", "\\|") if isinstance(v, str) else _show(v) for v in row]
            lines += [f"| {' | '.join(cells)} |"]
        return "\n".join(lines) + "\n"

    def _columns(self) -> dict[str, tuple[Any, ...]]:
        fixed = {"sentence": self.sentences, "seconds": self.seconds}
        return {**fixed, "lag_ms": self.lag_ms, "extra_ms": self.extra_ms, **self.values}


def evaluate_pairs(
    pairs: Iterable[Pair],
    metrics: Sequence[str] | None = None,
    progress: Callable[[int, str], object] | None = None,
    notes: Sequence[str] = (),
) -> Report:
    """Score every pair.

    Args:
        pairs: consumed one at a time, so that a generator may synthesise on the way.
        metrics: names in `METRICS`; by default all. One whose library is missing ends up in
            `Report.missing`.
        progress: called after each pair with the number done and the pair's name.
        notes: kept in the report.

    Raises:
        InputError: an unknown metric, no pair at all, or a wave that is empty, not finite or of
            another shape than [L].
    """
    chosen, missing = choose_metrics(metrics)
    values: dict[str, list[float]] = {name: [] for name in chosen}
    names, seconds, lags, extras = [], [], [], []
    for done, pair in enumerate(pairs, 1):
        rate = pair.sample_rate
        reference, generated = _array(pair.name, pair.reference), _array(pair.name, pair.generated)
        names.append(pair.name)
        seconds.append(len(reference) / rate)
        extras.append(1000 * (len(generated) - len(reference)) / rate)
        reference, generated, lag = align(reference, generated, rate)
        lags.append(1000 * lag)
        for name, metric in chosen.items():
            values[name].append(metric.function(reference, generated, rate))
        if progress:
            progress(done, pair.name)
    if not names:
        raise InputError("There is nothing to evaluate: no pair of recording and generated audio.")
    return Report(
        tuple(names), tuple(seconds), tuple(lags), tuple(extras),
        {name: tuple(column) for name, column in values.items()}, missing, tuple(notes),
    )  # fmt: skip


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


def resynthesis_pairs(
    files: Iterable[str | os.PathLike[str]],
    resynthesise: Callable[[Tensor], Tensor],
    sample_rate: int,
) -> Iterator[Pair]:
    """Read each recording at `sample_rate` and pair it with what `resynthesise` makes of it.

    `resynthesise` maps a wave [L] to a wave [L']; the lengths need not agree.

    For a vocoder: ``resynthesis_pairs(files, lambda wave: vocoder(vocoder.mel(wave)), rate)``.
    """
    for file in files:
        reference, _ = read_audio(file, sample_rate)
        yield Pair(Path(file).stem, reference, resynthesise(reference), sample_rate)


def folder_pairs(
    reference: str | os.PathLike[str], generated: str | os.PathLike[str]
) -> tuple[Iterator[Pair], list[str]]:
    """Pair the audio files of two folders by name, whatever their suffix.

    Generated audio of another sample rate is resampled to the recording's.

    Returns:
        The pairs, read as they are consumed; and the recordings that nothing was generated for.

    Raises:
        InputError: a folder is missing or holds no audio, two files share a name, or a generated
            file has no recording.
    """
    recordings, copies = audio_files(reference), audio_files(generated)
    for name in copies:
        if name not in recordings:
            raise InputError(
                f"{copies[name]} has no recording of that name in {os.fspath(reference)}."
            )

    def read() -> Iterator[Pair]:
        for name, file in copies.items():
            wave, rate = read_audio(recordings[name])
            yield Pair(name, wave, read_audio(file, rate)[0], rate)

    return read(), [name for name in recordings if name not in copies]


def audio_files(folder: str | os.PathLike[str]) -> dict[str, Path]:
    """{name without suffix: path} of a folder's audio files, sorted; `InputError` if none."""
    if not Path(folder).is_dir():
        raise InputError(f"There is no folder {os.fspath(folder)}.")
    files: dict[str, Path] = {}
    for file in sorted(Path(folder).iterdir()):
        if file.suffix.lower() in AUDIO_SUFFIXES and not file.name.startswith("."):
            if file.stem in files:
                raise InputError(f"{file} and {files[file.stem]} have the same name.")
            files[file.stem] = file
    if not files:
        raise InputError(f"{os.fspath(folder)} holds no audio ({', '.join(AUDIO_SUFFIXES)}).")
    return files


def _array(name: str, wave: Tensor) -> np.ndarray[Any, np.dtype[np.float32]]:
    if wave.dim() == 2 and wave.shape[0] == 1:
        wave = wave[0]
    if wave.dim() != 1 or not wave.numel() or not torch.isfinite(wave).all():
        raise InputError(
            f"Cannot score {name}: a wave has shape {list(wave.shape)} or is not finite."
        )
    return wave.detach().cpu().to(torch.float32).numpy()


def _finite(value: Any) -> Any:
    """None for NaN and infinities, which JSON has no words for."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _interval(summary: Summary) -> str:
    return f"{_show(summary.low)} to {_show(summary.high)}" if summary.n > 1 else "-"


def _show(value: float) -> str:
    """Three significant digits at least; a dash for what is not defined."""
    if not math.isfinite(value):
        return "-"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"

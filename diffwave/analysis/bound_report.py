"""The bound of recordings as a table, JSON, CSV by frame, and a picture."""

from __future__ import annotations

import csv
import itertools
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from diffwave.analysis.detection import Area, area, roc
from diffwave.analysis.likelihood import Estimate, UtteranceBound, estimate, log_deviation
from diffwave.analysis.plots import new_figure, save_figure
from diffwave.base.files import atomic_path, json_text
from diffwave.base.text import csv_cell, decimals, printable

GROUPS = 8  # rows of the table that the KL terms are summed to; JSON has each
COLOURS = (
    "#0b6e4f", "#c0562f", "#5a4fa2", "#b08a00", "#2f7fb5", "#a23b72", "#555555", "#66a61e"
)  # fmt: skip
DRAWN = 3  # sets whose first recordings are drawn by frame: the first, and those that are told best


@dataclass(frozen=True)
class Report:
    """The bounds of one or more sets of recordings under one model."""

    unit: str
    levels: Tensor  # alpha_bar of the chain, noisiest first, [T]
    seconds_per_frame: float
    sets: dict[str, list[UtteranceBound]]  # by name; the others are told from the first
    notes: list[str]  # what the figures mean and what was done to the recordings

    @property
    def of_samples(self) -> bool:
        """Whether the unit is one of samples, which have no density."""
        return self.unit.startswith("bits")

    def picks(self, steps: dict[str, slice]) -> dict[str, slice]:
        """Where terms stand in `UtteranceBound.steps`: the prior, some steps, decoder and total."""
        prior = slice(len(self.levels), None)
        return {"prior": prior, **steps, "decoder": slice(0, 1), "total": slice(None)}

    def terms(self, bounds: list[UtteranceBound]) -> dict[str, Estimate]:
        """Prior, all KL terms together, decoder and total; log-deviation where there is one."""
        picks = self.picks({"steps": slice(1, len(self.levels))})
        found = {name: estimate(bounds, pick) for name, pick in picks.items()}
        return found if self.of_samples else found | {"log_deviation": log_deviation(bounds)}

    def detection(self) -> dict[str, tuple[Area, Area]]:
        """Area under the ROC curve, by frame and by recording, of each set against the first."""
        frames = [[bound.frames for bound in bounds] for bounds in self.sets.values()]
        means = [[values.mean(keepdims=True) for values in each] for each in frames]
        return {
            name: (area(frames[0], frames[i]), area(means[0], means[i]))
            for i, name in enumerate(self.sets)
            if i
        }


def rows(report: Report) -> list[list[str]]:
    """Cells of the table: a term a row, a set a column, its standard errors in brackets."""
    length, sets = len(report.levels), report.sets
    steps, size = {}, max(1, math.ceil((length - 1) / GROUPS))
    for last in range(length, 1, -size):  # steps count from 2 to T
        first = max(2, last - size + 1)
        name = f"step {last}" if first == last else f"steps {last} to {first}"
        steps[name] = slice(first - 1, last)
    table = [["", *map(printable, sets)]]
    table.append(["recordings", *(str(len(bounds)) for bounds in sets.values())])
    for name, pick in report.picks(steps).items():
        table.append([name, *(_cell(estimate(bounds, pick)) for bounds in sets.values())])
    if not report.of_samples:
        values = [log_deviation(bounds) for bounds in sets.values()]
        table.append(["log-deviation", *map(_cell, values)])
    for row, name in enumerate(("by frame", "by recording")):
        areas = [both[row] for both in report.detection().values()]
        if areas:
            cells = [f"{decimals(each.value)} ({decimals(each.error)})" for each in areas]
            table.append([f"ROC area, {name}", "-", *cells])
    return table


def to_json(report: Report) -> dict[str, Any]:
    """Everything but the frames: JSON types, in the unit."""
    length = len(report.levels)
    return {
        "unit": report.unit,
        "notes": report.notes,
        "alpha_bar": report.levels.flip(0).tolist(),
        "sets": {
            printable(name): {
                "terms": {key: vars(value) for key, value in report.terms(bounds).items()},
                "each_step": [
                    {"step": t, **vars(estimate(bounds, slice(t - 1, t)))}
                    for t in range(2, length + 1)
                ],
                "recordings": [
                    {
                        "name": bound.name,
                        "seconds": len(bound.frames) * report.seconds_per_frame,
                        "total": float(bound.frames.mean()),
                    }
                    for bound in bounds
                ],
            }
            for name, bounds in report.sets.items()
        },
        "detection": {
            printable(name): {"by_frame": frame._asdict(), "by_recording": recording._asdict()}
            for name, (frame, recording) in report.detection().items()
        },
    }


def save_json(path: str | os.PathLike[str], document: dict[str, Any]) -> None:
    """Write strict JSON, whole or not at all; what is undefined is null."""
    with atomic_path(path) as temporary:
        temporary.write_text(json_text(document), encoding="utf-8", newline="")


def save_frames(report: Report, path: str | os.PathLike[str]) -> None:
    """Write a CSV of every frame: its time, the three terms and their sum, in the unit."""
    with (
        atomic_path(path) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as file,
    ):
        csv.writer(file, lineterminator="\n").writerows(_frames(report))


def _frames(report: Report) -> Iterator[list[object]]:
    yield ["set", "recording", "frame", "seconds", "prior", "steps", "decoder", "total"]
    for name, bounds in report.sets.items():
        for bound in bounds:
            terms = bound.steps.mean(0) * bound.scale
            for i, values in enumerate(terms.T):
                shares = [values[-1], values[1:-1].sum(), values[0], values.sum()]
                place = [csv_cell(name), csv_cell(bound.name), i]
                seconds = f"{i * report.seconds_per_frame:.4f}"
                yield [*place, seconds, *(f"{share:.6g}" for share in shares)]


def save_plot(report: Report, path: str | os.PathLike[str]) -> None:
    """Draw the terms by step, the bound along the first recordings of some sets, and the ROC."""
    columns = 3 if len(report.sets) > 1 else 2
    figure = new_figure(5.0 * columns, 4.2)
    axes = figure.subplots(1, columns)
    bars = report.levels.flip(0)
    noise_db = (10 * (1 - bars).clamp_min(1e-12).log10()).tolist()[1:]
    areas = {name: by_frame.value for name, (by_frame, _) in report.detection().items()}
    drawn = [next(iter(report.sets)), *sorted(areas, key=lambda name: -areas[name])][:DRAWN]
    for colour, (name, bounds) in zip(itertools.cycle(COLOURS), report.sets.items()):
        each = [estimate(bounds, slice(t, t + 1)).value for t in range(1, len(report.levels))]
        axes[0].plot(noise_db, each, ".-", color=colour, label=printable(name))
        frames = bounds[0].frames
        seconds = np.arange(len(frames)) * report.seconds_per_frame
        if name in drawn:
            label = printable(f"{name}: {bounds[0].name}")
            axes[1].plot(seconds, frames, color=colour, linewidth=0.9, label=label)
        if name in areas:
            usual = [bound.frames for bound in next(iter(report.sets.values()))]
            false, true = roc(usual, [bound.frames for bound in bounds])
            axes[2].plot(false, true, color=colour, label=printable(f"{name}: {areas[name]:.3f}"))
    axes[0].set(title="KL of every step", xlabel="noise of the state, dB", ylabel=report.unit)
    axes[1].set(title="Bound of every frame", xlabel="seconds", ylabel=report.unit)
    if columns == 3:
        axes[2].plot([0, 1], [0, 1], color="#bbbbbb", linestyle=":")
        axes[2].set(title="ROC by frame (area)", xlabel="false alarms", ylabel="found")
    for axis in axes:
        axis.legend(frameon=False, fontsize=8)
    save_figure(figure, path)


def _cell(value: Estimate) -> str:
    return f"{decimals(value.value)} ({decimals(value.error)}, {decimals(value.noise_error)})"

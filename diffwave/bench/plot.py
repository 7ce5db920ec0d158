"""Quality against cost, one point for each system."""

from __future__ import annotations

import os
from pathlib import Path

from diffwave.bench.result import Quality, Result
from diffwave.errors import InputError
from diffwave.files import atomic_path

SUFFIXES = (".png", ".svg", ".pdf")
OURS, OTHERS, INK, GRID = "#0b6e4f", "#8a4f7d", "#222222", "#dddddd"


def check_plot(path: str | os.PathLike[str]) -> None:
    """InputError unless a plot can be written to a file of that name, before any work is done."""
    if Path(path).suffix.lower() not in SUFFIXES:
        raise InputError(f"Cannot write {os.fspath(path)}: a plot ends in {', '.join(SUFFIXES)}.")
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise InputError(f"A plot needs matplotlib ({error}); install 'diffwave[bench]'.") from None


def save_plot(result: Result, path: str | os.PathLike[str]) -> None:
    """Draw PESQ over the real-time factor at the centre, with quartiles and intervals.

    A system whose quality is not known is a mark on the axis, so that its cost is seen all the
    same. Raises InputError when the file cannot be written.
    """
    check_plot(path)
    from matplotlib.figure import Figure

    centre = result.effort.centre
    figure = Figure(figsize=(8, 5), dpi=150, layout="constrained")
    axes = figure.subplots()
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.grid(True, color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    timings = [t for cost in result.costs if (t := result.timing(cost.system, centre))]
    unknown = 0
    for timing in sorted(timings, key=lambda timing: timing.rtf.median):
        name, rtf = timing.system, timing.rtf
        quality = result.quality.get(name)
        colour = OURS if name.startswith("diffwave@") else OTHERS
        if quality is None:
            # Rising heights keep the labels of neighbours apart.
            height = 0.03 + 0.05 * (unknown % 4)
            unknown += 1
            axes.axvline(rtf.median, 0, height, color=colour, linewidth=1.2)
            place, shift, size = (rtf.median, height), (3, 1), 8
            system = ("data", "axes fraction")
        else:
            axes.errorbar(
                rtf.median,
                quality.mean,
                xerr=[[rtf.median - rtf.low], [rtf.high - rtf.median]],
                yerr=_interval(quality),
                fmt="o",
                color=colour,
                markersize=7,
                capsize=3,
            )
            place, shift, size = (rtf.median, quality.mean), (8, 6), 9
            system = ("data", "data")
        axes.annotate(name, place, shift, system, "offset points", color=INK, fontsize=size)
    known = [result.quality[t.system] for t in timings if t.system in result.quality]
    if known:
        low = min(quality.mean if quality.low is None else quality.low for quality in known)
        high = max(quality.mean if quality.high is None else quality.high for quality in known)
        margin = max(0.1, high - low)
        axes.set_ylim(low - margin, high + 0.3 * margin)  # room below for the marks on the axis
    else:
        axes.set_yticks([])
    if timings:
        medians = [timing.rtf.median for timing in timings]
        axes.set_xlim(min(medians) / 2, max(medians) * 3)  # room on the right for a label
    axes.set_xlabel(f"real-time factor ({centre}); less is faster")
    axes.set_ylabel("PESQ, wide band" + ("" if known else " (no scores given)"))
    axes.set_title("Quality against cost", loc="left", color=INK)
    subtitle = "marks on the axis: quality not measured here" if unknown else ""
    if result.machine.busy:
        subtitle = "the machine may have been busy: do not trust these numbers"
    axes.set_title(subtitle, loc="right", fontsize=8, color=INK)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format=Path(path).suffix[1:])


def _interval(quality: Quality) -> list[list[float]] | None:
    if quality.low is None or quality.high is None:
        return None
    return [[quality.mean - quality.low], [quality.high - quality.mean]]

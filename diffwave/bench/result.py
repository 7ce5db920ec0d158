"""What a benchmark found: as JSON and back, as tables to read, as a plot."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from diffwave.analysis.plots import new_figure, save_figure
from diffwave.base.errors import InputError
from diffwave.base.files import atomic_path, json_text, read_json
from diffwave.base.schema import convert
from diffwave.base.text import markdown_table, number

FORMAT = 2
YARDSTICKS = ("hifigan-v1", "vocos")  # systems that every other is compared with
METHOD = (
    "Real-time factor: wall time over duration of the sound, all items of a batch counted. Within "
    "a setting the systems run in turn, round after round, each round beginning with another; a "
    "run that is not counted comes before each turn (torch.utils.benchmark). Median, minimum and "
    "quartiles are over the runs; a ratio is one of medians. Cores busy: processor time over wall "
    "time. bf16 is torch.autocast, which converts the weights in every call. The first chunk is "
    "half a second of sound: ours from stream(), whose chunks join without a seam because each has "
    "the context that it depends on; the others from a call for half a second alone. Cold start is "
    "a new process, files in the page cache, from its start until its wav is written; the peak is "
    "that process's resident memory, libraries included. GMAC are counted by "
    "torch.utils.flop_counter: matrix products and convolutions, no Fourier transforms. Peers have "
    "random weights, of a size at which no activation is a subnormal number."
)


@dataclass(frozen=True, order=True)
class Setting:
    """Under which circumstances a mel is turned into sound."""

    threads: int
    precision: str  # "fp32", or "bf16" by autocast
    batch: int
    seconds: float  # of each item of the batch

    def __str__(self) -> str:
        threads = f"{self.threads} thread{'s'[: self.threads > 1]}"
        return f"{threads}, {self.precision}, {self.batch} x {self.seconds:g} s"


@dataclass(frozen=True)
class Spread:
    """Median, minimum and quartiles of `n` values."""

    median: float
    least: float
    low: float
    high: float
    n: int

    @classmethod
    def of(cls, values: list[float], unit: float = 1.0) -> Spread:
        """Of at least one value, each multiplied by `unit`."""
        low, median, high = (np.percentile(values, [25, 50, 75]) * unit).tolist()
        return cls(median, min(values) * unit, low, high, len(values))


@dataclass(frozen=True)
class Cost:
    """What does not depend on a setting, or is measured at the centre only."""

    system: str
    what: str
    library: str
    sample_rate: int
    parameters: int
    gmac_per_second: float  # of sound
    first_chunk_ms: Spread | None = None
    cold_start_s: Spread | None = None
    peak_mib: Spread | None = None


@dataclass(frozen=True)
class Timing:
    """The real-time factor of one system in one setting, and how many cores were at work."""

    system: str
    setting: Setting
    rtf: Spread
    cores: float


@dataclass(frozen=True)
class LeftOut:
    """What was to be measured and was not, because a library is missing, for example."""

    system: str
    what: str
    reason: str


@dataclass(frozen=True)
class Quality:
    """A PESQ score, measured elsewhere: mean and 95 % interval over `n` utterances."""

    mean: float
    low: float | None
    high: float | None
    n: int
    source: str  # the report that it stands in


@dataclass(frozen=True)
class Result:
    """Everything that one benchmark found."""

    machine: str
    busy: str  # what to say of a machine that did other things as well; empty if it did not
    versions: tuple[str, ...]
    effort: str
    costs: tuple[Cost, ...]
    timings: tuple[Timing, ...]  # those at the centre come first
    left_out: tuple[LeftOut, ...] = ()
    quality: dict[str, Quality] = dataclasses.field(default_factory=dict)

    def ratio(self, timing: Timing, yardstick: str) -> float | None:
        """Median over that of another system in the same setting; below 1 is faster."""
        for other in self.timings:
            if (other.system, other.setting) == (yardstick, timing.setting):
                return timing.rtf.median / other.rtf.median
        return None

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write everything as JSON, with the ratios beside the absolutes."""
        data = dataclasses.asdict(self)
        for timing, entry in zip(self.timings, data["timings"], strict=True):
            entry["ratio_to"] = {name: self.ratio(timing, name) for name in YARDSTICKS}
        document = {"format": FORMAT, "method": METHOD, **data}
        with atomic_path(path) as temporary:
            temporary.write_text(json_text(document), encoding="utf-8")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Result:
        """The result of an earlier benchmark; InputError when the file does not hold one."""
        data = read_json(path)
        if data.get("format") != FORMAT:
            raise InputError(f"{os.fspath(path)} is not a result of `diffwave bench`.")
        result: Result = convert(data, cls, f"{os.fspath(path)}: ", strict=True)
        return result


def read_quality(path: str | os.PathLike[str], system: str) -> Quality:
    """A system's PESQ from a report of `diffwave evaluate`.

    The report is of one system, under whatever name, or of several, by name. Raises InputError if
    there is no such file or score.
    """
    name, report = os.fspath(path), read_json(path)
    try:
        score = report["metrics"]["pesq"]
        several = score.get("systems") or {system: score}
        if (score := several.get(system)) is not None:
            low, high = score["interval"]
            return Quality(float(score["mean"]), low, high, int(score["n"]), Path(name).name)
        known = ", ".join(several)
    except (TypeError, KeyError, AttributeError, ValueError):
        raise InputError(
            f"{name} is not a JSON report of `diffwave evaluate` with the metric pesq."
        ) from None
    raise InputError(f"{name} has no system {system!r}; it has {known}.")


def to_markdown(result: Result) -> str:
    """Machine, systems, real-time factors in every setting, what was left out, and the method."""
    left_out = [
        f"- **{item.system}** is left out of {item.what}: {item.reason.removesuffix('.')}."
        for item in result.left_out
    ]
    blocks = [
        f"# Cost of {len(result.costs)} vocoders on this machine",
        f"**{result.busy}**" if result.busy else "",
        f"{result.machine}.",
        ", ".join(result.versions) + ".",
        _costs(result),
        "## Real-time factor",
        _timings(result),
        "## Remarks" if left_out else "",
        "\n".join(left_out),
        METHOD,
    ]
    return "\n\n".join(filter(None, blocks)) + "\n"


def _costs(result: Result) -> str:
    header = ["system", "what", "library", "Hz", "parameters", "GMAC per second"]
    header += ["first chunk, ms", "cold start, s", "peak, MiB"] + ["PESQ"] * bool(result.quality)
    rows = []
    for cost in result.costs:
        row = [cost.system, cost.what, cost.library, cost.sample_rate]
        row += [f"{cost.parameters / 1e6:.2f}M", number(cost.gmac_per_second)]
        for spread in (cost.first_chunk_ms, cost.cold_start_s, cost.peak_mib):
            quartiles = f" ({_quartiles(spread)})" if spread and spread.n > 1 else ""
            row.append(number(spread.median if spread else None) + quartiles)
        if result.quality:
            quality = result.quality.get(cost.system)
            row.append(f"{quality.mean:.2f}" if quality else "-")
        rows.append(row)
    return "\n".join(markdown_table(header, rows))


def _timings(result: Result) -> str:
    header = ["setting", "system", "RTF", "min", "quartiles", "runs", "cores busy"]
    rows = [
        [
            *(it.setting, it.system, number(it.rtf.median), number(it.rtf.least)),
            *(_quartiles(it.rtf), it.rtf.n, f"{it.cores:.1f}"),
            *(number(result.ratio(it, name)) for name in YARDSTICKS),
        ]
        for it in result.timings
    ]
    return "\n".join(markdown_table([*header, *(f"to {name}" for name in YARDSTICKS)], rows))


def _quartiles(values: Spread) -> str:
    return f"{number(values.low)} to {number(values.high)}"


def save_plot(result: Result, path: str | os.PathLike[str]) -> None:
    """Draw PESQ over the real-time factor at the centre, with quartiles and intervals.

    A system whose quality is not known is a line at its cost. Raises InputError when the file
    cannot be written.
    """
    figure = new_figure(8, 5)
    axes = figure.subplots()
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.margins(0.2, 0.3)  # room for labels
    centre = result.timings[0].setting if result.timings else None
    for timing in [timing for timing in result.timings if timing.setting == centre]:
        rtf, quality = timing.rtf, result.quality.get(timing.system)
        colour = "#0b6e4f" if timing.system.startswith("diffwave@") else "#8a4f7d"
        label: dict[str, Any] = {"color": colour, "textcoords": "offset points", "fontsize": 9}
        if quality is None:
            axes.axvline(rtf.median, color=colour, linestyle=":")
            where = ("data", "axes fraction")
            axes.annotate(timing.system, (rtf.median, 0), (3, 6), where, rotation=90, **label)
            continue
        mean = quality.mean
        low, high = (mean if x is None else x for x in (quality.low, quality.high))
        x_error = [[rtf.median - rtf.low], [rtf.high - rtf.median]]
        y_error = [[mean - low], [high - mean]]
        axes.errorbar(rtf.median, mean, y_error, x_error, fmt="o", color=colour, capsize=3)
        axes.annotate(timing.system, (rtf.median, mean), (8, 6), **label)
    if not result.quality:
        axes.set_yticks([])
    axes.set_xlabel(f"real-time factor ({centre}); less is faster")
    axes.set_ylabel("PESQ, wide band" + ("" if result.quality else " (no scores given)"))
    busy = "; the machine may have been busy: do not trust these numbers"
    axes.set_title("Quality against cost" + busy * bool(result.busy), loc="left")
    save_figure(figure, path)

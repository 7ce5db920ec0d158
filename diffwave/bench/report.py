"""A benchmark's result as tables to read, in Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from diffwave.bench.measure import Spread
from diffwave.bench.result import METHOD, YARDSTICKS, Result


def to_markdown(result: Result) -> str:
    """Machine, systems, real-time factors in every setting, what was left out, and the method."""
    blocks = [
        f"# Cost of {len(result.costs)} vocoders on this machine",
        result.machine.sentence() + ".",
        ", ".join(result.versions) + ".",
        _systems(result),
        "## Real-time factor",
        _timings(result),
    ]
    if result.machine.busy:
        blocks.insert(1, f"**{busy_sentence(result)}**")
    remarks = [f"- **{name}** is missing: {reason}." for name, reason in result.missing.items()]
    remarks += [
        f"- **{item.system}** is left out of {item.what}: {item.reason.removesuffix('.')}."
        for item in result.left_out
    ]
    if remarks:
        blocks += ["## Remarks", "\n".join(remarks)]
    return "\n\n".join([*blocks, METHOD]) + "\n"


def busy_sentence(result: Result) -> str:
    """What to say of a machine that did other things as well."""
    return (
        f"The load average was {result.machine.load:.1f} when this began: other programs had been "
        "running in the minute before, and if they still were, do not trust these numbers."
    )


def _systems(result: Result) -> str:
    rows = [["system", "what", "library", "Hz", "parameters", "GMAC per second"]]
    rows[0] += ["first chunk, ms", "cold start, s", "peak, MiB"] + ["PESQ"] * bool(result.quality)
    for cost in result.costs:
        row = [cost.system, cost.what, cost.library, str(cost.sample_rate)]
        row += [f"{cost.parameters / 1e6:.2f}M", number(cost.gmac_per_second)]
        row += [_shown(x) for x in (cost.first_chunk_ms, cost.cold_start_s, cost.peak_mib)]
        if result.quality:
            quality = result.quality.get(cost.system)
            row.append(f"{quality.mean:.2f}" if quality else "-")
        rows.append(row)
    return _table(rows)


def _timings(result: Result) -> str:
    rows = [["setting", "system", "RTF", "min", "quartiles", "runs", "cores busy"]]
    rows[0] += [f"to {name}" for name in YARDSTICKS]
    for timing in result.timings:
        rtf = timing.rtf
        row = [str(timing.setting), timing.system, number(rtf.median), number(rtf.least)]
        row += [f"{number(rtf.low)} to {number(rtf.high)}", str(rtf.n), f"{timing.cores:.1f}"]
        ratios = [result.ratio(timing, name) for name in YARDSTICKS]
        rows.append([*row, *("-" if ratio is None else number(ratio) for ratio in ratios)])
    return _table(rows)


def _shown(values: Spread | None) -> str:
    """Median, with the quartiles where there is more than one run."""
    if values is None:
        return "-"
    quartiles = f" ({number(values.low)} to {number(values.high)})"
    return number(values.median) + quartiles * (values.n > 1)


def number(value: float) -> str:
    """Three significant digits, never an exponent."""
    if value == 0 or abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:#.3g}".removesuffix(".") if abs(value) >= 1e-4 else f"{value:.6f}"


def _table(rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, its first row the head, whose columns also line up in a terminal."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in rows
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])

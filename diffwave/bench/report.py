"""A benchmark's result as tables to read, in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from diffwave.bench.measure import Spread
from diffwave.bench.plan import Setting
from diffwave.bench.result import METHOD, YARDSTICKS, Result


def to_markdown(result: Result) -> str:
    """Machine, systems, real-time factors in short, every setting in full, what was left out."""
    settings = list(dict.fromkeys(timing.setting for timing in result.timings))
    blocks = [
        f"# Cost of {len(result.costs)} vocoders on this machine",
        result.machine.sentence() + ".",
        ", ".join(result.versions) + ".",
    ]
    if result.machine.busy:
        blocks.append(f"**{busy_sentence(result)}**")
    blocks += [_systems(result), "## Real-time factor: medians", _medians(result, settings)]
    for setting in settings:
        blocks += [f"## {setting}", _details(result, setting)]
    if remarks := _remarks(result):
        blocks += ["## Remarks", "\n".join(f"- {remark}" for remark in remarks)]
    return "\n\n".join([*blocks, METHOD]) + "\n"


def busy_sentence(result: Result) -> str:
    """What to say of a machine that did other things as well."""
    return (
        f"The load average was {result.machine.load:.1f} when this began: other programs had been "
        "running in the minute before, and if they still were, do not trust these numbers."
    )


def _systems(result: Result) -> str:
    """What does not depend on the setting, and what is measured at the centre only."""
    heads = ["system", "what", "library", "Hz", "parameters", "GMAC per second"]
    heads += ["first chunk, ms", "cold start, s", "peak, MiB"]
    heads += ["PESQ"] * bool(result.quality)
    rows = []
    for cost in result.costs:
        row = [cost.system, cost.what, cost.library, str(cost.sample_rate)]
        row += [f"{cost.parameters / 1e6:.2f}M", number(cost.gmac_per_second)]
        row += [_shown(x) for x in (cost.first_chunk_ms, cost.cold_start_s, cost.peak_mib)]
        if result.quality:
            quality = result.quality.get(cost.system)
            row.append(f"{quality.mean:.2f}" if quality else "-")
        rows.append(row)
    return _table(heads, rows)


def _medians(result: Result, settings: Sequence[Setting]) -> str:
    names = [cost.system for cost in result.costs]
    rows = []
    for setting in settings:
        timings = [result.timing(name, setting) for name in names]
        rows.append([str(setting), *(number(t.rtf.median) if t else "-" for t in timings)])
    return _table(["setting", *names], rows)


def _details(result: Result, setting: Setting) -> str:
    """Spread of one setting, and the ratios of its medians."""
    heads = ["system", "RTF", "min", "quartiles", "runs", "cores busy"]
    heads += [f"to {name}" for name in YARDSTICKS]
    rows = []
    for timing in result.timings:
        if timing.setting != setting:
            continue
        rtf = timing.rtf
        row = [timing.system, number(rtf.median), number(rtf.least), _quartiles(rtf), str(rtf.n)]
        row += [f"{timing.cores:.1f}"]
        ratios = [result.ratio(timing.system, setting, name) for name in YARDSTICKS]
        rows.append([*row, *("-" if ratio is None else number(ratio) for ratio in ratios)])
    return _table(heads, rows)


def _remarks(result: Result) -> list[str]:
    remarks = [f"**{name}** is missing: {reason}." for name, reason in result.missing.items()]
    places: dict[tuple[str, str], list[str]] = {}
    for item in result.left_out:
        places.setdefault((item.system, item.reason), []).append(item.what)
    remarks += [
        f"**{system}** is left out of {'; '.join(what)}: {reason}."
        for (system, reason), what in places.items()
    ]
    remarks += [
        f"**{cost.system}**: {cost.subnormal_share:.2%} of the activations are subnormal numbers, "
        "which slows it down."
        for cost in result.costs
        if cost.subnormal_share
    ]
    return remarks


def _quartiles(values: Spread) -> str:
    return f"{number(values.low)} to {number(values.high)}"


def _shown(values: Spread | None) -> str:
    """Median, with the quartiles where there is more than one run."""
    if values is None:
        return "-"
    return number(values.median) + (f" ({_quartiles(values)})" if values.n > 1 else "")


def number(value: float) -> str:
    """Three significant digits, never an exponent."""
    if value == 0 or abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:#.3g}".removesuffix(".") if abs(value) >= 1e-4 else f"{value:.6f}"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table whose columns also line up in a terminal."""
    lines = [list(heads), *map(list, rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(heads))]

    def row(cells: Sequence[str]) -> str:
        first, *others = zip(cells, widths, strict=True)
        aligned = [first[0].ljust(first[1]), *(text.rjust(width) for text, width in others)]
        return f"| {' | '.join(aligned)} |"

    rule = "|".join(["-" * (widths[0] + 2), *("-" * (width + 1) + ":" for width in widths[1:])])
    return "\n".join([row(lines[0]), f"|{rule}|", *map(row, lines[1:])])

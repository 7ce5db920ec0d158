"""A benchmark's result as tables to read, in Markdown."""

from __future__ import annotations

from diffwave.bench.measure import Spread
from diffwave.bench.result import METHOD, YARDSTICKS, Result
from diffwave.text import markdown_table, number


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
    header = ["system", "what", "library", "Hz", "parameters", "GMAC per second"]
    header += ["first chunk, ms", "cold start, s", "peak, MiB"] + ["PESQ"] * bool(result.quality)
    rows = []
    for cost in result.costs:
        row = [cost.system, cost.what, cost.library, cost.sample_rate]
        row += [f"{cost.parameters / 1e6:.2f}M", number(cost.gmac_per_second)]
        row += [_shown(x) for x in (cost.first_chunk_ms, cost.cold_start_s, cost.peak_mib)]
        if result.quality:
            quality = result.quality.get(cost.system)
            row.append(f"{quality.mean:.2f}" if quality else "-")
        rows.append(row)
    return "\n".join(markdown_table(header, rows))


def _timings(result: Result) -> str:
    header = ["setting", "system", "RTF", "min", "quartiles", "runs", "cores busy"]
    rows = [
        [
            *(timing.setting, timing.system, number(timing.rtf.median), number(timing.rtf.least)),
            *(_quartiles(timing.rtf), timing.rtf.n, f"{timing.cores:.1f}"),
            *(number(result.ratio(timing, name)) for name in YARDSTICKS),
        ]
        for timing in result.timings
    ]
    return "\n".join(markdown_table([*header, *(f"to {name}" for name in YARDSTICKS)], rows))


def _quartiles(values: Spread) -> str:
    return f"{number(values.low)} to {number(values.high)}"


def _shown(values: Spread | None) -> str:
    """Median, with the quartiles where there is more than one run."""
    if values is None:
        return "-"
    return number(values.median) + f" ({_quartiles(values)})" * (values.n > 1)

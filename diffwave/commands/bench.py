"""`diffwave bench`: what vocoders cost on this machine, ours and others side by side."""

from __future__ import annotations

import dataclasses

from diffwave.analysis.plots import check_figure
from diffwave.base.errors import InputError
from diffwave.base.text import notice
from diffwave.bench.measure import bench
from diffwave.bench.result import Quality, Result, read_quality, save_plot, to_markdown
from diffwave.bench.systems import SYSTEMS, build_systems
from diffwave.commands.options import Bench
from diffwave.vocoder import DEFAULT


def run(options: Bench) -> int:
    """Measure, or read what was measured; print the tables, write the JSON and the plot."""
    quality = dict(map(_quality, options.scores))
    if options.plot is not None:
        check_figure(options.plot)
    result = Result.load(options.result) if options.result is not None else _measure(options)
    result = dataclasses.replace(result, quality={**result.quality, **quality})
    if options.json is not None:
        result.save(options.json)
    if options.plot is not None:
        save_plot(result, options.plot)
    print(to_markdown(result), end="")
    return 0


def _measure(options: Bench) -> Result:
    names = [name for name in (options.systems or "").split(",") if name] or list(SYSTEMS)
    effort = "quick" if options.quick else "full" if options.full else "normal"
    checkpoint = options.checkpoint or DEFAULT
    systems, missing = build_systems(list(dict.fromkeys(names)), checkpoint)
    for item in missing:
        notice(f"{item.system} is left out: {item.reason}.")
    if not systems:
        raise InputError("There is nothing to measure: no system's library is here.")
    result = bench(systems, effort, checkpoint, missing)
    if result.busy:
        notice(result.busy)
    return result


def _quality(pair: str) -> tuple[str, Quality]:
    """A system and its scores, of `NAME=report.json`."""
    name, equals, path = pair.partition("=")
    if not equals:
        raise InputError(f"Scores are given as NAME=report.json, not {pair!r}.")
    if name not in SYSTEMS:
        raise InputError(f"There is no system {name!r}; there are {', '.join(SYSTEMS)}.")
    return name, read_quality(path, name)

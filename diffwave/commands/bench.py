"""`diffwave bench`: what vocoders cost on this machine, ours and others side by side."""

from __future__ import annotations

import dataclasses
import sys

from tqdm import tqdm

from diffwave.bench.plan import FULL, NORMAL, QUICK
from diffwave.bench.plot import check_plot, save_plot
from diffwave.bench.report import busy_sentence, to_markdown
from diffwave.bench.result import Quality, Result, read_quality
from diffwave.bench.run import bench
from diffwave.bench.systems import SYSTEMS, build_systems
from diffwave.commands.options import Bench
from diffwave.errors import InputError
from diffwave.vocoder import DEFAULT

BAR = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}, {remaining} left"


def run(options: Bench) -> int:
    """Measure, or read what was measured; print the tables, write the JSON and the plot."""
    quality = _quality(options.scores)
    if options.plot is not None:
        check_plot(options.plot)
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
    effort = QUICK if options.quick else FULL if options.full else NORMAL
    checkpoint = options.checkpoint or DEFAULT
    systems, missing = build_systems(list(dict.fromkeys(names)), checkpoint)
    for name, reason in missing.items():
        print(f"{name} is left out: {reason}.", file=sys.stderr)
    if not systems:
        raise InputError("There is nothing to measure: no system's library is here.")
    with tqdm(total=0, bar_format=BAR, disable=None, leave=False) as progress:
        result = bench(systems, missing, effort, checkpoint, progress)
    if result.machine.busy:
        print(busy_sentence(result), file=sys.stderr)
    return result


def _quality(pairs: list[str]) -> dict[str, Quality]:
    """Scores by the name of a system, of `NAME=report.json` pairs."""
    found = {}
    for pair in pairs:
        name, equals, path = pair.partition("=")
        if not equals:
            raise InputError(f"Scores are given as NAME=report.json, not {pair!r}.")
        if name not in SYSTEMS:
            raise InputError(f"There is no system {name!r}; there are {', '.join(SYSTEMS)}.")
        found[name] = read_quality(path, name)
    return found

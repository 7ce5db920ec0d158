"""The cheapest good ways to sample a voice: grid, then coordinate descent, then held-out speech.

python recipes/schedule/search.py OUT --search WAV... --confirm NAME=WAV... [--checkpoint VOICE]

Writes OUT/journal.jsonl (every score; a search that was stopped goes on), OUT/cost.json,
OUT/bound.json, OUT/confirmed.json, OUT/presets.yaml and OUT/pareto.png. One thread.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
import yaml
from matplotlib.ticker import FixedLocator, NullLocator

from diffwave.analysis.plots import new_figure, save_figure
from diffwave.analysis.search import (
    JUDGED,
    Cost,
    Judge,
    descend,
    grid,
    highest_level,
    level_errors,
    pareto,
)
from diffwave.base.audio import read_audio
from diffwave.base.errors import InputError, run_script
from diffwave.base.files import atomic_path, json_text, make_folder, read_json
from diffwave.chain import schedule
from diffwave.chain.optimal import least_bounds
from diffwave.chain.sampling import Sampling
from diffwave.data.corpus import sixteen_bit
from diffwave.vocoder import DEFAULT, Vocoder

SOLVERS = ("ddim", "ddim-0.5", "ancestral", "dpm-solver++")
FIRSTS, BENDS = (1.0, 0.9), (0.7, 1.0, 1.4)
"""Of the grid of levels: where it starts, of the highest there is, and how it is bent."""
ITERATIONS = (0, 6, 12, 25, 50, 100)
GRID_ITERATIONS = 25
FREE_STEPS = 4
"""Up to so many steps every level is moved by itself; beyond, those of a family are compared."""
BOUND_LEVELS = 64
"""Of the grid that the least bound is sought on."""
BOUND_CONFIRMED = (2, 4)
"""Numbers of steps whose levels of the least bound are tried on held-out speech."""
MOST_CONFIRMED = 6
"""Longest chains that are tried there, beside those on the front."""
PANELS = {
    "mr_stft": "MR-STFT (less is better)",
    "pulse_sharpness": "pulse sharpness, log2 (0 is the recording's)",
    "distillmos": "DistillMOS (more is better)",
}


def recordings(paths: list[str], rate: int) -> dict[str, torch.Tensor]:
    """Samples by name; InputError for what is no audio."""
    return {Path(path).stem: read_audio(path, rate)[0] for path in paths}


def searched(judge: Judge, steps: int, highest: float) -> list[Sampling]:
    """The best way with so many steps at every number of iterations."""
    spectral = not judge.model.space.of_samples
    ways = grid(
        steps, SOLVERS, [highest * f for f in FIRSTS], BENDS, GRID_ITERATIONS if spectral else 0
    )
    # What the voice has already is in the race.
    own = judge.model.config.sampling.preset(steps)
    tried = [*ways, *([replace(own, n_iter=GRID_ITERATIONS * spectral)] if own.levels else [])]
    best = min(tried, key=judge.penalty)
    if steps <= FREE_STEPS:
        best = descend(best, judge.penalty, highest=highest)
    return [replace(best, n_iter=n) for n in (ITERATIONS if spectral else (0,))]


def least_bound(vocoder: Vocoder, waves: dict[str, torch.Tensor], most: int) -> dict[str, Any]:
    """Levels of the least bound for 1 .. `most` steps, as angles, beside equal steps in angle."""
    grid_levels = schedule.alpha_bar_of_angle(
        torch.linspace(highest_level(vocoder.model), 0.02, BOUND_LEVELS, dtype=torch.float64)
    )
    samples = [sixteen_bit(wave.numpy()) for wave in waves.values()]
    errors, power = level_errors(vocoder.model, samples, grid_levels)
    paths = least_bounds(grid_levels, errors, power, most)
    angles = schedule.angle(grid_levels)
    return {
        "power": power,
        "angles": angles.tolist(),
        "errors": errors.tolist(),
        "chains": [
            {"steps": len(p.picked), "nats": p.bound, "levels": angles[p.picked].tolist()}
            for p in paths
        ],
    }


def confirmed(judge: Judge, cost: Cost, ways: list[Sampling]) -> list[dict[str, Any]]:
    """Scores of ways on held-out speech."""
    found = []
    for way in ways:
        found.append({**asdict(way), "rtf": cost.of(way), **judge.scores(way)})
        row = found[-1]
        scores = "  ".join(f"{name} {row[name]:.3f}" for name in judge.metrics)
        print(
            f"{way.steps:3} {way.n_iter:4} {way.solver:13} {row['rtf']:.4f}  {scores}", flush=True
        )
    return found


def draw(path: Path, sets: dict[str, dict[str, list[dict[str, Any]]]]) -> None:
    """Every confirmed way, cost against each score, a row of panels for each set of speech."""
    figure = new_figure(11, 3.4 * len(sets))
    rows = figure.subplots(len(sets), len(PANELS), squeeze=False)
    for axes, (name, kinds) in zip(rows, sets.items(), strict=True):
        for axis, (metric, title) in zip(axes, PANELS.items(), strict=True):
            for steps in sorted({way["steps"] for way in kinds["found"]}):
                line = [way for way in kinds["found"] if way["steps"] == steps]
                line.sort(key=lambda way: float(way["rtf"]))
                x, y = [w["rtf"] for w in line], [w[metric] for w in line]
                axis.plot(x, y, "o-", markersize=4, linewidth=1, label=f"{steps}")
            for kind, mark in (("bound", "kx"), ("presets", "k*")):
                x, y = ([way[key] for way in kinds[kind]] for key in ("rtf", metric))
                label = {"bound": "least bound", "presets": "the voice's own"}[kind]
                axis.plot(x, y, mark, markersize=8, label=label)
            axis.set_xscale("log")
            axis.xaxis.set_major_locator(
                FixedLocator([0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5, 1, 2])
            )
            axis.xaxis.set_major_formatter("{x:g}")
            axis.xaxis.set_minor_locator(NullLocator())
            axis.set_title(f"{name}: {title}", fontsize=9)
            axis.set_xlabel("real-time factor, one thread")
    handles, labels = rows[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, title="steps", loc="outside right upper", fontsize=8)
    save_figure(figure, path)


def write(path: Path, text: str) -> None:
    """A whole file, or the one that was there."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, "utf-8")


def main() -> None:
    """Search, confirm, draw; raises InputError."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--search", nargs="+", required=True, metavar="WAV")
    parser.add_argument("--confirm", nargs="+", action="append", required=True, metavar="NAME=WAV")
    parser.add_argument("--checkpoint", default=DEFAULT)
    parser.add_argument("--steps", default="1,2,3,4,6,8,12")
    options = parser.parse_args()
    if not all(text.isdecimal() and int(text) for text in options.steps.split(",")):
        raise InputError(f"--steps are numbers separated by commas, not {options.steps!r}.")
    counts = [int(text) for text in options.steps.split(",")]
    torch.set_num_threads(1)
    vocoder = Vocoder.from_pretrained(options.checkpoint, "cpu")
    model, rate = vocoder.model, vocoder.sample_rate
    waves = recordings(options.search, rate)
    held_out = {}
    for first, *others in options.confirm:
        name, _, path = first.rpartition("=")
        held_out[name or "held out"] = recordings([path, *others], rate)
    out: Path = options.out
    make_folder(out)

    if (out / "cost.json").exists():
        cost = Cost(**read_json(out / "cost.json"))
    else:
        cost = Cost.measured(model, model.mel(max(waves.values(), key=len)))
        write(out / "cost.json", json_text(cost))
    if cost.iteration:
        print(f"a network call costs {cost.call / cost.iteration:.1f} iterations", flush=True)
    if not (out / "bound.json").exists():
        write(out / "bound.json", json_text(least_bound(vocoder, waves, max(counts))))
    judge = Judge(model, waves, out / "journal.jsonl")
    ways: list[Sampling] = []
    for steps in counts:
        ways += searched(judge, steps, highest_level(model))
        best = min(ways[-len(ITERATIONS) :], key=judge.penalty)
        print(f"{steps}: {best} {judge.penalty(best):.4f}", flush=True)
    bound: list[Sampling] = []
    for chain in read_json(out / "bound.json")["chains"]:
        if chain["steps"] in set(counts) & set(BOUND_CONFIRMED):
            n_iter = 0 if model.space.of_samples else GRID_ITERATIONS
            bound.append(Sampling(chain["steps"], "ddim", tuple(chain["levels"]), n_iter))
    own = list(model.config.sampling.presets)
    front = [ways[i] for i in pareto([(cost.of(way), judge.penalty(way)) for way in ways])]
    print(f"{len(judge.known)} ways tried, {len(front)} on the front", flush=True)

    found = [
        way
        for way in ways
        if way in front or (way.n_iter == GRID_ITERATIONS and way.steps <= MOST_CONFIRMED)
    ]
    sets: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for name, their_waves in held_out.items():
        confirming = Judge(model, their_waves, out / "journal.jsonl", (*JUDGED, "pesq"))
        sets[name] = {}
        for kind, each in (("found", found), ("bound", bound), ("presets", own)):
            print(f"{name}, {kind}", flush=True)
            sets[name][kind] = confirmed(confirming, cost, each)
    write(out / "confirmed.json", json_text(sets))
    draw(out / "pareto.png", sets)
    best = [min((w for w in ways if w.steps == steps), key=judge.penalty) for steps in counts]
    presets = [{**asdict(way), "levels": [round(u, 4) for u in way.levels]} for way in best]
    write(out / "presets.yaml", yaml.safe_dump({"sampling": {"presets": presets}}, sort_keys=False))
    print((out / "presets.yaml").read_text("utf-8"))


if __name__ == "__main__":
    run_script(main)

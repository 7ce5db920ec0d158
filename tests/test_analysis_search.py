"""The search for the cheapest good way to sample: grids, descent, memory, and the recipe."""

from __future__ import annotations

import importlib.util
import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
import yaml
from signals import speech_like
from tiny import HOP, random_model, spectral_config, waveform_config

from diffwave.analysis import search
from diffwave.analysis.search import (
    Cost,
    Judge,
    descend,
    family,
    grid,
    highest_level,
    level_errors,
    pareto,
    penalty,
)
from diffwave.base.errors import InputError
from diffwave.chain import schedule
from diffwave.chain.sampling import Sampling, SamplingConfig
from diffwave.checkpoint import save_checkpoint
from diffwave.denoiser import DiffusionConfig

ROOT = Path(__file__).parents[1]
METRICS = ("mr_stft", "pulse_sharpness")
model = random_model(spectral_config())
waves = {"a": torch.from_numpy(speech_like(0.6)), "b": torch.from_numpy(speech_like(0.5, seed=1))}


def test_families_and_grids() -> None:
    assert family(4) == (1.0, 0.75, 0.5, 0.25)
    bent = family(3, 0.9, 2.0)
    assert bent == pytest.approx((0.9, 0.9 * 4 / 9, 0.9 / 9))
    ways = list(grid(3, ["ddim", "ancestral"], [1.0, 0.9], [0.7, 1.0, 1.4], 25))
    assert len(set(ways)) == 12 and {way.n_iter for way in ways} == {25}
    assert len(list(grid(1, ["ddim", "ancestral"], [1.0, 0.9], [0.7, 1.0], 25))) == 2


def test_descent_finds_the_nearest_low_place_and_keeps_the_order() -> None:
    wanted, seen = (1.0, 0.62, 0.3), []

    def cost(way: Sampling) -> float:
        seen.append(way)
        return sum(abs(a - b) for a, b in zip(way.levels, wanted, strict=True))

    found = descend(Sampling(3, levels=(0.9, 0.7, 0.2)), cost)
    assert found.levels == pytest.approx(wanted, abs=0.025)
    assert all(w.levels == tuple(sorted(w.levels, reverse=True)) for w in seen)
    assert max(w.levels[0] for w in seen) <= 1
    # It never moves a level beyond what the model was trained at.
    low = descend(Sampling(2, levels=(0.5, 0.2)), lambda way: -way.levels[0], highest=0.6)
    assert low.levels[0] == 0.6
    # Where nothing gains, nothing moves.
    assert descend(found, lambda way: 0.0) == found


def test_only_what_is_better_or_cheaper_is_on_the_front() -> None:
    points = [(2.0, 0.5), (1.0, 1.0), (3.0, 0.6), (1.0, 1.2), (4.0, 0.1)]
    assert pareto(points) == [1, 0, 4]


def test_a_penalty_counts_sharpness_on_both_sides() -> None:
    scores = {"mr_stft": 1.0, "pulse_sharpness": -0.3, "distillmos": 4.0}
    assert penalty(scores) == pytest.approx(1.0 + 0.2 * 0.3 - 2.0)
    assert penalty(scores | {"pulse_sharpness": 0.3}) == penalty(scores)
    assert penalty(scores | {"distillmos": 4.2}) < penalty(scores)


def test_a_search_that_was_stopped_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = tmp_path / "journal.jsonl"
    first = Judge(model, waves, journal, METRICS)
    ways = [Sampling(1), Sampling(2, levels=(1.0, 0.5), n_iter=2)]
    scores = [first.scores(way) for way in ways]
    assert scores[0].keys() == set(METRICS) and scores[0] != scores[1]
    journal.write_text(journal.read_text() + '{"key": "half a li')
    monkeypatch.setattr(search, "wave_of", lambda *_: pytest.fail("it was scored before"))
    again = Judge(model, waves, journal, METRICS)
    assert [again.scores(way) for way in ways] == scores
    monkeypatch.undo()
    # Other recordings, metrics or noise are another question.
    for other in (
        Judge(model, {"a": waves["a"]}, journal, METRICS),
        Judge(model, waves, journal, METRICS[:1]),
        Judge(model, waves, journal, METRICS, seed=1),
    ):
        assert other.scores(ways[1]) != scores[1]
    with pytest.raises(InputError, match="Cannot read the journal"):
        Judge(model, waves, tmp_path, METRICS)


def test_costs_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    cost = Cost(0.01, 0.02, 0.001)
    assert cost.of(Sampling(3, n_iter=10)) == pytest.approx(0.01 + 0.06 + 0.01)
    samples = random_model(waveform_config())
    assert Cost.measured(samples, samples.mel(waves["a"]), seconds=0.05).iteration == 0

    class Timed:
        """A machine on which everything takes as long every time, but once longer."""

        def __init__(self, statement: str, globals: dict[str, Any], **settings: object) -> None:
            exec(statement, globals)
            way = globals["way"]
            self.seconds = 0.1 + 0.2 * way.steps + 0.05 * way.n_iter

        def blocked_autorange(self, min_run_time: float) -> SimpleNamespace:
            return SimpleNamespace(times=[3 * self.seconds, self.seconds])

    monkeypatch.setattr(search, "Timer", Timed)
    mel = model.mel(waves["a"])
    speech = mel.shape[-1] * HOP / 22050
    measured = Cost.measured(model, mel)
    assert (measured.fixed, measured.call, measured.iteration) == pytest.approx(
        (0.1 / speech, 0.2 / speech, 0.05 / speech)
    )


@pytest.mark.parametrize("config", [spectral_config(), waveform_config()])
def test_errors_by_level_are_those_of_the_denoiser(config: object) -> None:
    """A model that answers 0 errs by x_0 itself, at every level."""
    one = random_model(config)  # type: ignore[arg-type]
    levels = schedule.alpha_bar_of_angle([0.6, 0.3, 0.1])
    samples = [(wave.numpy() * 32768).astype(np.int16) for wave in waves.values()]
    errors, power = level_errors(one, samples, levels)
    assert errors.shape == (3,) and bool((errors > 0).all())
    assert float(errors[0]) > float(errors[2])  # noise hides the state
    one.denoiser.estimate = lambda x, level, cond: (0 * x, None)  # type: ignore[method-assign]
    one.denoiser.forward = lambda x, level, cond: 0 * x  # type: ignore[method-assign]
    blind, same = level_errors(one, samples, levels)
    assert same == power
    torch.testing.assert_close(blind, torch.full((3,), power).double())
    with pytest.raises(InputError, match="no recording"):
        level_errors(one, [], levels)


def test_the_highest_level_is_the_one_that_was_trained() -> None:
    assert highest_level(model) == 1
    base = random_model(waveform_config())
    last = DiffusionConfig("eps", "diffwave-base").alpha_bars()
    assert last is not None
    root = math.cos(highest_level(base) * math.pi / 2)
    assert root == pytest.approx(float(last[-1]) ** 0.5)


def test_the_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = importlib.util.spec_from_file_location("recipe", ROOT / "recipes/schedule/search.py")
    assert spec is not None and spec.loader is not None
    recipe = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(recipe)
    monkeypatch.setattr(recipe, "SOLVERS", ("ddim",))
    monkeypatch.setattr(recipe, "FIRSTS", (1.0,))
    monkeypatch.setattr(recipe, "BENDS", (1.0,))
    monkeypatch.setattr(recipe, "ITERATIONS", (0, 1))
    monkeypatch.setattr(recipe, "GRID_ITERATIONS", 1)
    monkeypatch.setattr(recipe, "FREE_STEPS", 0)
    monkeypatch.setattr(recipe, "BOUND_LEVELS", 4)
    save_checkpoint(model, tmp_path / "voice")
    for name, wave in waves.items():
        soundfile.write(tmp_path / f"{name}.wav", wave.numpy(), 22050)
    words = ["search.py", "out", "--search", "a.wav", "--confirm", "other=b.wav"]
    monkeypatch.setattr("sys.argv", [*words, "--checkpoint", "voice", "--steps", "1,2"])
    monkeypatch.chdir(tmp_path)
    recipe.main()
    presets = yaml.safe_load((tmp_path / "out/presets.yaml").read_text())["sampling"]["presets"]
    assert [preset["steps"] for preset in presets] == [1, 2]
    SamplingConfig(presets=tuple(Sampling(**p | {"levels": tuple(p["levels"])}) for p in presets))
    confirmed = json.loads((tmp_path / "out/confirmed.json").read_text())
    assert {way["steps"] for way in confirmed["other"]["found"]} == {1, 2}
    assert [way["steps"] for way in confirmed["other"]["bound"]] == [2]
    assert all(math.isfinite(way["distillmos"]) for way in confirmed["other"]["found"])
    assert (tmp_path / "out/pareto.png").read_bytes()[:4] == b"\x89PNG"
    chains = json.loads((tmp_path / "out/bound.json").read_text())["chains"]
    assert [len(chain["levels"]) for chain in chains] == [1, 2]
    monkeypatch.setattr("sys.argv", [*words, "--steps", "1,x"])
    with pytest.raises(InputError, match="numbers separated by commas"):
        recipe.main()

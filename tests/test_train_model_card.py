"""The model card says what is known, and nothing that is not."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import yaml
from tiny import random_model, spectral_config, waveform_config

from diffwave.errors import InputError
from diffwave.model import DiffusionModel, Sampling, SamplingConfig
from diffwave.train.model_card import About, Stage, model_card

SCORES: dict[str, Any] = {
    "notes": [],
    "metrics": {"stoi": {"mean": 0.93217, "interval": [0.9, 0.95], "unit": "", "better": "higher"}},
    "utterances": [{"utterance": "a"}],
}


@pytest.fixture(scope="module")
def model() -> DiffusionModel:
    return random_model(spectral_config())


def sampled(model: DiffusionModel, sampling: SamplingConfig) -> DiffusionModel:
    return DiffusionModel(dataclasses.replace(model.config, sampling=sampling))


def card(model: DiffusionModel, scores: Any = None, **known: Any) -> str:
    return model_card(About("Mary", **known), model, [Stage(1, 1.0)], scores=scores)


def rows(text: str) -> dict[str, str]:
    """The first table, by name."""
    table = text.split("| | |\n|---|---|\n")[1].split("\n\n")[0].splitlines()
    return dict(line.strip("| ").split(" | ", 1) for line in table)


def test_what_is_known_is_a_row(model: DiffusionModel) -> None:
    known = {"data": "her letters", "chosen": "the best", "speaker": "Mary", "base": "a/b"}
    stages = [Stage(10, 0.25), Stage(12345, 678.9, "stage-2.yaml")]
    about = About("Mary", licence="my: own", before_and_after={"pesq": (2.0, 3.0)}, **known)
    text = model_card(about, model, stages, half=False)
    front = yaml.safe_load(text.split("---\n")[1])
    assert (front["license"], front["base_model"]) == ("my: own", "a/b")
    table = rows(text)
    assert table["training"] == "10 steps in 0.2 min; then 12,345 steps in 678.9 min"
    assert (table["data"], table["weights"]) == ("her letters", "the best")
    assert (table["speaker"], table["base voice"], table["licence"]) == ("Mary", "a/b", "my: own")
    assert table["before and after"] == "pesq 2.000 to 3.000"
    assert table["network"].startswith("`spectral`, 0.")
    assert table["network"].endswith("parameters, stored in single precision")
    assert "diffwave train stage-2.yaml" in text and "stage-1.yaml" not in text


def test_what_is_not_known_is_not_said(model: DiffusionModel) -> None:
    assert list(rows(card(model))) == ["network", "mels", "training", "licence", "default"]
    assert rows(card(model))["licence"].startswith("not stated")
    assert "Scores" not in card(model) and "How it was trained" not in card(model)


def test_a_waveform_network_is_called_so() -> None:
    assert rows(card(random_model(waveform_config())))["network"].startswith("`waveform`, ")


@pytest.mark.parametrize(
    ("sampling", "text"),
    [
        (SamplingConfig(1), "1 step of ddim"),
        (SamplingConfig(2, presets=[Sampling(4, levels=[1, 0.8, 0.6, 0.3])]), "2 steps of ddim"),
        (
            SamplingConfig(2, presets=[Sampling(2, levels=[1, 0.55])]),
            "2 steps of ddim at the noise levels 1, 0.55",
        ),
        (
            SamplingConfig(3, "ancestral", n_iter=1),
            "3 steps of ancestral, then 1 mel-consistency iteration",
        ),
        (
            SamplingConfig(1, presets=[Sampling(1, levels=[1], n_iter=6)]),
            "1 step of ddim at the noise level 1, then 6 mel-consistency iterations",
        ),
    ],
)
def test_the_way_of_sampling_is_said(
    model: DiffusionModel, sampling: SamplingConfig, text: str
) -> None:
    assert rows(card(sampled(model, sampling)))["default"] == text


def test_scores_are_a_table(model: DiffusionModel) -> None:
    text = card(model, SCORES)
    assert "On 1 held-out clip, from" in text
    assert "| stoi | higher | 0.932 | 0.900 to 0.950 |" in text


@pytest.mark.parametrize("missing", ["notes", "metrics", "utterances"])
def test_scores_that_are_none_are_refused(model: DiffusionModel, missing: str) -> None:
    scores = {key: value for key, value in SCORES.items() if key != missing}
    with pytest.raises(InputError, match="not what `diffwave evaluate` saves"):
        card(model, scores)

"""The model card says what is known, and nothing that is not."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from tiny import random_model, spectral_config, waveform_config

from diffwave.chain.sampling import Sampling
from diffwave.errors import InputError
from diffwave.model import DiffusionModel, SamplingConfig
from diffwave.train.model_card import Part, model_card

SCORES: dict[str, Any] = {
    "notes": [],
    "metrics": {"stoi": {"mean": 0.93217, "interval": [0.9, 0.95], "unit": "", "better": "higher"}},
    "sentences": [{"sentence": "a"}],
}


@pytest.fixture(scope="module")
def model() -> DiffusionModel:
    return random_model(spectral_config())


def sampled(model: DiffusionModel, sampling: SamplingConfig) -> DiffusionModel:
    return DiffusionModel(dataclasses.replace(model.config, sampling=sampling))


def rows(card: str) -> dict[str, str]:
    """The first table, by name."""
    table = card.split("\n\n")[3].splitlines()[2:]
    return dict(line.strip("| ").split(" | ", 1) for line in table)


def test_what_is_known_is_a_row(model: DiffusionModel) -> None:
    parts = [Part(10, 0.25, ""), Part(12345, 678.9, "")]
    card = model_card("Mary", model, parts, data="her letters", chosen="the best", half=False)
    assert card.startswith("# Mary\n")
    table = rows(card)
    assert list(table) == ["network", "mels", "data", "training", "weights", "default"]
    assert table["training"] == "10 steps in 0.2 min; then 12,345 steps in 678.9 min"
    assert (table["data"], table["weights"]) == ("her letters", "the best")
    assert table["network"].startswith("`spectral`, 0.")
    assert table["network"].endswith("parameters, stored in single precision")


def test_what_is_not_known_is_not_said(model: DiffusionModel) -> None:
    card = model_card("", model, [Part(1, 1.0, "")])
    assert list(rows(card)) == ["network", "mels", "training", "default"]
    assert "Scores" not in card and "How it was trained" not in card


def test_a_waveform_network_is_called_so() -> None:
    card = model_card("", random_model(waveform_config()), [Part(1, 1.0, "")])
    assert rows(card)["network"].startswith("`waveform`, ")


@pytest.mark.parametrize(
    ("sampling", "told"),
    [
        (SamplingConfig(1), "1 step of ddim"),
        (SamplingConfig(2, presets=(Sampling(4, levels=(1, 0.8, 0.6, 0.3)),)), "2 steps of ddim"),
        (
            SamplingConfig(2, presets=(Sampling(2, levels=(1, 0.55)),)),
            "2 steps of ddim at the noise levels 1, 0.55",
        ),
        (
            SamplingConfig(3, "ancestral", 1),
            "3 steps of ancestral, then 1 mel-consistency iteration",
        ),
        (
            SamplingConfig(1, presets=(Sampling(1, "ddim", (1,), 6),)),
            "1 step of ddim at the noise level 1, then 6 mel-consistency iterations",
        ),
    ],
)
def test_the_way_of_sampling_is_told(
    model: DiffusionModel, sampling: SamplingConfig, told: str
) -> None:
    card = model_card("", sampled(model, sampling), [Part(1, 1.0, "")])
    assert rows(card)["default"] == told


def test_scores_are_a_table(model: DiffusionModel) -> None:
    card = model_card("", model, [Part(1, 1.0, "")], scores=SCORES)
    assert "On 1 held-out clip, from" in card
    assert "| stoi | higher | 0.932 | 0.900 to 0.950 |" in card


@pytest.mark.parametrize("missing", ["notes", "metrics", "sentences"])
def test_scores_that_are_none_are_refused(model: DiffusionModel, missing: str) -> None:
    scores = {key: value for key, value in SCORES.items() if key != missing}
    with pytest.raises(InputError, match="not what `diffwave evaluate` saves"):
        model_card("", model, [Part(1, 1.0, "")], scores=scores)


def test_settings_are_given_for_the_parts_that_noted_them(model: DiffusionModel) -> None:
    card = model_card("", model, [Part(1, 1.0, ""), Part(1, 1.0, "optim: {lr: 0.5}\n")])
    assert "`part-1.yaml`" not in card
    assert "```yaml\noptim: {lr: 0.5}\n```" in card.split("`part-2.yaml`:")[1]
    alone = model_card("", model, [Part(1, 1.0, "optim: {lr: 0.5}\n")])
    assert "`diffwave train settings.yaml`" in alone

"""What a run is made of, before its first step."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
from small_run import Configure
from tiny import enhancing_config, random_model

from diffwave.checkpoint import load_checkpoint, save_checkpoint
from diffwave.data.envelope import envelope_path, save_envelope
from diffwave.errors import InputError
from diffwave.train import setup
from diffwave.train.engine import Engine
from diffwave.train.setup import Parts, initialise, make_parts


def parts_of(config: object) -> Parts:
    engine = Engine("cpu")
    with engine.running():
        return make_parts(config, engine, progress_bar=False)  # type: ignore[arg-type]


def test_weights_follow_from_the_seed(configure: Configure) -> None:
    one, again, other = (parts_of(configure(run__seed=seed)) for seed in (1, 1, 2))
    for a, b in zip(one.trained.ema.average, again.trained.ema.average, strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(one.trained.ema.average[0], other.trained.ema.average[0])
    assert torch.equal(one.crops.batch(0, 2).wave, again.crops.batch(0, 2).wave)
    assert not torch.equal(one.crops.batch(0, 2).wave, other.crops.batch(0, 2).wave)
    assert [clip.name for clip in one.validation] == ["held"]


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_only_float16_scales_its_loss(configure: Configure, precision: str) -> None:
    parts = parts_of(configure(run__precision=precision))
    assert parts.trained.scaler.is_enabled() is (precision == "float16")


def test_a_batch_that_does_not_divide_is_told_before_the_data_is_read(
    configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(setup, "load_corpus", None)  # is not called
    with pytest.raises(InputError, match="does not divide"):
        parts_of(configure(optim__accumulate=3, optim__batch_size=4))


def test_the_envelope_is_fitted_or_taken_from_a_prepared_corpus(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configure()
    parts = parts_of(config)
    space = parts.trained.model.space
    assert not space.state_dict()["envelope_weight"].any()
    initialise(parts, config)
    assert space.state_dict()["envelope_weight"].any()
    fitted = {name: tensor.clone() for name, tensor in space.state_dict().items()}
    prepared = tmp_path / "prepared"
    envelope_path(prepared).parent.mkdir(parents=True)
    save_envelope(envelope_path(prepared), space)
    monkeypatch.setattr(setup, "fitted_space", None)  # is not called
    again = parts_of(config)
    config.data.folder = str(prepared)
    initialise(again, config)
    for name, tensor in again.trained.model.space.state_dict().items():
        assert torch.equal(tensor, fitted[name])


@pytest.mark.parametrize(
    ("weights", "network", "restorer"),
    [
        ({}, True, True),
        ({"loss__restoration": 0}, True, False),
        ({"loss__denoising": 0}, False, True),
        ({"loss__denoising": 0, "loss__unrolled": 0.5}, True, True),
    ],
)
def test_what_no_loss_trains_is_frozen(
    configure: Configure, weights: dict[str, object], network: bool, restorer: bool
) -> None:
    trained = parts_of(configure(**weights)).trained
    assert {p.requires_grad for p in trained.model.network.parameters()} == {network}
    assert trained.model.enhancer is not None
    assert {p.requires_grad for p in trained.model.enhancer.parameters()} == {restorer}
    optimized = {id(p) for group in trained.optimizer.param_groups for p in group["params"]}
    assert optimized == {id(p) for p in trained.model.learned() if p.requires_grad}
    assert len(trained.ema.average) == len(trained.model.learned())


def test_something_must_be_trained(configure: Configure) -> None:
    with pytest.raises(InputError, match="train nothing of this model") as caught:
        parts_of(configure(loss__denoising=0, restorer__layers=0))
    assert "\n" not in str(caught.value)


def test_a_checkpoint_without_a_restorer_begins_one(
    configure: Configure, tiny_checkpoint: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = configure(run__init=tiny_checkpoint)
    parts = parts_of(config)
    model = parts.trained.model
    assert model.enhancer is not None
    before = {name: t.clone() for name, t in model.enhancer.state_dict().items()}
    caplog.set_level(logging.INFO)
    initialise(parts, config)
    assert f"{tiny_checkpoint} has no mel enhancer; its training starts here" in caplog.text
    for name, tensor in load_checkpoint(tiny_checkpoint).state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor), name
    for name, tensor in model.enhancer.state_dict().items():
        assert torch.equal(tensor, before[name])
    wider = configure(run__init=tiny_checkpoint, spectral__channels=24)
    with pytest.raises(InputError, match=r"has network\.channels = 16, .* mean 24"):
        initialise(parts_of(wider), wider)


def test_a_checkpoints_restorer_is_taken_or_refused(
    configure: Configure, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    given = random_model(enhancing_config())
    save_checkpoint(given, tmp_path / "given", half=False)
    config = configure(run__init=tmp_path / "given")
    parts = parts_of(config)
    caplog.set_level(logging.INFO)
    initialise(parts, config)
    assert "no mel enhancer" not in caplog.text
    for name, tensor in given.state_dict().items():
        assert torch.equal(parts.trained.model.state_dict()[name], tensor), name
    for change in ({"restorer__channels": 12}, {"restorer__layers": 0}):
        config = configure(run__init=tmp_path / "given", **change)
        with pytest.raises(InputError, match=r"given has enhancer\S* = "):
            initialise(parts_of(config), config)

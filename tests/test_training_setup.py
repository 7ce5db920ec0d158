"""What a run is made of, before its first step."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from small_run import Configure

from diffwave.corpus.envelope import envelope_path, save_envelope
from diffwave.errors import InputError
from diffwave.training import setup
from diffwave.training.engine import Engine
from diffwave.training.setup import Parts, initialise, make_parts


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
    space = parts.trained.model.representation
    assert not space.state_dict()["envelope_weight"].any()
    initialise(parts, config)
    assert space.state_dict()["envelope_weight"].any()
    fitted = {name: tensor.clone() for name, tensor in space.state_dict().items()}
    prepared = tmp_path / "prepared"
    envelope_path(prepared).parent.mkdir(parents=True)
    mel = parts.trained.model.config.mel
    save_envelope(envelope_path(prepared), space, mel)  # type: ignore[arg-type]
    monkeypatch.setattr(setup, "fitted_representation", None)  # is not called
    again = parts_of(config)
    config.data.folder = str(prepared)
    initialise(again, config)
    for name, tensor in again.trained.model.representation.state_dict().items():
        assert torch.equal(tensor, fitted[name])

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import enhancing_config, random_model, spectral_config, waveform_config
from told import everything, refused

from diffwave.base.errors import InputError
from diffwave.checkpoint import CONFIG_FILE, WEIGHTS_FILE, load_checkpoint, save_checkpoint
from diffwave.model import ModelConfig


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A folder to spoil."""
    save_checkpoint(random_model(spectral_config()), tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


@pytest.mark.parametrize("config", [spectral_config(), enhancing_config(), waveform_config()])
def test_a_checkpoint_comes_back(tmp_path: Path, config: ModelConfig) -> None:
    """In whole precision bit for bit; in half precision half the size, and close."""
    model = random_model(config).train()
    save_checkpoint(model, tmp_path / "whole", half=False)
    save_checkpoint(model, tmp_path / "half")
    assert model.training and all(t.dtype == torch.float32 for t in model.state_dict().values())
    loaded, half = (load_checkpoint(tmp_path / name) for name in ("whole", "half"))
    assert loaded.config == half.config == config
    assert loaded.state_dict().keys() == half.state_dict().keys() == model.state_dict().keys()
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor)
        assert half.state_dict()[name].dtype == torch.float32
        torch.testing.assert_close(half.state_dict()[name], tensor, rtol=2**-10, atol=2**-24)
    assert not loaded.training
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    sizes = [(tmp_path / name / WEIGHTS_FILE).stat().st_size for name in ("whole", "half")]
    learned = sum(parameter.numel() for parameter in model.learned())
    assert abs((sizes[0] - sizes[1]) - 2 * learned) < 1000  # headers


def test_the_envelope_stays_in_float32_and_nothing_is_stored_that_follows(tmp_path: Path) -> None:
    model = random_model(spectral_config())
    model.space.envelope_bias.fill_(1 + 2**-20)  # which half precision rounds to 1
    model.space.envelope_weight.fill_(1e-9)  # and this to 0
    save_checkpoint(model, tmp_path / "c")
    stored = load_file(tmp_path / "c" / WEIGHTS_FILE)
    kept = {name for name, tensor in stored.items() if tensor.dtype == torch.float32}
    assert kept == {"space.envelope_weight", "space.envelope_bias"}
    assert not any(name.startswith("mel.") or name.endswith("window") for name in stored)
    for name in kept:
        assert torch.equal(stored[name], model.state_dict()[name])


@pytest.mark.skipif(os.name != "posix", reason="POSIX permissions")
def test_others_may_read_it_as_the_umask_says(checkpoint: Path) -> None:
    os.umask(umask := os.umask(0))
    for path in (checkpoint / CONFIG_FILE, checkpoint / WEIGHTS_FILE):
        assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask


def test_replaces_a_checkpoint_and_keeps_its_card(checkpoint: Path) -> None:
    (checkpoint / "README.md").write_text("card")
    save_checkpoint(random_model(waveform_config()), checkpoint)
    assert load_checkpoint(checkpoint).config == waveform_config()
    assert (checkpoint / "README.md").read_text() == "card"
    assert [path.name for path in checkpoint.parent.iterdir()] == ["checkpoint"]


def test_a_failure_leaves_the_old_checkpoint(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = everything(checkpoint.parent)

    def fail(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("diffwave.checkpoint.save", fail)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(random_model(spectral_config(), seed=1), checkpoint)
    assert everything(checkpoint.parent) == before


def change_json(change: Callable[[dict], object]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        data = json.loads((folder / CONFIG_FILE).read_text())
        change(data)
        (folder / CONFIG_FILE).write_text(json.dumps(data))

    return damage


def change_weights(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        tensors = load_file(folder / WEIGHTS_FILE)
        change(tensors)
        save_file(tensors, folder / WEIGHTS_FILE)

    return damage


def rewrite(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes(change((folder / name).read_bytes())) and None


BIAS = "denoiser.network.filter.bias"
DAMAGES: dict[str, tuple[Callable[[Path], object], tuple[str, ...]]] = {
    "no config": (lambda f: (f / CONFIG_FILE).unlink(), ("has no config.json",)),
    "no weights": (lambda f: (f / WEIGHTS_FILE).unlink(), ("has no model.safetensors",)),
    "config cut": (rewrite(CONFIG_FILE, lambda b: b[:-30]), ("not valid JSON",)),
    "config a list": (rewrite(CONFIG_FILE, lambda b: b"[1]"), ("a JSON object",)),
    "config of another package": (
        rewrite(CONFIG_FILE, lambda b: b'{"model": 1}'),
        ("format 1 to 3",),
    ),
    "config of the future": (change_json(lambda d: d.update(format=4)), ("format 1 to 3",)),
    "config a folder": (
        lambda f: ((f / CONFIG_FILE).unlink(), (f / CONFIG_FILE).mkdir()),
        ("Cannot read", "config.json"),
    ),
    "unknown key": (change_json(lambda d: d.update(extra=1)), ("config.json", "extra")),
    "weights not safetensors": (rewrite(WEIGHTS_FILE, lambda b: b"x" * 1000), ("damaged",)),
    "weight missing": (change_weights(lambda w: w.pop(BIAS)), (f"weight {BIAS} is missing",)),
    "weight too many": (
        change_weights(lambda w: w.update(extra=torch.ones(1))),
        ("does not have the weight 'extra'",),
    ),
    "weight under two names": (
        change_weights(lambda w: w.update({"network.filter.bias": w[BIAS].clone()})),
        (BIAS, "there twice"),
    ),
    "weight of another shape": (
        change_weights(lambda w: w.update({BIAS: torch.ones(3)})),
        (BIAS, "[3]", "configuration needs [7168]"),
    ),
    "NaN": (change_weights(lambda w: w[BIAS].fill_(float("nan"))), (BIAS, "not finite")),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_told_in_a_sentence(checkpoint: Path, name: str) -> None:
    damage, words = DAMAGES[name]
    damage(checkpoint)
    with refused(str(checkpoint), *words):
        load_checkpoint(checkpoint)


def test_every_cut_of_the_weights_is_noticed(checkpoint: Path) -> None:
    with pytest.raises(InputError, match="not a checkpoint"):
        load_checkpoint(checkpoint / "nothing")
    whole = (checkpoint / WEIGHTS_FILE).read_bytes()
    for length in {0, 1, 7, 8, 9, 50, 100, 1000, len(whole) // 2, len(whole) - 1}:
        (checkpoint / WEIGHTS_FILE).write_bytes(whole[:length])
        with pytest.raises(InputError, match="damaged"):
            load_checkpoint(checkpoint)

"""DiffWave as others built it: its settings; the numbers are checked in test_importers.py."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from tiny import waveform_config

from diffwave.base.errors import InputError
from diffwave.base.schema import stored
from diffwave.model import DiffusionModel, ModelConfig
from diffwave.networks import VariantNet, VariantNetConfig, WaveformNet, WaveformNetConfig

SMALL = {"channels": 4, "layers": 3, "dilation_cycle": 3, "n_mels": 5}


def inputs() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    return torch.randn(2, 4 * 256), torch.tensor([3.0, 41.0]), torch.randn(2, 5, 4)


def with_output(network: WaveformNet) -> WaveformNet:
    torch.nn.init.normal_(network.output_conv.weight)
    return network.eval().requires_grad_(False)


def test_without_differences_it_is_the_published_network() -> None:
    variant = with_output(VariantNet(VariantNetConfig(**SMALL)))
    published = WaveformNet(WaveformNetConfig(**SMALL)).requires_grad_(False)
    published.load_state_dict(variant.state_dict())
    torch.testing.assert_close(variant(*inputs()), published(*inputs()))


@pytest.mark.parametrize(
    "change",
    [
        {"step_exponent": -4.0},
        {"step_rows": 50},  # rounded to single precision
        {"padding": "reflect"},
        {"step_in_residual": True},
    ],
)
def test_every_difference_is_one(change: dict[str, Any]) -> None:
    variant = with_output(VariantNet(VariantNetConfig(**SMALL, **change)))
    plain = VariantNet(VariantNetConfig(**SMALL)).requires_grad_(False)
    plain.load_state_dict(variant.state_dict())
    assert (variant(*inputs()) - plain(*inputs())).abs().max() > 2e-5


def test_layers_upsample_on_their_own() -> None:
    network = with_output(VariantNet(VariantNetConfig(**SMALL, upsampler_per_layer=True)))
    x_t, t, mel = inputs()
    before = network(x_t, t, mel)
    network.upsamplers[1].conv2.weight.mul_(3)
    changed = network.condition(mel)
    network.upsamplers[1].conv2.weight.div_(3)
    differ = [not torch.equal(a, b) for a, b in zip(changed, network.condition(mel), strict=True)]
    assert differ == [False, True, False]
    torch.testing.assert_close(network(x_t, t, mel), before)


def test_a_fractional_step_lies_between_whole_ones() -> None:
    embedding = VariantNet(VariantNetConfig(**SMALL, step_rows=50)).step_embedding
    low, middle, high = (embedding.sinusoid(torch.tensor([t])) for t in (7.0, 7.25, 8.0))
    torch.testing.assert_close(middle, 0.75 * low + 0.25 * high)
    for t in (-0.5, 49.1):
        with pytest.raises(InputError, match="steps 0 to 49"):
            embedding.sinusoid(torch.tensor([t]))
    with pytest.raises(InputError, match="autocast"):
        embedding.half().sinusoid(torch.tensor([7.0]))


@pytest.mark.parametrize("n_mels", [0, 80])
def test_what_is_too_short_to_be_reflected_is_refused(n_mels: int) -> None:
    config = VariantNetConfig(channels=4, layers=10, n_mels=n_mels, padding="reflect")
    network = VariantNet(config)
    for frames in (2, 3):
        mel = torch.zeros(1, n_mels, frames) if n_mels else None
        x, t, cond = torch.zeros(1, 256 * frames), torch.zeros(1), network.condition(mel)
        if frames == 3:
            assert network(x, t, cond=cond).shape == x.shape
        else:
            with pytest.raises(InputError, match="at least 3 frames"):
                network(x, t, cond=cond)


def test_its_settings_survive_a_configuration() -> None:
    network = VariantNetConfig(
        channels=4, layers=2, step_rows=50, padding="reflect", upsampler_per_layer=True
    )
    config = dataclasses.replace(waveform_config(), network=network)
    again = ModelConfig.from_dict(stored(config))
    assert again == config
    assert isinstance(DiffusionModel(again).network, VariantNet)
    data = stored(config)
    data["network"]["padding"] = 3
    with pytest.raises(InputError, match="padding"):
        ModelConfig.from_dict(data)

"""DiffWave's network: published size, initialisation; its equations are in test_importers.py."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from diffwave.networks.diffwave import (
    MelUpsampler,
    StepEmbedding,
    WaveformNet,
    WaveformNetConfig,
)

SMALL = WaveformNetConfig(channels=8, layers=4, dilation_cycle=3, n_mels=5, hop_length=6)
FRAMES = 7


def make_net(config: WaveformNetConfig = SMALL) -> WaveformNet:
    """A small network whose last layer is not zero, so that every input can reach the output."""
    torch.manual_seed(0)
    net = WaveformNet(config)
    torch.nn.init.normal_(net.output_conv.weight)
    return net


def make_inputs(config: WaveformNetConfig = SMALL, batch: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    x_t = torch.randn(batch, FRAMES * config.hop_length, generator=generator)
    t = 50 * torch.rand(batch, generator=generator)
    return x_t, t, torch.randn(batch, config.n_mels, FRAMES, generator=generator)


@pytest.mark.parametrize(("channels", "count"), [(64, 2_619_971), (128, 6_885_315)])
def test_parameter_count_is_the_published_one(channels: int, count: int) -> None:
    with torch.device("meta"):
        net = WaveformNet(WaveformNetConfig(channels=channels))
    assert sum(p.numel() for p in net.parameters()) == count
    assert f"{count / 1e6:.2f}M" == {64: "2.62M", 128: "6.89M"}[channels]
    assert net.receptive_field == 3069


@settings(max_examples=40)
@given(hop_length=st.integers(1, 600), frames=st.integers(1, 4), n_mels=st.integers(1, 3))
def test_any_hop_gives_exactly_its_samples(hop_length: int, frames: int, n_mels: int) -> None:
    net = WaveformNet(WaveformNetConfig(2, 2, 2, n_mels, hop_length))
    mel, x_t = torch.randn(1, n_mels, frames), torch.randn(1, frames * hop_length)
    assert net.condition(mel)[0].shape == (1, 4, frames * hop_length)
    assert net(x_t, torch.zeros(1), mel).shape == x_t.shape


@settings(max_examples=20)
@given(hop_length=st.integers(1, 100), place=st.floats(0, 1, exclude_max=True))
def test_a_sample_sees_two_mel_frames_on_each_side(hop_length: int, place: float) -> None:
    torch.manual_seed(2)
    sample = 4 * hop_length + int(place * hop_length)  # in the middle one of 9 frames
    mel = torch.randn(1, 1, 9, requires_grad=True)
    MelUpsampler(hop_length)(mel)[0, 0, sample].backward()
    assert mel.grad is not None
    assert mel.grad[0, 0, 4] != 0
    assert not mel.grad[0, 0, [0, 1, 7, 8]].any()


def test_initialisation_is_kaiming_and_the_output_zero() -> None:
    torch.manual_seed(0)
    net = WaveformNet(WaveformNetConfig(channels=64, layers=1, n_mels=80, hop_length=6))
    for name, fan_in in [("layers.0.dilated_conv", 3 * 64), ("mel_convs.0", 80)]:
        weight = net.get_parameter(f"{name}.weight") * (fan_in / 2) ** 0.5
        assert weight.std().item() == pytest.approx(1, rel=0.05)
        assert weight.abs().max() > 2.5  # normal, not uniform
    x_t, t, mel = torch.randn(2, 30), torch.rand(2), torch.randn(2, 80, 5)
    assert not net(x_t, t, mel).any()
    torch.nn.init.ones_(net.output_conv.weight)
    assert net(x_t, t, mel).any()


@settings(max_examples=50)
@given(st.integers(0, 1000), st.sampled_from([0.0, 0.25, 0.5, 0.8125]))  # exact in float32
def test_step_embedding_formula(whole: int, part: float) -> None:
    angle = (whole + part) * 10.0 ** (4 * np.arange(64) / 63)
    expected = np.concatenate([np.sin(angle), np.cos(angle)])
    got = StepEmbedding().sinusoid(torch.tensor([whole + part]))
    np.testing.assert_allclose(got[0].numpy(), expected, atol=2e-3)


def test_items_of_a_batch_are_independent() -> None:
    net = make_net()
    x_t, t, mel = make_inputs()
    together = net(x_t, t, mel)
    for i in range(3):
        torch.testing.assert_close(together[[i]], net(x_t[[i]], t[[i]], mel[[i]]))
    t = t.floor()  # steps may be counted in integers
    assert torch.equal(net(x_t, t.long(), mel), net(x_t, t, mel))


def test_a_condition_serves_all_steps_and_a_whole_batch() -> None:
    net = make_net()
    x_t, t, mel = make_inputs()
    cond = net.condition(mel)
    assert len(cond) == SMALL.layers
    for steps in (t, t / 2):
        assert torch.equal(net(x_t, steps, cond=cond), net(x_t, steps, mel))
    expected = net(x_t, t, mel[:1].expand(3, -1, -1))
    torch.testing.assert_close(net(x_t, t, mel[:1]), expected)
    torch.testing.assert_close(net(x_t, t, cond=net.condition(mel[:1])), expected)


@pytest.mark.parametrize(("layers", "cycle", "reach"), [(4, 3, 8), (3, 10, 7), (1, 1, 1)])
def test_receptive_field(layers: int, cycle: int, reach: int) -> None:
    net = make_net(WaveformNetConfig(8, layers, cycle, n_mels=0))
    assert net.receptive_field == reach
    centre = 20
    x_t = torch.randn(1, 41, requires_grad=True)
    net(x_t, torch.zeros(1))[0, centre].backward()
    assert x_t.grad is not None
    seen = x_t.grad[0].nonzero()[:, 0]
    assert (seen.min().item(), seen.max().item()) == (centre - reach, centre + reach)


def test_unconditional() -> None:
    net = make_net(WaveformNetConfig(8, 4, 3, n_mels=0))
    assert not any(key.startswith(("upsampler", "mel_convs")) for key in net.state_dict())
    x_t, t = torch.randn(2, 101), torch.tensor([0.0, 3.5])  # any length: there is no hop
    eps = net(x_t, t)
    assert eps.shape == x_t.shape and eps.any()
    assert torch.equal(net(x_t, t, cond=net.condition(None)), eps)


def test_bf16_autocast() -> None:
    net = make_net().requires_grad_(False)
    x_t, t, mel = make_inputs()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        eps = net(x_t, t, mel)
        assert torch.equal(eps, net(x_t, t, cond=net.condition(mel)))
    assert eps.dtype == torch.float32
    exact = net(x_t, t, mel)
    assert 0 < (eps - exact).norm() < 0.03 * exact.norm()


def test_compiles_without_graph_breaks() -> None:
    net = make_net()
    compiled = torch.compile(net, backend="eager", fullgraph=True)
    x_t, t, mel = make_inputs()
    torch.testing.assert_close(compiled(x_t, t, mel), net(x_t, t, mel))
    cond = net.condition(mel)
    torch.testing.assert_close(compiled(x_t, t, cond=cond), net(x_t, t, cond=cond))

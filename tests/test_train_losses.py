"""The two losses: what makes them small, what weighs how much, and where the gradient goes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from signals import speech_like
from tiny import random_model, spectral_config, waveform_config
from torch import Tensor

from diffwave.chain import schedule
from diffwave.chain.gaussian import eps_from_v, q_sample, v_of, x0_from_v
from diffwave.data.crops import Batch
from diffwave.denoiser import Denoiser
from diffwave.errors import InputError
from diffwave.mel import preset
from diffwave.model import DiffusionModel, ModelConfig
from diffwave.train import losses
from diffwave.train.config import LossConfig
from diffwave.train.losses import DenoisingLoss, UnrolledLoss, mel_of

Fake = Callable[[Tensor, Tensor, Tensor], Tensor]
FRAMES = 24
spectral = random_model(spectral_config())
waveform = random_model(waveform_config())


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def crops(model: DiffusionModel, batch: int = 2, frames: int = FRAMES) -> tuple[Tensor, Tensor]:
    length = model.space.context(frames)
    wave = torch.from_numpy(speech_like(3.0))[: batch * length].view(batch, length)
    return wave, randn(batch, length, seed=5)


def denoiser_of(model: DiffusionModel, network: Fake | None = None) -> Denoiser:
    """The model's, or one whose network is replaced."""
    if network is None:
        return model.denoiser
    config = model.config
    call = lambda x, t, mel, prior: network(x, t, mel)  # noqa: E731
    return Denoiser(model.network, config.diffusion, config.normalise, call)


def batch_of(wave: Tensor, white: Tensor, place: float = 0.5, mel: Tensor | None = None) -> Batch:
    """Every example at the same place; white noise [B, L], or [B, 2, L]."""
    white = white if white.ndim == 3 else torch.stack((white, white), 1)
    places = torch.full((len(wave),), place, dtype=torch.float64)
    return Batch(wave, white, places, place, torch.full((len(wave), 5), 0.4), mel)


def value_of(
    loss: losses.Loss, model: DiffusionModel, given: Batch, network: Fake | None = None
) -> Tensor:
    value: Tensor = loss(model, denoiser_of(model, network), given)
    return value


def state_of(model: DiffusionModel, wave: Tensor, white: Tensor) -> tuple[Tensor, Tensor]:
    mel = model.space.mel_of_crop(wave)
    return model.space.encode(wave, mel), model.space.noise(white)


@pytest.mark.parametrize("model", [spectral, waveform])
def test_denoising_is_zero_for_the_oracle(model: DiffusionModel) -> None:
    wave, white = crops(model)
    loss, given = DenoisingLoss(model, LossConfig()), batch_of(wave, white, 0.3)
    alpha_bar = model.denoiser.levels_at(given.place)
    x_0, eps = state_of(model, wave, white)
    level = alpha_bar.view(-1, *[1] * (x_0.ndim - 1))

    def oracle(x_t: Tensor, t: Tensor, mel: Tensor) -> Tensor:
        torch.testing.assert_close(x_t, q_sample(x_0, level, eps))
        torch.testing.assert_close(t, model.denoiser.time(alpha_bar))
        torch.testing.assert_close(mel, model.config.normalise(model.space.mel_of_crop(wave)))
        return v_of(x_0, eps, level) if model is spectral else eps

    assert torch.equal(value_of(loss, model, given, oracle), torch.zeros(2))
    wrong = value_of(loss, model, given, lambda x, t, mel: oracle(x, t, mel) + 1)
    torch.testing.assert_close(wrong, torch.full((2,), 2.0 if model is spectral else 1.0))


def error_in(bins: slice, frames: slice = slice(None), **settings: object) -> float:
    """Loss when the prediction is off by 1 in the real part of these bins and frames."""
    loss = DenoisingLoss(spectral, LossConfig(**settings))  # type: ignore[arg-type]
    wave, white = crops(spectral, 1)
    x_0, eps = state_of(spectral, wave, white)

    level = spectral.denoiser.levels_at(torch.tensor([0.5]))

    def nearly(x_t: Tensor, t: Tensor, mel: Tensor) -> Tensor:
        off = torch.zeros_like(x_t)
        off[:, frames, 0, bins] = 1
        return v_of(x_0, eps, level) + off

    return float(value_of(loss, spectral, batch_of(wave, white), nearly))


def test_denoising_weighs_frequencies() -> None:
    """Bins are 21.5 Hz apart: 1 at 1 kHz, .6 at 4 kHz, .25 at 8 kHz, relative to their mean."""
    low, middle, high = (error_in(slice(k, k + 1)) for k in (46, 186, 372))
    assert middle / low == pytest.approx(0.6, abs=0.01)
    assert high / low == pytest.approx(0.25, abs=0.01)
    assert error_in(slice(None)) == pytest.approx(1, rel=1e-4)
    assert error_in(slice(0, 256), bin_weights=[(0.0, 0.0), (1e4, 0.0), (11025, 1.0)]) == 0


def test_denoising_leaves_the_edges_out() -> None:
    assert error_in(slice(None), slice(0, 4)) == 0
    assert error_in(slice(None), slice(FRAMES - 4, FRAMES)) == 0
    assert error_in(slice(None), slice(4, 5)) == pytest.approx(1 / (FRAMES - 8), rel=1e-4)
    assert error_in(slice(None), slice(0, 4), edge_frames=0) == pytest.approx(4 / FRAMES, rel=1e-4)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0, 1, exclude_max=True, width=32), min_size=1, max_size=12))
def test_levels_follow_their_places(uniform: list[float]) -> None:
    """Example i of B hears an angle, or a step, in the i-th of B equal stretches."""
    size = len(uniform)
    place = (torch.arange(size) + torch.tensor(uniform, dtype=torch.float64)) / size
    found = spectral.denoiser.levels_at(place)
    assert found.dtype == torch.float64
    angles = schedule.angle(found)
    for i, u in enumerate(angles.tolist()):
        assert i / size - 1e-6 <= u <= (i + 1) / size + 1e-6 or u == pytest.approx(1e-3)
        assert u > 9e-4  # clean speech itself is nothing to predict from
    steps = waveform.denoiser.levels_at(place)
    assert waveform.denoiser.trained_levels is not None
    for i, level in enumerate(steps):
        t = int((waveform.denoiser.trained_levels == level).nonzero())
        assert int(50 * i / size) <= t <= 50 * (i + 1) / size


def test_gradient_of_denoising_reaches_the_network() -> None:
    model = random_model(spectral_config()).requires_grad_(True)
    wave, white = crops(model)
    loss = DenoisingLoss(model, LossConfig())
    value_of(loss, model, batch_of(wave, white)).mean().backward()
    for name, parameter in model.network.named_parameters():
        assert parameter.grad is not None, name
        assert bool(torch.isfinite(parameter.grad).all()), name
        assert bool(parameter.grad.any()), name


@pytest.mark.parametrize("name", ["lmnt", "hifigan"])
def test_mel_of_a_crop_has_its_frames(name: str) -> None:
    """A centred convention makes one frame more of a wave without context than there are hops."""
    mel = preset(name)
    model = DiffusionModel(dataclasses.replace(waveform_config(), mel=mel))
    wave, white = crops(model, 1)
    assert model.space.mel_of_crop(wave).shape == (1, 80, FRAMES)
    loss = DenoisingLoss(model, LossConfig())
    assert value_of(loss, model, batch_of(wave, white)).shape == (1,)


def test_an_unconditional_network_hears_no_mel() -> None:
    config = waveform_config()
    network = dataclasses.replace(config.network, n_mels=0)
    model = DiffusionModel(dataclasses.replace(config, network=network))
    wave, white = crops(model)
    loss = DenoisingLoss(model, LossConfig())
    value = value_of(loss, model, batch_of(wave, white))
    torch.testing.assert_close(value, white.square().mean(1))  # it starts by predicting 0


# --- the unrolled loss -----------------------------------------------------------------------

UNROLLED = LossConfig(unrolled_angles=[1.0], unrolled_jitter=0.0, edge_frames=0)


def unrolled_with(generate: str, repulsion: float, seed: int, batch: int = 24) -> float:
    """Mean loss on white noise of gain .1 as recordings, of a one-step network that ignores them.

    The spectral state is whitened by a flat envelope, so a state drawn as noise is decoded to a
    sample of the right distribution. The others are too quiet, or all one and the same sample.
    """
    model = flat_model()
    length = model.space.context(12)
    wave = 0.1 * randn(batch, length, seed=2 * seed)
    white = randn(batch, length, seed=2 * seed + 1)
    fixed = model.space.noise(randn(1, length, seed=12345))

    def network(x_t: Tensor, t: Tensor, mel: Tensor) -> Tensor:
        x_0 = {"right": x_t, "quiet": 0.5 * x_t, "collapsed": fixed.expand_as(x_t)}[generate]
        return -x_0  # v at pure noise

    config = dataclasses.replace(UNROLLED, repulsion=repulsion)
    loss = UnrolledLoss(model, config)
    return float(value_of(loss, model, batch_of(wave, two(white)), network).mean())


def two(white: Tensor) -> Tensor:
    """Noises [B, 2, L] of noises [B, L]: an example's second one is its neighbour's first."""
    return torch.stack((white, white.roll(1, 0)), 1)


def flat_model() -> DiffusionModel:
    model = random_model(spectral_config())
    model.space.envelope_weight.zero_()
    model.space.envelope_bias.fill_(2 * torch.tensor(0.1).log().item())
    return model


@pytest.mark.parametrize("seed", [0, 1])
def test_energy_distance_prefers_the_right_distribution(seed: int) -> None:
    right = unrolled_with("right", 1.0, seed)
    assert right < 0.98 * unrolled_with("collapsed", 1.0, seed)
    assert right < 0.9 * unrolled_with("quiet", 1.0, seed)


def test_collapse_costs_only_where_samples_repel() -> None:
    """Samples that are all alike gain nothing from the repulsion, others do."""
    for generate, gains in (("collapsed", False), ("right", True)):
        without, with_it = unrolled_with(generate, 0.0, 0), unrolled_with(generate, 1.0, 0)
        assert (with_it < 0.9 * without) is gains
        assert with_it <= without


def test_unrolled_is_zero_for_the_recording_itself() -> None:
    model = flat_model()
    wave, white = crops(model)
    x_0 = model.space.encode(wave, model.space.mel_of_crop(wave))

    def network(x_t: Tensor, t: Tensor, mel: Tensor) -> Tensor:
        assert len(x_t) == len(t) == len(mel) == 4
        return -x_0.repeat(2, 1, 1, 1)

    config = LossConfig(unrolled_angles=[1.0], unrolled_jitter=0.0)
    loss = UnrolledLoss(model, config)
    assert float(value_of(loss, model, batch_of(wave, two(white)), network).max()) < 0.05


def test_unrolled_walks_the_whole_chain_with_gradients() -> None:
    model = random_model(spectral_config()).requires_grad_(True)
    wave, white = crops(model)
    heard: list[tuple[Tensor, Tensor, Tensor]] = []

    def network(x_t: Tensor, t: Tensor, mel: Tensor) -> Tensor:
        v = model.network(x_t, t, mel)
        heard.append((x_t.detach(), t, v.detach()))
        return v  # type: ignore[no-any-return]

    loss = UnrolledLoss(model, LossConfig(unrolled_angles=[1.0, 0.6, 0.3]))
    value = value_of(loss, model, batch_of(wave, two(white)), network)
    assert value.shape == (2,)
    assert [float(t[0]) for _, t, _ in heard] == pytest.approx([1.0, 0.6, 0.3])
    noise = model.space.noise(torch.cat((white, white.flip(0))))
    assert torch.equal(heard[0][0], noise)
    levels = loss.levels(0.5)
    for (x, _, v), (after, _, _), level, lower in zip(
        heard, heard[1:], levels, levels[1:], strict=False
    ):
        x_0, eps = x0_from_v(x, v, level), eps_from_v(x, v, level)
        torch.testing.assert_close(after, q_sample(x_0, lower, eps), rtol=1e-3, atol=1e-4)
    value.mean().backward()
    for name, parameter in model.network.named_parameters():
        assert parameter.grad is not None, name
        assert bool(torch.isfinite(parameter.grad).all()), name


@settings(max_examples=30, deadline=None)
@given(st.floats(0, 1), st.floats(0, 1))
def test_levels_move_together_but_the_first(one: float, other: float) -> None:
    loss = UnrolledLoss(spectral, LossConfig(unrolled_angles=[1.0, 0.7, 0.4], unrolled_jitter=0.2))
    u, w = (schedule.angle(loss.levels(place)) for place in (one, other))
    assert float(u[0]) == 1
    assert float(u[1]) == pytest.approx(0.7 + 0.2 * (2 * one - 1), abs=1e-6)
    torch.testing.assert_close((u - w)[1:], torch.full((2,), 0.4 * (one - other)).double())


def test_crops_too_short_for_its_spectra_are_refused() -> None:
    wave, white = crops(spectral, frames=20)
    loss = UnrolledLoss(spectral, LossConfig())
    with pytest.raises(InputError, match=r"data\.crop_frames"):
        value_of(loss, spectral, batch_of(wave, two(white)))


def test_waveform_network_can_be_unrolled_too() -> None:
    config: ModelConfig = waveform_config()
    model = random_model(config).requires_grad_(True)
    wave, white = crops(model)
    loss = UnrolledLoss(model, LossConfig(unrolled_angles=[0.6, 0.3], unrolled_jitter=0.05))
    value = value_of(loss, model, batch_of(wave, two(white), 0.2))
    value.mean().backward()
    assert bool(torch.isfinite(value).all())


@pytest.mark.parametrize("config", [spectral_config(), waveform_config()])
def test_levels_may_stay_on_the_cpu(config: ModelConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch's device without data stands in for a graphics card."""
    model = random_model(config)
    wave, white = crops(model)
    mel = mel_of(model, wave, None).to("meta")  # the frontend's autocast does not know the device
    monkeypatch.setattr(losses, "mel_of", lambda *_: mel)
    model.to("meta")
    given = batch_of(wave, white).to(torch.device("meta"))
    angles = LossConfig(unrolled_angles=[0.6, 0.4], unrolled_jitter=0.05)
    for loss in DenoisingLoss(model, LossConfig()), UnrolledLoss(model, angles):
        value = value_of(loss, model, given)
        assert (value.device.type, value.dtype, value.shape) == ("meta", torch.float32, (2,))


@pytest.mark.parametrize("kind", [DenoisingLoss, UnrolledLoss])
def test_a_mel_that_is_given_is_the_condition(kind: type[losses.Loss]) -> None:
    """That of the wave makes no difference; another one reaches the network, normalised."""
    wave, white = crops(spectral)
    mel, loss = spectral.space.mel_of_crop(wave), kind(spectral, LossConfig())
    seen: list[Tensor] = []

    def network(x_t: Tensor, t: Tensor, mel: Tensor) -> Tensor:
        seen.append(mel)
        return torch.zeros_like(x_t)

    def value(mel: Tensor | None) -> Tensor:
        return value_of(loss, spectral, batch_of(wave, two(white), mel=mel), network)

    assert torch.equal(value(None), value(mel))
    assert not torch.equal(value(None), value(mel + 0.5))
    assert torch.equal(seen[-1][:2], spectral.config.normalise(mel + 0.5))


def test_losses_of_an_example_do_not_depend_on_the_others() -> None:
    """What a batch is split into makes no difference."""
    wave, white = crops(spectral, 3)
    noises = torch.stack((white, 0.5 * white.flip(0)), 1)
    unrolled = UnrolledLoss(spectral, LossConfig())
    whole = value_of(unrolled, spectral, batch_of(wave, noises, 0.3))
    for i in range(3):
        alone = batch_of(wave[i : i + 1], noises[i : i + 1], 0.3)
        found = value_of(unrolled, spectral, alone)
        torch.testing.assert_close(found[0], whole[i], rtol=1e-4, atol=1e-5)

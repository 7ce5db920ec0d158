"""What the mel enhancer learns from, and what counts as its error."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from signals import speech_like
from tiny import enhancing_config, random_model, spectral_config
from torch import Tensor

from diffwave.errors import InputError
from diffwave.mel import preset
from diffwave.model import DiffusionModel
from diffwave.networks import MelEnhancerConfig
from diffwave.spaces import SpectralConfig
from diffwave.train.config import LossConfig
from diffwave.train.restoration import REACH, EnhancementLoss, smoothed

FRAMES = 24
SURE = 50.0
"""Logit of a gate without doubt."""


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def model_of(name: str = "hifigan") -> DiffusionModel:
    mel, config = preset(name), enhancing_config()
    return random_model(dataclasses.replace(config, mel=mel, space=SpectralConfig.of(mel)))


def examples(model: DiffusionModel, size: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    """Waves, noise and draws."""
    length = model.space.context(FRAMES)
    wave = torch.from_numpy(speech_like(size * length / 22050 + 0.1))[: size * length]
    draws = torch.rand((size, 5), generator=torch.Generator().manual_seed(1))
    return wave.view(size, length), randn(size, length), draws


class Listener:
    """Stands in for the enhancer: notes the mel that it is given, and answers as it should."""

    def __init__(self, answer: Callable[[Tensor], tuple[Tensor, Tensor]]) -> None:
        self.answer, self.given = answer, torch.empty(0)

    def __call__(self, mel: Tensor) -> tuple[Tensor, Tensor]:
        self.given = mel
        return self.answer(mel)


def listen(
    model: DiffusionModel,
    monkeypatch: pytest.MonkeyPatch,
    answer: Callable[[Tensor], tuple[Tensor, Tensor]] = lambda mel: (mel, mel[:, 0]),
) -> Listener:
    listener = Listener(answer)
    monkeypatch.setattr(model, "enhance_gated", listener)
    return listener


# --- smoothing -------------------------------------------------------------------------------


def gaussian(mel: Tensor, deviation: float, dim: int, reach: int) -> np.ndarray:  # type: ignore[type-arg]
    if deviation < 1e-3:
        return mel.numpy()
    return ndimage.gaussian_filter1d(mel.numpy(), deviation, axis=dim, mode="nearest", radius=reach)


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.tuples(st.floats(0, 3), st.floats(0, 3)), min_size=1, max_size=3),
    st.integers(1, 30),
    st.integers(0, 2**31),
)
def test_smoothing_is_scipys_gaussian_filter(
    deviations: list[tuple[float, float]], frames: int, seed: int
) -> None:
    """Each example with its own deviations; the widest decides where all are cut off."""
    mel = randn(len(deviations), 7, frames, seed=seed)
    over_time, over_bands = torch.tensor(deviations).unbind(1)
    found = smoothed(mel, over_time, over_bands)
    reaches = [math.ceil(REACH * float(column.max())) for column in (over_time, over_bands)]
    for row, one, (time, bands) in zip(found, mel, deviations, strict=True):
        expected = torch.from_numpy(gaussian(one, time, 1, reaches[0]))
        expected = torch.from_numpy(gaussian(expected, bands, 0, reaches[1]))
        torch.testing.assert_close(row, expected, rtol=1e-3, atol=1e-4)


def test_no_deviation_changes_nothing() -> None:
    mel = randn(2, 5, 9)
    none = torch.zeros(2)
    assert torch.equal(smoothed(mel, none, none), mel)
    some = smoothed(mel, torch.tensor([0.0, 1.0]), none)
    assert torch.equal(some[0], mel[0])
    assert not torch.allclose(some[1], mel[1], atol=0.1)


@settings(deadline=None, max_examples=30)
@given(st.floats(0, 4), st.floats(0, 4), st.floats(-12, 3))
def test_weights_sum_to_one(frames: float, bands: float, value: float) -> None:
    """A mel of one value keeps it to the ends, and a spike in the middle keeps its sum."""
    deviations = torch.tensor([frames]), torch.tensor([bands])
    flat = torch.full((1, 6, 11), value)
    torch.testing.assert_close(smoothed(flat, *deviations), flat, rtol=1e-4, atol=1e-4)
    spike = torch.zeros(1, 41, 41)
    spike[0, 20, 20] = 1
    blurred = smoothed(spike, *deviations)
    assert float(blurred.sum()) == pytest.approx(1, abs=1e-4)
    torch.testing.assert_close(blurred, blurred.flip(1, 2), rtol=1e-4, atol=1e-6)


# --- what the enhancer is given -----------------------------------------------------------------


def test_recordings_pass_and_the_others_are_blurred(monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of()
    wave, white, draws = examples(model)
    listener = listen(model, monkeypatch)
    mel = model.space.mel_of_crop(wave)
    draws[:, 0] = torch.tensor([0.1, 0.9, 0.5])
    EnhancementLoss(model, LossConfig(enhancement_share=0.5)).of(model, wave, white, draws)
    same = [torch.equal(one, other) for one, other in zip(listener.given, mel, strict=True)]
    assert same == [False, True, True]


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_share_of_none_or_all(share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of()
    wave, white, draws = examples(model)
    draws[0, 0], draws[1, 0] = 0.0, 1 - 2**-24  # the ends of what is drawn
    listener = listen(model, monkeypatch, lambda mel: (model.space.mel_of_crop(wave), gates))
    gates = torch.full((3, FRAMES), SURE if share else -SURE)
    config = LossConfig(enhancement_share=share)
    loss = EnhancementLoss(model, config).of(model, wave, white, draws)
    same = [torch.equal(a, b) for a, b in zip(listener.given, model.space.mel_of_crop(wave))]  # noqa: B905
    assert same == [not share] * 3
    # A perfect enhancer pays nothing but the constant under the roots.
    torch.testing.assert_close(loss, torch.full((3,), 1.5e-3), rtol=1e-3, atol=1e-5)
    gates = -gates
    loss = EnhancementLoss(model, config).of(model, wave, white, draws)
    torch.testing.assert_close(loss, torch.full((3,), SURE + 1.5e-3), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("where", "over_time", "over_bands"),
    [(0.1, True, False), (0.5, True, True), (0.9, False, True)],
)
def test_a_third_is_blurred_over_time_a_third_over_bands(
    where: float, over_time: bool, over_bands: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = model_of()
    wave, white, draws = examples(model)
    draws[:, 0], draws[:, 1] = 0, where
    listener = listen(model, monkeypatch)
    config = LossConfig(enhancement_share=1.0, enhancement_blur=1.2, enhancement_noise=0.0)
    EnhancementLoss(model, config).of(model, wave, white, draws)
    mel = model.space.mel_of_crop(wave)
    expected = smoothed(mel, 1.2 * draws[:, 2] * over_time, 1.2 * draws[:, 3] * over_bands)
    torch.testing.assert_close(listener.given, expected)


@pytest.mark.parametrize("name", ["hifigan", "espnet"])
def test_noise_is_in_nepers(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of(name)
    wave, white, draws = examples(model)
    draws[:, 0], draws[:, 4] = 0, torch.tensor([0.0, 0.5, 1.0])
    listener = listen(model, monkeypatch)
    config = LossConfig(enhancement_share=1.0, enhancement_blur=0.0, enhancement_noise=0.2)
    EnhancementLoss(model, config).of(model, wave, white, draws)
    added = (listener.given - model.space.mel_of_crop(wave)) / model.mel.slope
    torch.testing.assert_close(
        added.std((1, 2)), torch.tensor([0.0, 0.1, 0.2]), rtol=0.05, atol=1e-5
    )


def test_predicted_mels_are_heard_in_place_of_blurred_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of()
    wave, white, draws = examples(model)
    draws[:, 0] = torch.tensor([0.1, 0.9, 0.2])
    listener = listen(model, monkeypatch)
    mel = model.space.mel_of_crop(wave)
    predicted = mel + randn(*mel.shape)
    EnhancementLoss(model, LossConfig(enhancement_share=0.5)).of(
        model, wave, white, draws, predicted
    )
    assert torch.equal(listener.given, torch.stack((predicted[0], mel[1], predicted[2])))


# --- what it is told -------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["hifigan", "espnet"])
def test_an_error_counts_in_nepers(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One neper in each of 80 bands is sqrt(80), in natural and in decimal logarithms."""
    model = model_of(name)
    wave, white, draws = examples(model)
    mel, gates = model.space.mel_of_crop(wave), torch.full((3, FRAMES), -SURE)
    listen(model, monkeypatch, lambda _: (mel + model.mel.slope, gates))
    loss = EnhancementLoss(model, LossConfig(enhancement_share=0.0)).of(model, wave, white, draws)
    expected = math.sqrt(80) + 0.5e-3  # and frames that do not change
    torch.testing.assert_close(loss, torch.full((3,), expected), rtol=1e-4, atol=0)


def test_the_change_from_frame_to_frame_counts_half(monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of()
    wave, white, draws = examples(model)
    mel, gates = model.space.mel_of_crop(wave), torch.full((3, FRAMES), -SURE)
    sign = (-1.0) ** torch.arange(FRAMES)
    listen(model, monkeypatch, lambda _: (mel + sign, gates))
    loss = EnhancementLoss(model, LossConfig(enhancement_share=0.0)).of(model, wave, white, draws)
    torch.testing.assert_close(loss, torch.full((3,), 2 * math.sqrt(80)), rtol=1e-4, atol=0)


def test_frames_whose_context_is_cut_off_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of()
    wave, white, draws = examples(model)
    mel, gates = model.space.mel_of_crop(wave), torch.full((3, FRAMES), -SURE)
    edges = torch.ones(FRAMES)
    edges[5:-5] = 0
    listen(model, monkeypatch, lambda _: (mel + edges, gates + 2 * SURE * edges))
    few = EnhancementLoss(model, LossConfig(enhancement_share=0.0, edge_frames=4))
    enough = EnhancementLoss(model, LossConfig(enhancement_share=0.0, edge_frames=5))
    assert bool((few.of(model, wave, white, draws) > 1).all())
    assert bool((enough.of(model, wave, white, draws) < 0.01).all())


def test_gradients_reach_the_enhancer_alone() -> None:
    model = model_of().requires_grad_(True)
    wave, white, draws = examples(model)
    EnhancementLoss(model, LossConfig()).of(model, wave, white, draws).mean().backward()
    assert model.enhancer is not None
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.enhancer.parameters())
    assert all(p.grad is None for p in model.network.parameters())


def test_an_enhancer_that_leaves_recordings_alone_has_finite_gradients(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """At no error at all the length has no gradient of its own."""
    model = model_of()
    wave, white, draws = examples(model)
    change = torch.zeros(3, 80, FRAMES, requires_grad=True)
    listen(model, monkeypatch, lambda mel: (mel + change, change[:, 0]))
    EnhancementLoss(model, LossConfig(enhancement_share=0.0)).of(
        model, wave, white, draws
    ).sum().backward()
    assert change.grad is not None and bool(change.grad.isfinite().all())


def test_a_model_without_an_enhancer_is_refused() -> None:
    model = random_model(spectral_config())
    with pytest.raises(InputError, match="no mel enhancer"):
        EnhancementLoss(model, LossConfig()).of(model, *examples(model))


def test_it_learns() -> None:
    """To tell blurred mels from recordings', and to sharpen them."""
    torch.manual_seed(0)
    sizes = MelEnhancerConfig(channels=32, layers=2)
    model = DiffusionModel(dataclasses.replace(enhancing_config(), enhancer=sizes))
    assert model.enhancer is not None
    loss = EnhancementLoss(model, LossConfig(enhancement_noise=0.0))
    wave, white, draws = examples(model, 6)
    draws[:, 0] = torch.linspace(0, 0.99, 6)
    draws[:, 1:4] = torch.tensor([0.5, 0.9, 0.9])
    optimizer = torch.optim.AdamW(model.enhancer.parameters(), lr=5e-3)
    losses = []
    for _ in range(60):
        value = loss.of(model, wave, white, draws).mean()
        value.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(value.detach()))
    assert losses[-1] < 0.7 * losses[0]
    mel, blur = model.space.mel_of_crop(wave), torch.full((6,), 1.6 * 0.9)
    with torch.no_grad():
        told, sure = (model.enhance_gated(m)[1] for m in (mel, smoothed(mel, blur, blur)))
    assert float((sure - told).mean()) > 0.5

"""What mel enhancer and source predictor learn from, and what counts as their error."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from signals import speech_like
from tiny import enhancing_config, randn, random_model, source_config, spectral_config
from torch import Tensor

from diffwave.base.errors import InputError
from diffwave.data.crops import Batch
from diffwave.mel import preset
from diffwave.model import DiffusionModel
from diffwave.train.config import LossConfig
from diffwave.train.mel_losses import REACH, EnhancementLoss, SourceLoss, smoothed

FRAMES = 24
SURE = 50.0
"""Logit of a gate without doubt."""


def model_of(name: str = "hifigan") -> DiffusionModel:
    mel, config = preset(name), enhancing_config()
    return random_model(dataclasses.replace(config, mel=mel))


def batch_of(model: DiffusionModel, size: int = 3) -> Batch:
    length = model.space.context(FRAMES)
    wave = torch.from_numpy(speech_like(size * length / 22050 + 0.1))[: size * length]
    draws = torch.rand((size, 5), generator=torch.Generator().manual_seed(1))
    white = randn(size, length)[:, None]
    return Batch(wave.view(size, length), white, torch.zeros(size), 0.0, draws)


def loss_of(model: DiffusionModel, batch: Batch, **settings: float) -> Tensor:
    loss = EnhancementLoss(model, LossConfig(**settings))  # type: ignore[arg-type]
    value: Tensor = loss(model, model.denoiser, batch)
    return value


Answer = Callable[[Tensor], tuple[Tensor, Tensor]]


def given_to_enhancer(
    model: DiffusionModel,
    batch: Batch,
    answer: Answer = lambda mel: (mel, mel[:, 0]),
    **settings: float,
) -> tuple[Tensor, Tensor]:
    """The mel that the enhancer is given, and the loss of what it answers."""
    with mock.patch.object(model, "enhance_gated", side_effect=answer) as enhance:
        loss = loss_of(model, batch, **settings)
    (given,) = enhance.call_args.args
    return given, loss


# --- smoothing -------------------------------------------------------------------------------


@settings(max_examples=30)
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
    columns = torch.tensor(deviations).unbind(1)
    reaches = [math.ceil(REACH * float(column.max())) for column in columns]
    for row, one, both in zip(smoothed(mel, *columns), mel, deviations, strict=True):
        expected = one.numpy()
        for axis, deviation, reach in zip((1, 0), both, reaches, strict=True):
            if deviation >= 1e-3:
                expected = ndimage.gaussian_filter1d(
                    expected, deviation, axis=axis, mode="nearest", radius=reach
                )
        torch.testing.assert_close(row, torch.from_numpy(expected), rtol=1e-3, atol=1e-4)


# --- what the enhancer is given --------------------------------------------------------------


@pytest.mark.parametrize(
    ("share", "damaged"), [(0.0, [0, 0, 0]), (0.5, [1, 0, 0]), (1.0, [1, 1, 1])]
)
def test_recordings_pass_and_the_others_are_damaged(share: float, damaged: list[int]) -> None:
    """A perfect enhancer pays nothing but the constant under the roots, and for a wrong gate."""
    model = model_of()
    batch = batch_of(model)
    batch.draws[:, 0] = torch.tensor([0.1, 0.5, 1 - 2**-24])
    mel, predicted = model.space.mel_of_crop(batch.wave), randn(3, 80, FRAMES)
    for brought in (None, predicted):
        batch.mel = brought
        for right in (1, -1):
            gates = right * SURE * (2 * torch.tensor(damaged)[:, None].expand(3, FRAMES) - 1.0)
            answer: Answer = lambda _, gates=gates: (mel, gates)  # noqa: E731
            given, loss = given_to_enhancer(model, batch, answer, enhancement_share=share)
            expected = torch.full((3,), 1.5e-3 + (SURE if right < 0 else 0))
            torch.testing.assert_close(loss, expected, rtol=1e-3, atol=1e-5)
        for i, other in enumerate(damaged):
            assert torch.equal(given[i], mel[i]) != bool(other)
            assert torch.equal(given[i], predicted[i]) == bool(other and brought is not None)


@pytest.mark.parametrize(
    ("where", "over_time", "over_bands"),
    [(0.1, True, False), (0.5, True, True), (0.9, False, True)],
)
def test_a_third_is_blurred_over_time_a_third_over_bands(
    where: float, over_time: bool, over_bands: bool
) -> None:
    model = model_of()
    batch = batch_of(model)
    batch.draws[:, :2] = torch.tensor([0, where])
    given, _ = given_to_enhancer(model, batch, enhancement_blur=1.2, enhancement_noise=0.0)
    frames, bands = 1.2 * batch.draws[:, 2] * over_time, 1.2 * batch.draws[:, 3] * over_bands
    torch.testing.assert_close(given, smoothed(model.space.mel_of_crop(batch.wave), frames, bands))


@pytest.mark.parametrize("name", ["hifigan", "espnet"])
def test_noise_is_in_nepers(name: str) -> None:
    model = model_of(name)
    batch = batch_of(model)
    batch.draws[:, 0], batch.draws[:, 4] = 0, torch.tensor([0.0, 0.5, 1.0])
    given, _ = given_to_enhancer(model, batch, enhancement_blur=0.0, enhancement_noise=0.2)
    added = (given - model.space.mel_of_crop(batch.wave)) / model.mel.slope
    expected = torch.tensor([0.0, 0.1, 0.2])
    torch.testing.assert_close(added.std((1, 2)), expected, rtol=0.05, atol=1e-5)


# --- what is an error ------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["hifigan", "espnet"])
@pytest.mark.parametrize("kind", ["constant", "changing", "edges"])
def test_an_error_counts_in_nepers(name: str, kind: str) -> None:
    """One neper in each of 80 bands is sqrt(80), in natural and in decimal logarithms.

    The change from frame to frame counts half; frames whose context is cut off do not count.
    """
    model = model_of(name)
    batch = batch_of(model)
    mel, gates = model.space.mel_of_crop(batch.wave), torch.full((3, FRAMES), -SURE)
    place = torch.arange(FRAMES)
    sign = {
        "constant": torch.ones(FRAMES),
        "changing": (-1.0) ** place,
        "edges": ((place < 4) | (place >= FRAMES - 4)).float(),
    }[kind]
    answer = mel + sign * model.mel.slope, gates + 2 * SURE * (kind == "edges") * sign
    _, loss = given_to_enhancer(model, batch, lambda _: answer, enhancement_share=0.0)
    expected = {"constant": math.sqrt(80) + 0.5e-3, "changing": 2 * math.sqrt(80), "edges": 1.5e-3}
    torch.testing.assert_close(loss, torch.full((3,), expected[kind]), rtol=1e-3, atol=1e-5)


def test_gradients_are_finite_where_there_is_no_error() -> None:
    """At no error at all the length has no gradient of its own."""
    model = model_of()
    change = torch.zeros(3, 80, FRAMES, requires_grad=True)
    answer: Answer = lambda mel: (mel + change, change[:, 0])  # noqa: E731
    _, loss = given_to_enhancer(model, batch_of(model), answer, enhancement_share=0.0)
    loss.sum().backward()
    assert change.grad is not None and bool(change.grad.isfinite().all())


def test_a_model_without_the_part_is_refused() -> None:
    model = random_model(spectral_config())
    with pytest.raises(InputError, match="no mel enhancer"):
        loss_of(model, batch_of(model))
    model = random_model(source_config())
    with pytest.raises(InputError, match="needs recordings whose source was analysed"):
        SourceLoss(model, LossConfig())(model, model.denoiser, batch_of(model))

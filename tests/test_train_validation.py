"""What a run is judged by: reproducible numbers, and what a listener finds in TensorBoard."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from signals import speech_like
from tiny import enhancing_config, random_model, spectral_config, waveform_config
from torch import Tensor

from diffwave.data.crops import Clip
from diffwave.eval import metrics
from diffwave.train import validation
from diffwave.train.config import LossConfig
from diffwave.train.validation import (
    LEVELS,
    LISTENED,
    picture,
    spread,
    validate,
)

spectral = random_model(spectral_config())


class Notes:
    """Stands in for TensorBoard's writer."""

    def __init__(self) -> None:
        self.audio: dict[str, Tensor] = {}
        self.images: dict[str, Tensor] = {}

    def add_audio(self, tag: str, wave: Tensor, step: int, sample_rate: int) -> None:
        assert (step, sample_rate) == (7, 22050)
        self.audio[tag] = wave

    def add_image(self, tag: str, image: Tensor, step: int) -> None:
        assert step == 7
        self.images[tag] = image


def clip(seconds: float, seed: int = 0) -> Clip:
    samples = (speech_like(seconds, 22050, seed) * 32768).astype(np.int16)
    return Clip(f"clip{seed}", samples)


def judge(
    clips: list[Clip], model: object = spectral, config: LossConfig | None = None
) -> tuple[dict[str, float], Notes]:
    notes = Notes()
    config = config or LossConfig()
    return validate(model, config, clips, notes, 7), notes  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def no_pesq(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the package is not installed: PESQ takes most of the time."""
    monkeypatch.setattr(validation, "choose_metrics", lambda names: ({}, {"pesq": "missing"}))


@pytest.mark.parametrize("config", [spectral_config(), waveform_config()])
def test_losses_are_fixed_numbers(config: object) -> None:
    model = random_model(config)  # type: ignore[arg-type]
    clips = [clip(0.3, 0), clip(0.2, 1)]
    values, _ = judge(clips, model)
    torch.manual_seed(12)  # nothing is left to chance
    assert judge(clips, model)[0] == values
    levels = [values[f"loss_level_{i}"] for i in range(LEVELS)]
    assert values.keys() == {"loss_validation", *(f"loss_level_{i}" for i in range(LEVELS))}
    assert all(map(math.isfinite, levels))
    assert values["loss_validation"] == pytest.approx(sum(levels) / LEVELS)
    assert not any(p.grad is not None for p in model.parameters())


def test_losses_are_taken_of_the_end_of_a_clip(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validation, "CROP_FRAMES", 20)
    length = spectral.space.context(20)
    long = clip(0.7)
    end = Clip("end", long.samples[-length:])
    values, _ = judge([long])
    again, _ = judge([end])
    assert values == again


def test_an_enhancer_is_judged_by_smoothed_mels() -> None:
    model = random_model(enhancing_config())
    clips = [clip(0.6), clip(0.5, 1)]
    both, _ = judge(clips, model)
    assert both == judge(clips, model)[0]
    assert both.keys() > {"loss_validation", "loss_enhancement"}
    alone, notes = judge(clips, model, LossConfig(denoising=0.0))
    assert alone == {"loss_enhancement": both["loss_enhancement"]}
    assert not notes.audio  # the network is as it was
    without = judge(clips, model, LossConfig(enhancement=0.0))[0]
    assert without.keys() == both.keys() - {"loss_enhancement"}
    # Where nothing is blurred, a closed gate leaves only what the gate is wrong by.
    with torch.no_grad():
        model.enhancer.output.weight.zero_()  # type: ignore[union-attr]
        model.enhancer.output.bias.fill_(-3.0)  # type: ignore[union-attr]
    still = LossConfig(denoising=0.0, enhancement_blur=0.0, enhancement_noise=0.0)
    gate, change = 1 / (1 + math.exp(3)), -3.0 * 2.5
    error = abs(gate * change) * math.sqrt(80)
    assert judge(clips, model, still)[0]["loss_enhancement"] == pytest.approx(
        error + math.log1p(math.exp(3)), rel=1e-2
    )


def test_some_clips_are_generated() -> None:
    seconds = (0.5, 0.3, 0.6, 0.7)
    clips = [clip(s, i) for i, s in enumerate(seconds)]
    _, notes = judge(clips)
    assert len(notes.images) == LISTENED == 3
    for i in range(LISTENED):
        original, generated = (notes.audio[f"clip{i}/{kind}"] for kind in ("original", "generated"))
        assert original.shape == generated.shape
        assert len(clips[i].samples) - original.shape[1] < 256
        torch.testing.assert_close(original[0], clips[i].wave()[: original.shape[1]])
        assert 0 < float(generated.abs().max()) <= 1
        image = notes.images[f"clip{i}/spectrogram"]
        assert image.shape == (1, 2 * 512, math.ceil(original.shape[1] / 132))
        assert 0 <= image.min() < 0.5 and image.max() == 1


def test_scores_are_means_of_what_can_be_scored(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = iter([1.5, float("nan"), 2.5])
    scorer = replace(metrics.METRICS["pesq"], function=lambda a, b, rate: next(scores))
    distance = replace(metrics.METRICS["mr_stft"], function=lambda a, b, rate: 0.75)
    found = {"pesq": scorer, "mr_stft": distance}
    monkeypatch.setattr(validation, "choose_metrics", lambda names: (found, {}))
    values, _ = judge([clip(0.4, i) for i in range(3)])
    assert values["pesq"] == 2.0
    assert values["mr_stft"] == 0.75
    scores = iter([float("nan")])
    assert "pesq" not in judge([clip(0.4)])[0]


def test_too_little_to_judge_by() -> None:
    assert judge([])[0] == {}
    values, notes = judge([Clip("tiny", np.ones(500, np.int16))])
    assert values == {}
    assert not notes.audio
    short = Clip("short", clip(0.4).samples[:1500])  # a mel, but no frame between the edges
    values, notes = judge([short])
    assert values == {}
    assert notes.audio["short/generated"].shape[1] <= 1500


def test_picture_stands_upright() -> None:
    original = np.full((3, 5), -40, np.float32)
    original[0, 0] = 0  # the lowest bin
    original[2, 1] = -90
    image = picture(original, np.full((3, 5), 9, np.float32))
    assert image.shape == (1, 6, 5)
    assert (image[0, 2, 0], image[0, 0, 1], image[0, 1, 2]) == (1, 0, 0.5)
    assert (image[0, 3:] == 1).all()


def test_clips_with_a_mel_are_judged_by_it() -> None:
    """Both the loss and what is generated hear it; that of the recording changes little."""
    frames = 40
    samples = clip(0.6).samples[: frames * 256]
    own = spectral.mel(torch.from_numpy(samples / np.float32(32768)))[:, :frames].numpy()
    plain, notes = judge([Clip("one", samples)])
    paired, heard = judge([Clip("one", samples, own)])
    assert paired["loss_validation"] == pytest.approx(plain["loss_validation"], rel=0.1)
    other, changed = judge([Clip("one", samples, own + 1)])
    assert other["loss_validation"] != paired["loss_validation"]
    before, same, louder = (each.audio["one/generated"] for each in (notes, heard, changed))
    torch.testing.assert_close(same, before, rtol=1e-3, atol=1e-4)
    assert float(louder.std()) > 1.5 * float(same.std())


def test_a_limited_validation_looks_at_clips_from_all_over_the_list() -> None:
    clips = [Clip(str(i), np.zeros(1, np.int16)) for i in range(10)]
    assert spread(clips, 0) == clips and spread(clips, 99) == clips
    assert [clip.name for clip in spread(clips, 3)] == ["0", "3", "6"]
    assert [clip.name for clip in spread(clips, 10)] == [clip.name for clip in clips]
    assert spread([], 3) == [] and spread([], 0) == []

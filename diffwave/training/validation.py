"""What a run is judged by: loss by noise level, and speech generated from held-out mels."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from diffwave import schedule
from diffwave.evaluation.metrics import choose_metrics
from diffwave.model import DiffusionModel
from diffwave.samplers import get_sampler
from diffwave.streaming import generate
from diffwave.training.data import Clip
from diffwave.training.losses import DenoisingLoss

LEVELS = 8
CROP_FRAMES = 256
"""Frames at the end of a clip of which the loss is taken; shorter clips give all they have."""
LISTENED = 3
"""Clips that are generated for TensorBoard."""


@torch.no_grad()
def validate(
    model: DiffusionModel,
    loss_of: DenoisingLoss,
    clips: list[Clip],
    writer: SummaryWriter,
    step: int,
) -> dict[str, float]:
    """Loss on fixed crops and fixed noise, and the PESQ of what is generated.

    Also writes the values, the generated audio and pictures of it to TensorBoard.

    Args:
        model: with the weights to judge.
        loss_of: the denoising loss of that model.
        clips: never trained on; those too short for a loss, or a mel, are passed over.
        writer: of TensorBoard.
        step: under which the values are written.

    Returns:
        "loss_level_0" (least noise) .. and their mean "loss_validation"; "pesq", the mean over
        `LISTENED` clips, if the package pesq is installed. None of them without clips.
    """
    values = _losses(model, loss_of, clips) | _listen(model, clips, writer, step)
    for name, value in values.items():
        writer.add_scalar(f"validation/{name}", value, step)
    return values


def _losses(model: DiffusionModel, loss_of: DenoisingLoss, clips: list[Clip]) -> dict[str, float]:
    device = next(model.parameters()).device
    rng = np.random.default_rng(0)
    levels = _levels(model)
    losses = []
    for clip in clips:
        length = _longest_crop(model, len(clip.samples), 2 * loss_of.edge + 1)
        if length:
            wave = clip.wave()[None, -length:].to(device)
            white = torch.from_numpy(rng.standard_normal((1, length), np.float32)).to(device)
            losses.append([float(loss_of(model.network, wave, white, a)) for a in levels])
    if not losses:
        return {}
    means = np.mean(losses, axis=0)
    values = {f"loss_level_{i}": float(mean) for i, mean in enumerate(means)}
    return values | {"loss_validation": float(means.mean())}


def _levels(model: DiffusionModel) -> list[Tensor]:
    """alpha_bar [1] of the middle of each of `LEVELS` equal stretches of the chain."""
    place = (torch.arange(LEVELS) + 0.5) / LEVELS
    if model.trained_levels is None:
        return list(schedule.alpha_bar_of_angle(place)[:, None])
    return list(model.trained_levels[(place * len(model.trained_levels)).long()][:, None])


def _longest_crop(model: DiffusionModel, samples: int, at_least: int) -> int:
    """Samples of the longest crop of up to `CROP_FRAMES` frames; 0 if not even `at_least` fit."""
    whole = model.representation.context(0)
    frames = min(CROP_FRAMES, (samples - whole) // model.config.mel.hop_length)
    length = model.representation.context(frames)
    return length if frames >= at_least and length >= model.config.mel.n_fft else 0


def _listen(
    model: DiffusionModel, clips: list[Clip], writer: SummaryWriter, step: int
) -> dict[str, float]:
    """Generate the first clips with the model's own steps and sampler; returns their PESQ."""
    device = next(model.parameters()).device
    sample_rate, sampling = model.config.mel.sample_rate, model.config.sampling
    levels, sampler = model.levels(sampling.steps), get_sampler(sampling.sampler)
    pesq = choose_metrics(["pesq"])[0].get("pesq")
    scores = []
    for clip in [clip for clip in clips if len(clip.samples) >= model.config.mel.n_fft][:LISTENED]:
        original = clip.wave()
        mel = model.mel(original.to(device))
        generated = torch.cat(list(generate(model, mel[None], levels, sampler, seed=0)), -1)[0]
        original = original[: len(generated)]
        generated = generated[: len(original)].clamp(-1, 1)
        if len(generated) < model.config.mel.n_fft:
            continue
        again = model.mel(generated.to(device))
        for name, wave in (("original", original), ("generated", generated)):
            writer.add_audio(f"{clip.name}/{name}", wave[None], step, sample_rate)
        writer.add_image(f"{clip.name}/mel", picture(mel.cpu(), again.cpu()), step)
        if pesq is not None:
            scores.append(pesq.function(original.numpy(), generated.numpy(), sample_rate))
    scores = [score for score in scores if math.isfinite(score)]
    return {"pesq": float(np.mean(scores))} if scores else {}


def picture(original: Tensor, generated: Tensor) -> Tensor:
    """Two mels [n_mels, T], the original above, low bands at the bottom, as grey [1, 2 n_mels, T].

    Black and white are the least and the greatest value of the original. Of mels that differ in
    length the common part is shown.
    """
    frames = min(original.shape[1], generated.shape[1])
    both = torch.cat((original[:, :frames].flip(0), generated[:, :frames].flip(0)))
    low, high = original.min(), original.max()
    return ((both - low) / (high - low).clamp_min(1e-6)).clamp(0, 1)[None]

"""What a run is judged by: loss by noise level, and speech generated from held-out mels."""

from __future__ import annotations

import numpy as np
import torch
from torch.utils.tensorboard import SummaryWriter

from diffwave import schedule
from diffwave.model import DiffusionModel
from diffwave.training.data import Clip
from diffwave.training.losses import DenoisingLoss

LEVELS = 8
CROP_FRAMES = 256
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
    """Loss on fixed crops and fixed noise, per level of noise and on average.

    Also writes generated audio and pictures of it to TensorBoard.
    """
    length = model.representation.context(CROP_FRAMES)
    waves = [clip.wave()[-length:] for clip in clips if len(clip.samples) >= length]
    values: dict[str, float] = {}
    device = next(model.parameters()).device
    if waves:
        wave = torch.stack(waves).to(device)
        rng = np.random.default_rng(0)
        white = torch.from_numpy(rng.standard_normal(wave.shape, np.float32)).to(device)
        for i in range(LEVELS):
            place = torch.full((1,), (i + 0.5) / LEVELS)
            if model.trained_levels is None:
                alpha_bar = schedule.alpha_bar_of_angle(place)
            else:
                alpha_bar = model.trained_levels[(place * len(model.trained_levels)).long()]
            losses = [
                loss_of(model.network, w[None], z[None], alpha_bar)
                for w, z in zip(wave, white, strict=True)
            ]
            values[f"loss_level_{i}"] = float(torch.cat(losses).mean())
        values["loss_validation"] = sum(values.values()) / LEVELS
    for name, value in values.items():
        writer.add_scalar(f"validation/{name}", value, step)
    return values

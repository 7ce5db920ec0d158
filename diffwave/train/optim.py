"""The optimizer of a run and how its learning rate goes."""

from __future__ import annotations

import math

import torch

from diffwave.model import DiffusionModel
from diffwave.train.config import OptimConfig, RunConfig
from diffwave.train.state import Progress


def make_optimizer(model: DiffusionModel, config: OptimConfig) -> torch.optim.AdamW:
    """AdamW of what is to be trained, with weight decay on matrices only."""
    parameters = [p for p in model.learned() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.lr, betas=config.betas, fused=True)


def share_done(progress: Progress, run: RunConfig) -> float:
    """Share of the run that is over, by whichever of the two budgets is nearer its end."""
    return min(1.0, max(progress.step / run.steps, progress.minutes / run.minutes))


def learning_rate(config: OptimConfig, step: int, share: float) -> float:
    """Linear warm-up over the first steps, then a cosine over the share of the run that is done."""
    cosine = config.last_lr + (1 - config.last_lr) * 0.5 * (1 + math.cos(math.pi * share))
    return config.lr * cosine * min(1.0, (step + 1) / max(1, config.warmup_steps))

"""Optimizers of what is trained, and their learning rates."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn

from diffwave.train.config import OptimConfig

DISCRIMINATOR_BETAS = (0.8, 0.99)
"""AdamW's for discriminators (HiFi-GAN, arXiv 2010.05646): what they look at keeps changing."""


def make_optimizer(parameters: Sequence[nn.Parameter], config: OptimConfig) -> torch.optim.AdamW:
    """AdamW of those that are to be trained, with weight decay on matrices only."""
    wanted = [p for p in parameters if p.requires_grad]
    groups = [
        {"params": [p for p in wanted if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in wanted if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.lr, betas=config.betas, fused=True)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give all groups of an optimizer a learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def learning_rate(config: OptimConfig, step: int, share: float) -> float:
    """Linear warm-up over the first steps, then a cosine over the share of the run that is done."""
    cosine = config.last_lr + (1 - config.last_lr) * 0.5 * (1 + math.cos(math.pi * share))
    return config.lr * cosine * min(1.0, (step + 1) / max(1, config.warmup_steps))

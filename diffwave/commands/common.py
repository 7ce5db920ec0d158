"""What several commands share."""

from __future__ import annotations

import argparse

import torch

from diffwave.chain.samplers import get_sampler
from diffwave.vocoder import DEFAULT, Vocoder


def vocoder_of(options: argparse.Namespace) -> Vocoder:
    """The vocoder that the options of `model_arguments` ask for."""
    if options.threads:
        torch.set_num_threads(options.threads)
    if options.sampler is not None:
        get_sampler(options.sampler)  # before any work, and once for a whole folder
    return Vocoder.from_pretrained(options.checkpoint or DEFAULT, options.device)

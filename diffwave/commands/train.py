"""`diffwave train config.yaml --set key=value`: settings, then a run."""

from __future__ import annotations

import logging
import os

from diffwave.base.libraries import needed_for
from diffwave.commands.options import Train
from diffwave.train.settings import described_settings, read_config


def run(options: Train) -> int:
    """Train with the settings of YAML files and `key=value` overrides, or describe the settings."""
    if options.help_settings:
        print(described_settings())
        return 0
    config = read_config(options.config, options.set)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    with needed_for("Training", "train"):
        from diffwave.train.learner import profile
        from diffwave.train.loop import train
    if options.profile:
        if table := profile(config, options.profile):
            print(table)
        return 0
    folder = train(config)
    if int(os.environ.get("RANK", "0")) == 0:  # of the processes that torchrun has started
        print(f"exported {folder}")
    return 0

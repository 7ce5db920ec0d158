"""`diffwave train config.yaml --set key=value`: settings, then a run."""

from __future__ import annotations

import argparse
import logging
import os

from diffwave.train.settings import missing_package, read_config


def run(options: argparse.Namespace) -> int:
    """Train with the settings of a YAML file and `key=value` overrides; returns the exit status.

    Raises:
        InputError: for settings, data or a run folder that cannot be used, or packages not there.
    """
    config = read_config(options.config, options.set)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        from diffwave.train.loop import train
        from diffwave.train.profile import profile
    except ImportError as error:
        raise missing_package(error) from None
    if options.profile:
        found = profile(config, options.profile)
        if found is not None:
            print(found.table())
        return 0
    folder = train(config)
    if int(os.environ.get("RANK", "0")) == 0:  # of the processes that torchrun has started
        print(f"exported {folder}")
    return 0

"""`diffwave info`: what a checkpoint is."""

from __future__ import annotations

import argparse
import json

from diffwave.vocoder import Vocoder, bundled, find_checkpoint


def run(options: argparse.Namespace) -> int:
    """The settings of a checkpoint, or the names of the bundled ones."""
    if options.checkpoint is None:
        print("\n".join(bundled()))
        return 0
    folder = find_checkpoint(options.checkpoint)
    vocoder = Vocoder.from_pretrained(folder, "cpu")
    count = sum(p.numel() for p in vocoder.model.learned())
    print(f"{folder}: {count / 1e6:.2f}M parameters")
    print(json.dumps(vocoder.config.to_dict(), indent=2))
    return 0

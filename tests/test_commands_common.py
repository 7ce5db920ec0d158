"""What several commands share: the vocoder that their options ask for."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from diffwave.commands.common import vocoder_of
from diffwave.errors import InputError


def options(**changes: object) -> argparse.Namespace:
    plain = {"threads": 0, "sampler": None, "checkpoint": None, "device": "cpu"}
    return argparse.Namespace(**(plain | changes))


def test_the_checkpoint_that_is_named(tiny_checkpoint: Path) -> None:
    chosen = vocoder_of(options(checkpoint=str(tiny_checkpoint)))
    assert chosen.config.network.channels == 16
    assert chosen.device.type == "cpu"


def test_a_wrong_sampler_is_told_before_anything_is_loaded() -> None:
    with pytest.raises(InputError, match="'euler'"):
        vocoder_of(options(sampler="euler", checkpoint="missing"))

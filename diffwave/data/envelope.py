"""The envelope of a space, fitted to a corpus and kept beside it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from diffwave.data.crops import Crops
from diffwave.errors import InputError
from diffwave.mel import MelSpectrogram
from diffwave.model import ModelConfig
from diffwave.spaces import SPACES, Space

BATCHES, CROPS_PER_BATCH = 64, 16
"""How much audio a space is fitted to."""


def fitted_space(model: ModelConfig, crops: Crops) -> Space:
    """The space of a model, on the CPU (which has float64), fitted to random crops.

    Clips that bring a mel are represented by that one.
    """
    space = SPACES[model.space.kind][1](model.space, MelSpectrogram(model.mel))
    # Steps that no run reaches, so that these are not the crops of the first steps.
    batches = [crops.batch((1 << 40) + i, CROPS_PER_BATCH) for i in range(BATCHES)]
    space.fit((b.wave, space.mel_of_crop(b.wave) if b.mel is None else b.mel) for b in batches)
    return space


def envelope_path(folder: Path) -> Path:
    """Where a prepared corpus keeps the envelope fitted to it."""
    return folder / "data" / "envelope.safetensors"


def save_envelope(path: Path, space: Space) -> None:
    """Write what a space learned (.safetensors), and what it was fitted for."""
    # Not save_file, which makes a file that only its owner may read.
    state = {name: value.contiguous() for name, value in space.state_dict().items()}
    path.write_bytes(save(state, {"fitted_for": _fitted_for(space)}))


def load_envelope(path: Path, space: Space) -> bool:
    """Give a space what `save_envelope` wrote.

    Returns:
        False if there is no such file, or if it was fitted for another space or other mels.

    Raises:
        InputError: the file is damaged.
    """
    if not path.is_file():
        return False
    try:
        with safe_open(path, "pt") as file:
            if (file.metadata() or {}).get("fitted_for") != _fitted_for(space):
                return False
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no dict)
    except (SafetensorError, OSError) as error:
        raise InputError(f"Cannot read {path}: it is damaged ({error}).") from None
    space.load_state_dict(state)
    return True


def _fitted_for(space: Space) -> str:
    settings = {
        "space": dataclasses.asdict(space.config),  # type: ignore[call-overload]
        "mel": space.frontend.config.to_dict(),
    }
    return json.dumps(settings, sort_keys=True)

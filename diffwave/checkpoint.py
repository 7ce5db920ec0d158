"""A checkpoint is a folder of `config.json` and `model.safetensors`: all that using it needs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from diffwave.base.errors import InputError
from diffwave.base.files import atomic_folder, json_text, read_json
from diffwave.base.migrate import current_state
from diffwave.base.schema import shown, stored
from diffwave.model import DiffusionModel, ModelConfig

FORMAT = 3
"""That is written; every earlier one is read (:mod:`diffwave.base.migrate`)."""
CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
KEPT_IN_FLOAT32 = "space."
"""The envelope spans more than half precision does, and is small."""


def save_checkpoint(
    model: DiffusionModel, folder: str | os.PathLike[str], half: bool = True
) -> None:
    """Write a checkpoint folder, whole or not at all; other files in it are kept.

    Args:
        model: its weights and configuration.
        folder: made or replaced; its parent must exist.
        half: store the network in float16 (it computes in float32 all the same).

    Raises:
        InputError: when the folder cannot be written.
    """
    tensors = {name: tensor.cpu().contiguous() for name, tensor in model.state_dict().items()}
    if half:
        tensors = {n: t if n.startswith(KEPT_IN_FLOAT32) else t.half() for n, t in tensors.items()}
    with atomic_folder(folder) as temporary:
        config = {"format": FORMAT, **stored(model.config)}
        (temporary / CONFIG_FILE).write_text(json_text(config), encoding="utf-8")
        # Not save_file, which makes a file that only its owner may read.
        (temporary / WEIGHTS_FILE).write_bytes(save(tensors, metadata={"format": "pt"}))


def load_config(folder: str | os.PathLike[str]) -> ModelConfig:
    """The configuration of a checkpoint folder; InputError when it is not one."""
    path = Path(folder) / CONFIG_FILE
    if not path.exists():
        raise InputError(f"{folder} is not a checkpoint: it has no {CONFIG_FILE}.")
    data = read_json(path)
    if data.pop("format", None) not in range(1, FORMAT + 1):
        raise InputError(f"{path} is not a configuration of format 1 to {FORMAT} of this package.")
    try:
        return ModelConfig.from_dict(data)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def load_checkpoint(folder: str | os.PathLike[str]) -> DiffusionModel:
    """The model of a checkpoint folder, in float32, in evaluation mode, on the CPU.

    Raises:
        InputError: a missing, truncated or foreign file; weights that do not fit the configuration
            (the first that does not is named); weights that are not finite.
    """
    model = DiffusionModel(load_config(folder))
    path = Path(folder) / WEIGHTS_FILE
    if not path.is_file():
        raise InputError(f"{folder} is not a checkpoint: it has no {WEIGHTS_FILE}.")
    try:
        tensors = current_state(load_file(path))
        _check_weights(tensors, model.state_dict())
    except (SafetensorError, OSError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path} is damaged or not a safetensors file ({reason}).") from None
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    model.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    return model.eval().requires_grad_(False)


def _check_weights(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    for name in sorted(expected.keys() | tensors.keys()):
        if name not in tensors:
            raise InputError(f"The weight {name} is missing.")
        if name not in expected:
            raise InputError(f"The configuration does not have the weight {shown(name)}.")
        if tensors[name].shape != expected[name].shape:
            raise InputError(
                f"The weight {name} has the shape {list(tensors[name].shape)}, but the "
                f"configuration needs {list(expected[name].shape)}."
            )
        if not bool(torch.isfinite(tensors[name]).all()):
            raise InputError(f"The weight {name} holds values that are not finite.")

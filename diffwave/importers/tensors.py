"""The tensors of another project's file, by our names: every one of theirs used, of ours found."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffwave.base.errors import InputError
from diffwave.base.files import read_error
from diffwave.base.schema import shown
from diffwave.importers.layouts import Project, looks_like

_DERIVED = {
    "alphas", "alphas_cumprod", "signal_coefficients", "noise_coefficients", "posterior_variance",
    "posterior_log_variance", "posterior_mean_weight_start", "posterior_mean_weight_step",
    "sample_pred_model_coefficient", "sample_pred_noise_coefficient",
}  # fmt: skip
"""What SpeechBrain's diffusion stores beside the betas that all of it follows from."""
_NORMALISED = (
    (".weight_g", ".weight_v"),
    (".parametrizations.weight.original0", ".parametrizations.weight.original1"),
)
"""How PyTorch calls g and v, before and since 2.0."""


def load(file: Path) -> Any:
    """What a file of PyTorch holds, tensors and plain values only; InputError otherwise."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(file, map_location="cpu", weights_only=True)
    except OSError as error:
        raise read_error(file, error) from None
    except Exception as error:  # of a torn archive there are many kinds
        raise InputError(
            f"Cannot read {file}: it is damaged, no PyTorch checkpoint, or holds Python objects, "
            f"which are not loaded ({type(error).__name__})."
        ) from None


def weights(content: Any, layout: Project) -> tuple[dict[str, Tensor], Mapping[str, Any]]:
    """Tensors by name, and the settings of training where the file has them."""
    content = content if isinstance(content, Mapping) else {}
    params = content.get("params")
    state = content.get(layout.entry) if layout.entry else content
    if state is None:
        hint = looks_like(lambda other: bool(other.entry) and other.entry in content)
        raise InputError(f"a checkpoint of {layout.title} has an entry {layout.entry!r}{hint}.")
    if not isinstance(state, Mapping) or not state:
        raise InputError(f"it holds no weights of {layout.title}.")
    for name, tensor in state.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise InputError(f"{shown(name)} is not the name of a tensor.")
    return dict(state), params if isinstance(params, Mapping) else {}


def own_tensors(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], Tensor | None]:
    """Tensors without wrappers' prefixes and weight normalisation; the betas among them."""
    for prefix in ("module.", "model."):  # of several GPUs, of SpeechBrain's diffusion
        if any(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    betas = state.pop("betas", None)
    if betas is not None:
        state = {name: tensor for name, tensor in state.items() if name not in _DERIVED}
    state = fold_weight_norm(state)
    for name, tensor in state.items():
        if not tensor.is_floating_point() or not bool(torch.isfinite(tensor).all()):
            raise InputError(f"the tensor {shown(name)} is not of finite floating-point numbers.")
    return state, betas


def fold_weight_norm(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights g v / |v| of layers that hold g and v apart, under one name, weight.

    Source: Salimans and Kingma 2016, arXiv 1602.07868, equation 2; |v| is taken over all
    dimensions but the first.
    """
    folded = dict(state)
    for name in state:
        for g_name, v_name in _NORMALISED:
            layer = name.removesuffix(g_name)
            if layer == name or layer + v_name not in state:
                continue
            g, v = folded.pop(name).double(), folded.pop(layer + v_name).double()
            if v.dim() < 2 or g.shape != (len(v), *[1] * (v.dim() - 1)):
                raise InputError(f"the tensor {shown(name)} does not fit its weight.")
            folded[f"{layer}.weight"] = (g * v / v.flatten(1).norm(dim=1).view_as(g)).float()
    return folded


def translated(
    layout: Project, state: Mapping[str, Tensor], expected: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Their tensors under our names; every one of theirs is used, every one of ours is found."""
    ours, used = {}, set()
    for name, wanted in expected.items():
        module, _, kind = name.rpartition(".")
        number = "".join(re.findall(r"\.(\d+)", module))
        pieces = []
        for theirs in layout.names[re.sub(r"\.\d+", ".#", module)]:
            key = f"{theirs.replace('#', number)}.{kind}"
            if key not in state:
                raise InputError(f"it lacks the tensor {key} that {layout.title} has.")
            used.add(key)
            pieces.append(state[key].float())
        fits = all(piece.dim() and piece.shape[1:] == wanted.shape[1:] for piece in pieces)
        if not fits or sum(map(len, pieces)) != len(wanted):
            raise InputError(
                f"the tensor {key} has the shape {list(pieces[-1].shape)}, which its other tensors "
                "do not fit."
            )
        tensor = torch.cat(pieces)
        if layout.signal_first and re.fullmatch(
            r"layers\.\d+\.dilated_conv|mel_convs\.\d+", module
        ):
            tensor = torch.cat(tensor.chunk(2)[::-1])
        ours[name] = tensor
    if unknown := sorted(state.keys() - used):
        raise InputError(f"it holds a tensor {shown(unknown[0])} that {layout.title} has not.")
    return ours

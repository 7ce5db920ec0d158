"""A model as ONNX graphs in a folder, for :mod:`diffwave.onnx.runtime`.

What depends on the mel alone is computed once for all steps: by the graph `condition`, which also
holds the envelope. The graph `step` is one call of the network. What is no network (STFT, pulses,
samplers, mel-consistency iterations) is NumPy's.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from diffwave.base.errors import InputError
from diffwave.base.files import atomic_folder
from diffwave.base.schema import stored
from diffwave.checkpoint import FORMAT as CONFIG_FORMAT
from diffwave.model import DiffusionModel
from diffwave.onnx.layout import ABOUT, CONSTANTS, FORMAT, GRAPHS, OPSET, PRIOR
from diffwave.spaces import Prior, SpectralSpace

EXAMPLE_FRAMES = 40  # of the mel that the networks are traced with; the graphs take any number
LEAST_HALVED = 256  # numbers of the smallest weight that is stored in half precision


class Graph(nn.Module):
    """A function of a model and of what a graph is given."""

    def __init__(self, model: DiffusionModel, function: Callable[..., Any]) -> None:
        super().__init__()
        self.model, self.function = model, function

    def forward(self, *inputs: Tensor) -> Any:
        return self.function(self.model, *inputs)


def _source(model: DiffusionModel, mel: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    f0, voiced, share = model.predict_source(mel)
    return f0, voiced, share


def _condition(model: DiffusionModel, mel: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What all steps and iterations take from a mel."""
    denoiser, space = model.denoiser, model.space
    assert isinstance(space, SpectralSpace)
    cond = denoiser.network.condition(denoiser.normalise(mel))
    return cond, 0.5 * space.log_variance(mel), space.band_levels(mel)


def _step(model: DiffusionModel, x: Tensor, t: Tensor, cond: Tensor, *prior: Tensor) -> Tensor:
    """One call of the network."""
    given = Prior(*prior) if prior else None
    return model.network(x, t, prior=given, cond=cond)  # type: ignore[no-any-return]


def export_onnx(model: DiffusionModel, folder: str | os.PathLike[str], half: bool = True) -> None:
    """Write the folder that `diffwave.onnx.Vocoder` reads, whole or not at all.

    Args:
        model: in evaluation mode, on the CPU; its networks are rounded to float16 if `half`.
        folder: made or replaced; its parent must exist.
        half: store the networks in float16 (they compute in float32 all the same).

    Raises:
        InputError: for a chain on samples or in discrete steps, without the packages that write
            ONNX, or when the folder cannot be written.
    """
    if not isinstance(model.space, SpectralSpace) or model.config.diffusion.schedule != "angle":
        raise InputError(
            "Only a model with a spectral space and noise levels in angles can be exported to ONNX."
        )
    try:
        import onnx
        import onnxscript  # noqa: F401 (PyTorch needs it)
    except ImportError as error:
        raise InputError(
            f"Exporting to ONNX needs {error.name}: pip install 'diffwave[onnx]'."
        ) from None
    if half:
        with torch.no_grad():
            for parameter in model.learned():
                parameter.copy_(parameter.half())
    constants = {"filters": model.mel.unit_filterbank.numpy()}
    constants["ends"] = np.array(model.config.mel.amplitude_range)
    if model.source is not None:
        constants["share_weights"] = model.space.share_weights.numpy()
    with atomic_folder(folder) as temporary:
        for name, function, example in _graphs(model):
            graph = _graph(name, Graph(model, function), example)
            if half:
                _halve(graph)
            onnx.checker.check_model(graph)
            onnx.save(graph, temporary / f"{name}.onnx")
        np.savez(temporary / CONSTANTS, allow_pickle=False, **constants)
        networks = {"network": model.network, "enhancer": model.enhancer, "source": model.source}
        about: dict[str, Any] = {
            "format": FORMAT,
            "opset": OPSET,
            "receptive_field": {n: net.receptive_field for n, net in networks.items() if net},
        }
        about["model"] = {"format": CONFIG_FORMAT, **stored(model.config)}
        # What follows from the mel is written out: the runtime shall not know how.
        space = model.space.config
        about["model"]["space"] |= {"n_fft": space.n_fft, "pad_left": space.pad_left}
        (temporary / ABOUT).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")


def _graphs(model: DiffusionModel) -> list[tuple[str, Callable[..., Any], tuple[Tensor, ...]]]:
    """Names and functions of the graphs, and arguments to trace each with."""
    mel = torch.randn(1, model.config.mel.n_mels, EXAMPLE_FRAMES) - 5
    found: list[tuple[str, Callable[..., Any], tuple[Tensor, ...]]] = []
    if model.enhancer is not None:
        found.append(("enhancer", DiffusionModel.enhance, (mel,)))
    if model.source is not None:
        found.append(("source", _source, (mel,)))
    cond, log_envelope, _ = _condition(model, mel)
    x = torch.randn(1, EXAMPLE_FRAMES, 2, log_envelope.shape[-1])
    # Tensors of their own: one that is given twice would become one input.
    mean, deviation, envelope = torch.randn_like(x), *torch.rand(2, *x[:, :, :1].shape) + 0.5
    prior = (mean, deviation, envelope) if model.source is not None else ()
    step = (x, torch.full((1,), 0.5), cond, *prior)
    return [*found, ("condition", _condition, (mel,)), ("step", _step, step)]


def _graph(name: str, module: nn.Module, example: Sequence[Tensor]) -> Any:
    """The ONNX model of a module, for any number of frames."""
    inputs, outputs = GRAPHS[name]
    inputs += PRIOR[: len(example) - len(inputs)]
    frames = torch.export.Dim("frames", min=2, max=1 << 20)
    # The axis of the frames is the last one of a mel, and else the second.
    shapes = tuple(
        {axis: frames for axis in (x.ndim - 1 if n == "mel" else 1,) if n != "t"}
        for n, x in zip(inputs, example, strict=True)
    )
    with _quiet():
        program = torch.onnx.export(
            module.eval(),
            tuple(example),
            input_names=inputs,
            output_names=outputs,
            opset_version=OPSET,
            dynamo=True,
            dynamic_shapes=(shapes,),
            verbose=False,
        )
    assert program is not None
    graph = program.model_proto
    graph.doc_string = f"diffwave: {name}"
    return graph


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporter prints and logs of its own progress."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _halve(graph: Any) -> None:
    """Store in float16, in place, the weights that lose nothing by it; they are cast when loaded.

    The network was rounded before; what was not, such as the envelope, stays in float32.
    """
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for tensor in graph.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT:
            continue
        values = numpy_helper.to_array(tensor)
        with np.errstate(over="ignore"):
            halved = values.astype(np.float16)
        if values.size >= LEAST_HALVED and np.array_equal(halved.astype(np.float32), values):
            name = tensor.name
            tensor.CopyFrom(numpy_helper.from_array(halved, f"{name}.half"))
            casts.append(helper.make_node("Cast", [tensor.name], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *graph.graph.node]
    del graph.graph.node[:]
    graph.graph.node.extend(nodes)

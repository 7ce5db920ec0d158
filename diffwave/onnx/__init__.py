"""A vocoder as ONNX graphs: the runtime, of NumPy and ONNX Runtime alone, and what writes them.

>>> from diffwave.onnx import Vocoder
>>> wave = Vocoder("voice")(mel)  # mel [80, T] -> wave [T * 256]

The folder is what `diffwave export --onnx` makes. Nothing here imports PyTorch but
:mod:`diffwave.onnx.export`.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from diffwave.onnx.runtime import Vocoder

__all__ = ["Vocoder"]


def __getattr__(name: str) -> Any:
    # Not imported above: the command sets NumPy's threads before NumPy is loaded.
    if name == "Vocoder":
        from diffwave.onnx.runtime import Vocoder

        return Vocoder
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

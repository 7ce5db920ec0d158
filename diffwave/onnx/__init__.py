"""A vocoder as ONNX graphs: the runtime, of NumPy and ONNX Runtime alone, and what writes them.

>>> from diffwave.onnx import Vocoder
>>> wave = Vocoder("voice")(mel)  # mel [80, T] -> wave [T * 256]

The folder is what `diffwave export --onnx` makes. Nothing here imports PyTorch but
:mod:`diffwave.onnx.export`.
"""

from diffwave.onnx.runtime import Vocoder

__all__ = ["Vocoder"]

"""The mel-spectrogram in the body of a request: a .npy, a .safetensors file, or JSON.

Nothing in a body is executed, and nothing is allocated that the body only claims to hold.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable

import msgspec
import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from diffwave.base.errors import InputError
from diffwave.mel import MelConfig, check_mel
from diffwave.serving.errors import Refusal

NPY, SAFETENSORS, JSON = "application/x-npy", "application/safetensors", "application/json"
TYPES = (NPY, SAFETENSORS, JSON)
UNTOLD = ("", "application/octet-stream", "application/x-www-form-urlencoded")
"""What clients say who say nothing (the last is curl's word for any data): the bytes are looked
at."""
MAGIC = b"\x93NUMPY"
LONGEST_HEADER = 4096  # bytes of a .npy's header; that of a mel has 118


class JsonMel(msgspec.Struct):
    """A mel in JSON: a list of bands, each a list of numbers."""

    mel: list[list[float]]


def mel_of_body(body: bytes, content_type: str, config: MelConfig, max_frames: int) -> Tensor:
    """The checked mel [n_mels, T], float32, of a request.

    Args:
        body: all of it.
        content_type: as the request names it; parameters are ignored.
        config: the voice's convention.
        max_frames: of the mel.

    Raises:
        Refusal: 400 for a body that is torn or of another kind, 413 for too many frames, 415 for
            an unknown content type, 422 for an array that is no mel of the convention.
    """
    kind = content_type.partition(";")[0].strip().lower()
    if kind not in _READERS and kind not in UNTOLD:
        raise Refusal(415, f"A mel-spectrogram is posted as {', '.join(TYPES)}, not {kind:.80}.")
    if not body:
        raise Refusal(400, "The body is empty; post a mel-spectrogram.")
    array = _READERS[kind if kind in _READERS else _sniffed(body)](body)
    frames = array.shape[-1] if array.ndim else 0
    if array.ndim == 2 and array.shape[0] != config.n_mels and array.shape[1] == config.n_mels:
        frames = array.shape[0]  # transposed, which is said below
    if frames > max_frames:
        raise Refusal(413, f"The mel has {frames} frames; this service takes {max_frames} at most.")
    try:
        mel = check_mel(array, config)
    except InputError as error:
        raise Refusal(422, error) from None
    if len(mel) != 1:
        raise Refusal(422, f"The body holds {len(mel)} mel-spectrograms; post one at a time.")
    return mel[0]


def _sniffed(body: bytes) -> str:
    if body.startswith(MAGIC):
        return NPY
    return JSON if body.lstrip()[:1] in (b"{", b"[") else SAFETENSORS


def _npy(body: bytes) -> Tensor:
    """The array of a .npy; its header is believed only as far as the bytes go."""
    stream = io.BytesIO(body)
    try:
        version = np.lib.format.read_magic(stream)
        readers = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }
        shape, by_columns, dtype = readers[version](stream, max_header_size=LONGEST_HEADER)
    except Exception:  # ValueError, KeyError, SyntaxError, tokenize's, RecursionError, ...
        raise Refusal(400, "The body is no .npy: its header cannot be read.") from None
    if dtype.hasobject:
        raise Refusal(400, "The .npy holds Python objects (a pickle), which are not loaded.")
    if (
        dtype.kind not in "fiub"
        or dtype.itemsize > 8
        or len(shape) > 8
        or min(shape, default=0) < 0
    ):
        raise Refusal(400, f"The .npy does not hold an array of numbers but {dtype}.")
    start, size = stream.tell(), math.prod(shape) * dtype.itemsize
    if size != len(body) - start:
        wrong = "is truncated" if size > len(body) - start else "goes on after its array"
        raise Refusal(
            400, f"The .npy {wrong}: its header says {size} bytes, and {len(body) - start} follow."
        )
    values = np.frombuffer(body[start:], dtype) if size else np.zeros(0, dtype)
    array = values.reshape(shape, order="F" if by_columns else "C")
    # A copy of its own, in the one byte order that PyTorch knows.
    return torch.from_numpy(np.array(array, dtype.newbyteorder("="), order="C"))


def _safetensors(body: bytes) -> Tensor:
    """The tensor "mel" of a .safetensors file, or its only one."""
    try:
        tensors = safetensors.torch.load(body)
    except (SafetensorError, KeyError, ValueError, TypeError, RuntimeError, OverflowError):
        raise Refusal(400, "The body is no whole .npy, .safetensors or JSON.") from None
    if "mel" in tensors:
        return tensors["mel"]
    if len(tensors) != 1:
        raise Refusal(400, f"The body holds {len(tensors)} tensors; call the mel 'mel'.")
    return next(iter(tensors.values()))


def _json(body: bytes) -> Tensor:
    """The array of `{"mel": [[..], ..]}`."""
    try:
        mel = msgspec.json.decode(body, type=JsonMel).mel
    except msgspec.ValidationError as error:
        raise Refusal(400, f'The JSON is not {{"mel": [[..], ..]}}: {error}.') from None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise Refusal(400, f"The body is no JSON: {error}.".replace("..", ".")) from None
    if len({len(band) for band in mel}) > 1:
        raise Refusal(400, "The bands of the mel have different numbers of frames.")
    try:
        return torch.tensor(mel, dtype=torch.float32)
    except (RuntimeError, OverflowError, ValueError):  # of a number beyond float32
        raise Refusal(422, "The mel holds a number that no 32-bit float holds.") from None


_READERS: dict[str, Callable[[bytes], Tensor]] = {
    NPY: _npy,
    SAFETENSORS: _safetensors,
    JSON: _json,
}

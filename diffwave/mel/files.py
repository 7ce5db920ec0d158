"""Reading mel-spectrograms and pitch that other programs saved, and writing mels."""

from __future__ import annotations

import os
import pickle
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save
from torch import Tensor

from diffwave.base.errors import InputError
from diffwave.base.files import atomic_path

Readers = Mapping[str, Callable[[Path], Any]]
"""What reads a file, by its suffix."""
OUTPUTS = (".npy", ".npz", ".safetensors")
"""Suffixes of what is written."""
KEY = "convention"
"""Of its name in an .npz, and in the metadata of a .safetensors."""
MAX_BYTES = 1 << 31
"""Of the arrays in an archive: days of a mel."""


def read_mel(path: str | os.PathLike[str]) -> Tensor:
    """The array in a .npy, .npz, .pt or .safetensors file, as it is (dtype and shape unchecked).

    A file of several arrays must call one of them "mel". Nothing in a file is ever executed.

    Raises:
        InputError: unknown suffix, unreadable or truncated file, no array, or no telling which.
    """
    return _read(Path(path), READERS, "mel")


def read_f0(path: str | os.PathLike[str]) -> Tensor:
    """F0 of every frame in a .npy file, or a .txt file of one number a line; as `read_mel`."""
    return _read(Path(path), _F0_READERS, "pitch")


def _read(path: Path, readers: Readers, kind: str) -> Tensor:
    return _tensor(_the_mel(content(path, readers, kind), path), path)


def content(path: Path, readers: Readers, kind: str) -> Any:
    """What the reader of a file's suffix makes of it; InputError as for `read_mel`.

    A file of several arrays is a mapping of them by name.
    """
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise InputError(f"{path} is no {kind} file: its name must end in {', '.join(readers)}.")
    if not os.path.isfile(path):  # which answers no for a name with a NUL
        raise InputError(f"There is no file {path}.")
    try:
        with warnings.catch_warnings():  # of old formats and rare tensors; what matters is raised
            warnings.simplefilter("ignore")
            return reader(path)
    except InputError:
        raise
    except Exception as error:  # every format has its own family of errors for a torn file
        if isinstance(error, PermissionError):
            reason = "permission denied"
        elif isinstance(error, MemoryError):
            reason = "it is truncated, or too large for the memory here"
        elif isinstance(error, pickle.UnpicklingError) or "pickle" in str(error):
            reason = "it is damaged, or holds Python objects, which are not loaded"
        else:
            reason = f"it is truncated or not a {path.suffix} file ({type(error).__name__})"
        raise InputError(f"Cannot read {path}: {reason}.") from None


def write_mel(path: str | os.PathLike[str], mel: Tensor, convention: str = "") -> None:
    """Save a mel, float32, whole or not at all; .npz and .safetensors say a named convention too.

    Raises:
        InputError: for another suffix, or when it cannot be written.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in OUTPUTS:
        raise InputError(f"Cannot write {path}: a mel file ends in {', '.join(OUTPUTS)}.")
    mel = mel.cpu().contiguous()
    said: dict[str, Any] = {KEY: convention} if convention else {}
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        if suffix == ".npy":
            np.save(file, mel.numpy())
        elif suffix == ".npz":
            np.savez(file, mel=mel.numpy(), **said)
        else:
            file.write(save({"mel": mel}, said))


def _read_npy(path: Path) -> Any:
    with path.open("rb") as file:  # not np.load, which takes a .npz of this name as well
        return np.lib.format.read_array(file, allow_pickle=False)


def _read_npz(path: Path) -> Any:
    with zipfile.ZipFile(path) as archive:
        if sum(member.file_size for member in archive.infolist()) > MAX_BYTES:
            raise MemoryError  # zeros in their billions compress to a small file
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


READERS: Readers = {
    ".npy": _read_npy,
    ".npz": _read_npz,
    ".pt": lambda path: torch.load(path, map_location="cpu", weights_only=True),
    ".safetensors": load_file,
}
_F0_READERS: Readers = {
    ".npy": _read_npy,
    ".txt": lambda path: np.loadtxt(path, np.float32, ndmin=1),
}
MEL_SUFFIXES, F0_SUFFIXES = tuple(READERS), tuple(_F0_READERS)


def _the_mel(content: Any, path: Path) -> Any:
    if not isinstance(content, Mapping):
        return content
    if "mel" in content:
        return content["mel"]
    arrays = [value for value in content.values() if isinstance(value, np.ndarray | Tensor)]
    if len(arrays) == 1:
        return arrays[0]
    names = ", ".join(map(str, content)) or "nothing"
    raise InputError(f"{path} holds {names}; call the mel-spectrogram 'mel'.")


def _tensor(array: Any, path: Path) -> Tensor:
    if isinstance(array, Tensor) and array.layout == torch.strided and not array.is_meta:
        return array.detach()
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiub":
        raise InputError(f"{path} does not hold an array of numbers.")
    if array.dtype == np.longdouble:
        array = array.astype(np.float64)
    native = array.dtype.newbyteorder("=")  # the only byte order that PyTorch knows
    return torch.from_numpy(np.ascontiguousarray(array, dtype=native))

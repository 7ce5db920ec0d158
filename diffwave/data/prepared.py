"""A corpus on disk: large files of raw samples, mapped into memory, and an index of clips.

Crops are drawn at random as a pure function of the step, which a mapped file answers by address,
with no state to save and no memory held but what the system can take back. Tar streams (WebDataset,
lhotse Shar) are read in order through shuffling buffers, whose content a resumed run would have to
restore.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
import os
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from diffwave.base.errors import InputError
from diffwave.base.files import json_text, read_json
from diffwave.base.schema import convert, strictly
from diffwave.data.config import DataConfig
from diffwave.data.crops import Clip
from diffwave.data.source import frame_count
from diffwave.mel import MelConfig

INDEX = "corpus.json"
FORMAT = "diffwave corpus 1"
TRAIN, VALIDATION = "train", "validation"
LEAST_VALIDATION = 4
"""Clips held out when no patterns say which, if they are no more than a quarter."""


@dataclass(frozen=True)
class Entry:
    """Where one clip lies."""

    name: str
    file: str  # the recording, relative to the folder of the audio
    split: str  # "train" or "validation"
    shard: int
    start: int  # samples into the shard
    length: int  # samples
    mel_shard: int = -1  # -1: the clip has no mel of its own
    mel_start: int = 0  # frames into the shard
    source_shard: int = -1  # -1: the source was not analysed
    source_start: int = 0  # frames of its own into the shard
    polarity: int = 1  # -1: the pulses point down


def matches(file: str, patterns: list[str]) -> bool:
    """Whether the name of a file is one that the patterns hold out for validation."""
    return any(fnmatch(Path(file).name, pattern) for pattern in patterns)


def split(entries: list[Entry], data: DataConfig) -> list[Entry]:
    """The clips with some of them held out for validation; their names alone decide.

    Those whose recording matches `data.validation`; without patterns `data.prepare`'s share of
    them, at least `LEAST_VALIDATION` but at most a quarter, which are the first in the order of the
    digests of their names: a clip that is added moves few others.
    """
    if data.validation:
        held_out = {entry.name for entry in entries if matches(entry.file, data.validation)}
    else:
        share = math.ceil(data.prepare.validation_share * len(entries))
        count = min(max(LEAST_VALIDATION, share), len(entries) // 4) if share else 0
        names = [entry.name for entry in entries]
        digest = {name: hashlib.sha256(os.fsencode(name)).hexdigest() for name in names}
        held_out = set(sorted(names, key=digest.__getitem__)[:count])
    return [
        dataclasses.replace(entry, split=VALIDATION if entry.name in held_out else TRAIN)
        for entry in entries
    ]


@dataclass(frozen=True)
class StoredFile:
    """What a file must be."""

    bytes: int
    sha256: str


def stored_file(path: Path) -> StoredFile:
    """Size and checksum of a file; InputError if it cannot be read."""
    try:
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
            return StoredFile(path.stat().st_size, digest)
    except OSError as error:
        raise InputError(f"Cannot read {path}: {error.strerror}.") from None


class ShardWriter:
    """Appends arrays to the file `folder`/`stem`-00000.raw, which is made when there is one.

    Use as a context manager. Earlier versions began another file, -00001.raw, after 1 GiB.
    """

    def __init__(self, folder: Path, stem: str) -> None:
        self.path = folder / _shard_name(stem, 0)
        self.files: dict[str, StoredFile] = {}
        """Size and checksum by name, once it is closed."""
        self._file: BinaryIO | None = None

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._file is not None:
            self._file.close()
            self.files[self.path.name] = stored_file(self.path)

    def append(self, array: NDArray[Any]) -> tuple[int, int]:
        """Write an array [rows, ..]; returns its shard, and the rows that lie before it there."""
        data = array.astype(array.dtype.newbyteorder("<"), order="C", copy=False).tobytes()
        self._file = self._file or self.path.open("wb")
        start = self._file.tell() * len(array) // len(data)
        self._file.write(data)
        return 0, start


def _shard_name(stem: str, number: int) -> str:
    return f"{stem}-{number:05d}.raw"


@dataclass
class Prepared:
    """A prepared corpus: samples int16, mels float32, little-endian, in the files of `files`."""

    folder: Path
    mel: MelConfig
    """Whose sample rate the samples have, and whose convention the mels are in."""
    source: str
    """Digest of the audio and the settings it was prepared from."""
    files: dict[str, StoredFile]
    entries: list[Entry]
    source_bands: tuple[float, ...] = ()
    """Limits of the bands of its clips' sources, in Hz; none: they were not analysed."""
    _maps: dict[str, NDArray[Any]] = field(default_factory=dict)

    def clip(self, entry: Entry) -> Clip:
        """A clip whose arrays are read-only views of the mapped files; InputError without them."""
        place = entry.shard, entry.start, entry.length
        samples = self._rows(entry, "samples", *place, "<i2", 1)[:, 0]
        mel = source = None
        if entry.mel_shard >= 0:
            place = entry.mel_shard, entry.mel_start, entry.length // self.mel.hop_length
            mel = self._rows(entry, "mels", *place, "<f4", self.mel.n_mels).T
        if entry.source_shard >= 0:
            rows = frame_count(entry.length, self.mel.sample_rate)
            place = entry.source_shard, entry.source_start, rows
            source = self._rows(entry, "sources", *place, "<f4", 1 + len(self.source_bands))
        return Clip(entry.name, samples, mel, source, entry.polarity)

    def _rows(
        self, entry: Entry, stem: str, shard: int, start: int, count: int, dtype: str, width: int
    ) -> NDArray[Any]:
        """Rows start .. start + count - 1 [count, width] of a shard."""
        name = _shard_name(stem, shard)
        path = self.folder / "data" / name
        if name in self.files and name not in self._maps:
            try:
                self._maps[name] = np.memmap(path, np.dtype(dtype), "r").reshape(-1, width)
            except OSError as error:
                raise InputError(f"Cannot read {path}: {error.strerror}.") from None
        rows = self._maps.get(name, np.empty((0, width)))[max(start, 0) :][:count]
        if min(start, count) < 0 or len(rows) != count:
            raise _damaged(self.folder / INDEX, f"{entry.name!r:.80} lies outside its shard")
        return rows

    def save(self) -> None:
        """Write the index into the folder."""
        index = {
            "format": FORMAT,
            "mel": self.mel,
            "source": self.source,
            "source_bands": self.source_bands,
            "files": self.files,
            "clips": self.entries,
        }
        (self.folder / INDEX).write_text(json_text(index, indent=1), "utf-8")

    def damaged(self, progress: bool = True) -> list[str]:
        """Names of the files whose checksum is not that of the index; reads everything."""
        names = tqdm(self.files, desc="checking", unit="file", disable=not progress)
        data = self.folder / "data"
        return [name for name in names if stored_file(data / name) != self.files[name]]


def is_prepared(folder: Path) -> bool:
    """Whether a folder is one that `diffwave prepare` made."""
    return (folder / INDEX).is_file()


def open_prepared(folder: Path) -> Prepared:
    """The corpus in a folder; its files are there and as long as they should be.

    InputError if the index cannot be read, was written by another version, or does not fit them.
    """
    path = folder / INDEX
    index = read_json(path)
    if (known := index.get("format")) != FORMAT:
        raise InputError(f"{path} is of the format {known!r}, not {FORMAT!r}; prepare it again.")
    try:
        prepared = Prepared(
            folder,
            strictly(MelConfig, index["mel"], "a mel"),
            index["source"],
            convert(index["files"], dict[str, StoredFile], "Its files"),
            convert(index["clips"], list[Entry], "Its clips"),
            convert(index.get("source_bands", []), tuple[float, ...], "Its source_bands"),
        )
    except (InputError, KeyError) as error:
        raise _damaged(path, str(error).rstrip(".")) from None
    for name, file in prepared.files.items():
        place = folder / "data" / name
        size = place.stat().st_size if place.is_file() else 0
        if size != file.bytes:
            raise InputError(
                f"{place} has {size} bytes instead of {file.bytes}: the corpus was not copied "
                "whole."
            )
    return prepared


def _damaged(path: Path, reason: str) -> InputError:
    return InputError(f"{path} is damaged ({reason}); prepare the corpus again, with --force.")

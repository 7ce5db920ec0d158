"""A corpus on disk: a few large files of raw samples, mapped into memory, and an index of clips.

Crops are drawn at random as a pure function of the step, which a mapped file answers by address,
with no state to save and no memory held but what the system can take back. Tar streams (WebDataset,
lhotse Shar) are read in order through shuffling buffers, whose content a resumed run would have to
restore.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from diffwave.data.clip import Clip
from diffwave.data.source import Track, frame_count
from diffwave.errors import InputError
from diffwave.files import read_json
from diffwave.mel import MelConfig
from diffwave.schema import convert

INDEX = "corpus.json"
FORMAT = "diffwave corpus 1"
SHARD_BYTES = 1 << 30  # each file that is mapped holds a descriptor, of which there are ~1000
TRAIN, VALIDATION = "train", "validation"


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


@dataclass(frozen=True)
class StoredFile:
    """What a file must be."""

    bytes: int
    sha256: str


class ShardWriter:
    """Appends arrays to files `folder`/`stem`-00000.raw, .., and notes their checksums.

    A file is closed once it holds `SHARD_BYTES`; no array is split. Use as a context manager.
    """

    def __init__(self, folder: Path, stem: str) -> None:
        self.folder, self.stem = folder, stem
        self.files: dict[str, StoredFile] = {}
        self._file: BinaryIO | None = None

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(self, *exc: object) -> None:
        self._close()

    def append(self, array: NDArray[Any]) -> tuple[int, int]:
        """Write an array [rows, ..]; returns its shard, and the rows that lie before it there."""
        data = array.astype(array.dtype.newbyteorder("<"), order="C", copy=False).tobytes()
        if self._file is not None and self._file.tell() + len(data) > SHARD_BYTES:
            self._close()
        if self._file is None:
            self._file = (self.folder / shard_name(self.stem, len(self.files))).open("wb")
        start = self._file.tell() * len(array) // len(data)
        self._file.write(data)
        return len(self.files), start

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            path = Path(self._file.name)
            self.files[path.name] = stored_file(path)
            self._file = None


def shard_name(stem: str, number: int) -> str:
    """Name of a shard."""
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
    _maps: dict[tuple[str, int], NDArray[Any]] = field(default_factory=dict)

    def samples(self, entry: Entry) -> NDArray[np.int16]:
        """Samples [L] of a clip, a read-only view of the mapped file."""
        rows = self._mapped("samples", entry.shard, "<i2", 1)
        return rows[entry.start : entry.start + entry.length, 0]

    def mel_of(self, entry: Entry) -> NDArray[np.float32] | None:
        """Mel [n_mels, T] of a clip of T * hop_length samples, a view too; None without one."""
        if entry.mel_shard < 0:
            return None
        end = entry.mel_start + entry.length // self.mel.hop_length
        frames = self._mapped("mels", entry.mel_shard, "<f4", self.mel.n_mels)
        return frames[entry.mel_start : end].T

    def source_of(self, entry: Entry) -> Track | None:
        """What excites a clip, a view too; None where it was not analysed."""
        if entry.source_shard < 0:
            return None
        end = entry.source_start + frame_count(entry.length, self.mel.sample_rate)
        rows = self._mapped("sources", entry.source_shard, "<f4", 1 + len(self.source_bands))
        return rows[entry.source_start : end]

    def clip(self, entry: Entry) -> Clip:
        """All of a clip, mapped."""
        return Clip(
            entry.name,
            self.samples(entry),
            self.mel_of(entry),
            self.source_of(entry),
            entry.polarity,
        )

    def _mapped(self, stem: str, number: int, dtype: str, width: int) -> NDArray[Any]:
        """All rows [.., width] of a shard."""
        if (stem, number) not in self._maps:
            path = self._path(shard_name(stem, number))
            try:
                self._maps[stem, number] = np.memmap(path, np.dtype(dtype), "r").reshape(-1, width)
            except OSError as error:
                raise InputError(f"Cannot read {path}: {error.strerror}.") from None
        return self._maps[stem, number]

    def save(self) -> None:
        """Write the index into the folder."""
        index = {
            "format": FORMAT,
            "mel": self.mel.to_dict(),
            "source": self.source,
            "source_bands": self.source_bands,
            "files": {name: dataclasses.asdict(file) for name, file in self.files.items()},
        }
        clips = ",\n  ".join(json.dumps(dataclasses.asdict(entry)) for entry in self.entries)
        text = json.dumps(index, indent=1).removesuffix("\n}")
        (self.folder / INDEX).write_text(f'{text},\n "clips": [\n  {clips}\n ]\n}}\n', "utf-8")

    def damaged(self, progress: bool = True) -> list[str]:
        """Names of the files whose checksum is not that of the index; reads everything."""
        names = tqdm(self.files, desc="checking", unit="file", disable=None if progress else True)
        return [name for name in names if stored_file(self._path(name)) != self.files[name]]

    def _path(self, name: str) -> Path:
        return self.folder / "data" / name


def stored_file(path: Path) -> StoredFile:
    """Size and checksum of a file; InputError if it cannot be read."""
    try:
        with path.open("rb") as stream:
            return StoredFile(
                path.stat().st_size, hashlib.file_digest(stream, "sha256").hexdigest()
            )
    except OSError as error:
        raise InputError(f"Cannot read {path}: {error.strerror}.") from None


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
            MelConfig.from_dict(index["mel"]),
            index["source"],
            convert(index["files"], dict[str, StoredFile], "Its files"),
            convert(index["clips"], list[Entry], "Its clips"),
            convert(index.get("source_bands", []), tuple[float, ...], "Its source_bands"),
        )
    except (InputError, KeyError) as error:
        raise _damaged(path, str(error).rstrip(".")) from None
    _check(prepared)
    return prepared


def _damaged(path: Path, reason: str) -> InputError:
    return InputError(f"{path} is damaged ({reason}); prepare the corpus again, with --force.")


def _check(prepared: Prepared) -> None:
    for name, file in prepared.files.items():
        path = prepared._path(name)
        size = path.stat().st_size if path.is_file() else 0
        if size != file.bytes:
            raise InputError(
                f"{path} has {size} bytes instead of {file.bytes}: the corpus was not copied whole."
            )
    hop, n_mels = prepared.mel.hop_length, prepared.mel.n_mels
    for entry in prepared.entries:
        ends = [(2 * (entry.start + entry.length), shard_name("samples", entry.shard))]
        if entry.mel_shard >= 0:
            frames = entry.mel_start + entry.length // hop
            ends.append((4 * n_mels * frames, shard_name("mels", entry.mel_shard)))
        if entry.source_shard >= 0:
            frames = entry.source_start + frame_count(entry.length, prepared.mel.sample_rate)
            row = 4 * (1 + len(prepared.source_bands))
            ends.append((row * frames, shard_name("sources", entry.source_shard)))
        if min(entry.start, entry.length, entry.mel_start, entry.source_start) < 0 or any(
            name not in prepared.files or end > prepared.files[name].bytes for end, name in ends
        ):
            raise _damaged(prepared.folder / INDEX, f"{entry.name!r:.80} lies outside its shard")

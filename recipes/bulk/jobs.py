"""Which mels are to be spoken, which have been, and where the results go."""

from __future__ import annotations

import csv
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Annotated, Any

import fsspec
from msgspec import Meta

from diffwave.base.audio import write_audio
from diffwave.base.errors import InputError
from diffwave.base.files import find_files, make_folder, read_error, remove_leftovers
from diffwave.base.schema import convert
from diffwave.mel.files import MEL_SUFFIXES

MANIFESTS = (".csv", ".jsonl")


@dataclass(frozen=True)
class Job:
    """A mel, and the name of its speech without a suffix, which no other has."""

    id: str
    mel: str
    """A path, or an address that fsspec knows."""


def is_remote(place: str) -> bool:
    """Whether this is an address, such as s3://bucket/folder, and not a path."""
    return "://" in place


def read_jobs(source: str) -> list[Job]:
    """The jobs of a folder of mels, or of a manifest.

    Args:
        source: a folder, which is searched with its subfolders; or a .csv with a column `mel`, or a
            .jsonl of objects with a key `mel`, and in either perhaps `id`. Without it a relative
            path is its own id, and an absolute one its last part. Paths are relative to the
            manifest.

    Raises:
        InputError: it cannot be read, holds no mel, or two of one id.
    """
    if source.lower().endswith(MANIFESTS):
        jobs = [_job(row, line, source) for line, row in _rows(source)]
    else:
        if not is_remote(source) and not Path(source).is_dir():
            raise InputError(f"There is no folder {source}; a manifest ends in .csv or .jsonl.")
        jobs = [Job(name, mel) for name, mel in listed(source, MEL_SUFFIXES)]
    if not jobs:
        raise InputError(f"There is no mel in {source}.")
    seen: dict[str, str] = {}
    for job in jobs:
        _check_id(job)
        if job.id in seen:
            raise InputError(f"{seen[job.id]} and {job.mel} have the same id {job.id}.")
        seen[job.id] = job.mel
    return jobs


def listed(place: str, suffixes: tuple[str, ...]) -> list[tuple[str, str]]:
    """Names within a folder, or below an address, without their suffixes; and where they are."""
    if not is_remote(place):
        files = find_files(Path(place), suffixes)
        return [(f.relative_to(place).with_suffix("").as_posix(), str(f.absolute())) for f in files]
    try:
        system, root = fsspec.url_to_fs(place)
        names = sorted(name for name in system.find(root) if name.lower().endswith(suffixes))
    except FileNotFoundError:
        names = []
    except (OSError, ValueError, ImportError) as error:
        raise InputError(f"Cannot list {place}: {error}.") from None
    top = root.rstrip("/") + "/"
    return [
        (str(PurePosixPath(name.removeprefix(top)).with_suffix("")), system.unstrip_protocol(name))
        for name in names
    ]


def _rows(source: str) -> Iterator[tuple[int, Any]]:
    """The rows of a manifest with the numbers of their lines."""
    try:
        with fsspec.open(source, "rt", encoding="utf-8-sig", newline="") as file:
            if source.lower().endswith(".csv"):
                reader = csv.DictReader(file)
                yield from ((reader.line_num, dict(row)) for row in reader)
            else:
                yield from _json_rows(file, source)
    except OSError as error:
        raise read_error(source, error) from None
    except (UnicodeDecodeError, csv.Error, ImportError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"Cannot read {source}: {error}.") from None


def _json_rows(file: IO[str], source: str) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            raise InputError(f"Line {number} of {source} is not valid JSON.") from None
        yield number, row


@dataclass
class _Row:
    mel: Annotated[str, Meta(min_length=1)]
    id: str | None = None


def _job(values: Any, line: int, source: str) -> Job:
    row = convert(values, _Row, f"Line {line} of {source}: ", strict=True)
    mel, name = row.mel, row.id
    path = PurePosixPath(mel)
    relative = not (path.is_absolute() or is_remote(mel))
    name = name or str(path.with_suffix("") if relative else path.stem)
    if relative:
        folder = os.path.dirname(source if is_remote(source) else os.path.abspath(source))
        mel = f"{folder}/{mel}"
    return Job(name, mel)


def _check_id(job: Job) -> None:
    parts = job.id.split("/")
    if any(part in ("", "..") or part.startswith(".") for part in parts) or "\0" in job.id:
        raise InputError(f"The id {job.id!r:.80} of {job.mel} cannot be the name of a file.")


class Results:
    """Where the speech goes: a folder, or an address that fsspec writes to."""

    def __init__(self, place: str, suffix: str) -> None:
        self.place, self.suffix, self.remote = place.rstrip("/"), suffix, is_remote(place)

    def name(self, id: str) -> str:
        """Path or address of the speech of a job."""
        return f"{self.place}/{id}{self.suffix}"

    def done(self) -> set[str]:
        """Ids of all speech that is there: a file under its own name is whole."""
        return {name for name, _ in listed(self.place, (self.suffix,))}

    def write(self, id: str, wave: Iterable[Any], sample_rate: int) -> int:
        """Store speech whole or not at all; how many samples were clipped.

        Beside its place and then renamed, or, where fsspec writes, made here and then uploaded:
        object stores show an upload when it is complete.
        """
        target = self.name(id)
        if not self.remote:
            make_folder(Path(target).parent)
            return write_audio(target, wave, sample_rate)
        with tempfile.TemporaryDirectory(prefix="diffwave-") as folder:
            local = Path(folder) / f"speech{self.suffix}"
            clipped = write_audio(local, wave, sample_rate)
            system, path = fsspec.url_to_fs(target)
            system.makedirs(os.path.dirname(path), exist_ok=True)
            system.put_file(str(local), path)
        return clipped

    def remove_leftovers(self) -> None:
        """Delete what killed workers left half written; of a folder that no other run writes to."""
        if not self.remote:
            for folder, _, _ in os.walk(self.place):
                remove_leftovers(Path(folder))


@contextmanager
def local_copy(mel: str) -> Iterator[str]:
    """The path of a mel, which is fetched first if it is elsewhere."""
    if not is_remote(mel):
        yield mel
        return
    with tempfile.TemporaryDirectory(prefix="diffwave-") as folder:
        local = Path(folder) / f"mel{PurePosixPath(mel).suffix}"
        with fsspec.open(mel, "rb") as source, local.open("wb") as file:
            shutil.copyfileobj(source, file)
        yield str(local)

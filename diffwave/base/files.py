"""Finding files, working through them, and writing so that a reader never sees half a file.

Everything is first written beside the target, under a hidden name, and renamed into place once it
is safely on the disk. A crash, a full disk or Ctrl-C leaves the earlier file as it was; so does
SIGTERM, of which :mod:`diffwave.cli` makes an exception.
"""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import re
import secrets
import shutil
import stat
import tempfile
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from diffwave.base.errors import InputError

_In = TypeVar("_In")
_Out = TypeVar("_Out")


def find_files(
    folder: Path, suffixes: Collection[str], deep: bool = True, kind: str = ""
) -> list[Path]:
    """The files of a folder whose names have one of the suffixes, in any case; sorted.

    What begins with a dot is left out, folders too: other programs' notes about a file (macOS
    writes ``._a.wav`` beside ``a.wav``), and what a killed writer left.

    Args:
        folder: InputError if it cannot be listed.
        suffixes: in lower case, with the dot.
        deep: search subfolders as well, but not links to them.
        kind: what the files are, in a word; then InputError if there is none.
    """
    if not folder.is_dir():
        raise InputError(f"There is no folder {folder}.")

    def refuse(error: OSError) -> None:
        raise read_error(error.filename, error) from error

    found: list[Path] = []
    for place, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if deep and not name.startswith(".")]
        found += (Path(place, name) for name in names if not name.startswith("."))
    chosen = sorted(path for path in found if path.suffix.lower() in suffixes)
    if kind and not chosen:
        raise InputError(f"There is no {kind} ({', '.join(suffixes)}) below {folder}.")
    return chosen


def in_order(
    pool: Executor, work: Callable[[_In], _Out], items: Iterable[_In], ahead: int
) -> Iterator[_Out]:
    """What `work` makes of each item, in their order, no more than `ahead` + 1 of them begun.

    The pool is shut down at the end.
    """
    waiting: deque[Future[_Out]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it; InputError where that cannot be done."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_error(folder, error) from error


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` when the block succeeds.

    The temporary file exists, empty, when the block starts (so a folder that cannot be written to
    is reported before any work is done); it ends in ``.tmp``, so a writer must be given the format.
    A symbolic link at `path` is kept and its target replaced; permissions are kept.

    Raises:
        InputError: no such folder, no permission, `path` is not a regular file, the disk is full.
            Errors of the block that do not concern this file pass through unchanged.
    """
    target = _resolve(path, stat.S_ISREG, "a regular file")
    with _beside(path, target) as temporary:
        os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
        yield temporary
        if target.exists():
            shutil.copymode(target, temporary)
        _sync(temporary)
        os.replace(temporary, target)


@contextmanager
def atomic_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a new, empty folder beside `path`; when the block succeeds it becomes `path`.

    A folder already at `path` is replaced as a whole, except that entries the new folder does not
    hold are carried over: a model card that somebody added to a checkpoint survives the next save.
    No portable call swaps two folders, so replacing takes two renames. Between them the old folder
    exists only as ``.<token>.old``, beside; if the second fails the first is undone.

    Raises:
        InputError: as for `atomic_path`; `path` is a file, or the folder we are in.
    """
    target = _resolve(path, stat.S_ISDIR, "a folder")
    if Path.cwd().is_relative_to(target):  # after the swap we would be nowhere
        raise InputError(f"Cannot write {os.fspath(path)}: it is, or holds, the current folder.")
    with _beside(path, target) as temporary:
        temporary.mkdir()
        yield temporary
        for entry in temporary.rglob("*"):
            if entry.is_file() and not entry.is_symlink():
                _sync(entry)
        if not target.exists():
            os.rename(temporary, target)
            return
        shutil.copymode(target, temporary)
        old = _hidden_sibling(target, ".old")
        os.rename(target, old)
        try:
            os.rename(temporary, target)
        except BaseException:
            os.rename(old, target)
            raise
        for entry in old.iterdir():
            if not os.path.lexists(target / entry.name):
                os.rename(entry, target / entry.name)
        shutil.rmtree(old, ignore_errors=True)


def remove_leftovers(folder: Path) -> None:
    """Delete what a process that was killed while it wrote has left in a folder.

    Only for a folder that nobody else writes to now.
    """
    for entry in folder.iterdir():
        if re.fullmatch(r"\.[0-9a-f]{16}\.(tmp(\..*)?|old)", entry.name):
            _remove(entry)


def read_error(path: str | os.PathLike[str], error: OSError) -> InputError:
    """The sentence for a file or folder that could not be read."""
    return InputError(f"Cannot read {os.fspath(path)}: {_reason(error)}.")


def write_error(path: str | os.PathLike[str], error: OSError) -> InputError:
    """The sentence for a file that could not be written."""
    reason = _reason(error)
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        reason = f"there is no folder {Path(path).parent}"
    return InputError(f"Cannot write {os.fspath(path)}: {reason}.")


def disk_is_full(error: InputError) -> bool:
    """Whether that is why a file could not be written."""
    return any(reason in str(error) for reason in _NO_ROOM.values())


_NO_ROOM = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "the disk quota is used up"}


def _reason(error: OSError) -> str:
    return _NO_ROOM.get(error.errno or 0) or error.strerror or str(error)


def _resolve(path: str | os.PathLike[str], is_right_kind: Callable[[int], bool], kind: str) -> Path:
    """Where `path` leads; InputError unless nothing is there, or a writable one of its kind."""
    name = os.fspath(path)
    if not name:
        raise InputError("Cannot write a file whose name is empty.")
    if "\0" in name:
        raise InputError(f"Cannot write {name}: a name holds no NUL.")
    target = Path(os.path.realpath(path))
    try:
        mode = target.stat().st_mode
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return target  # making the temporary file will complain about the folder, if need be
    except OSError as error:  # of a name that is too long
        raise write_error(path, error) from error
    if not is_right_kind(mode):
        raise InputError(f"Cannot write {name}: it exists and is not {kind}.")
    if not os.access(target, os.W_OK):
        raise InputError(f"Cannot write {name}: it is read-only.")
    return target


def _hidden_sibling(target: Path, suffix: str = ".tmp") -> Path:
    """A name nobody else uses, in the same folder because a rename cannot cross file systems."""
    return target.with_name(f".{secrets.token_hex(8)}{suffix}")


@contextmanager
def _beside(path: str | os.PathLike[str], target: Path) -> Iterator[Path]:
    """A name beside the target, gone at the end; a failure to write there is an InputError.

    A failed write carries no file name, a failed open does. Writers in other languages
    (safetensors, torch.save, libsndfile) report a full disk as errors of their own: after those the
    disk is asked.
    """
    temporary = _hidden_sibling(target)
    try:
        yield temporary
    except (InputError, ConnectionError):  # ConnectionError: our output is no longer read
        raise
    except OSError as error:
        names = [error.filename, error.filename2]
        places = [Path(os.fsdecode(name)) for name in names if isinstance(name, str | bytes)]
        if places and not any(p == target or temporary in (p, *p.parents) for p in places):
            raise
        raise write_error(path, (not error.errno and _full(target.parent)) or error) from error
    except Exception as error:
        if full := _full(target.parent):
            raise write_error(path, full) from error
        raise
    finally:
        _remove(temporary)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def _full(folder: Path) -> OSError | None:
    """The error of writing one more MiB to `folder`, or None if that works."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(1 << 20))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return error
    return None


def _sync(path: Path) -> None:
    """Wait for the disk: without this, a power cut after the rename may leave an empty file."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def json_text(value: Any, indent: int = 2) -> str:
    """JSON of built-in types and dataclasses; of numbers that are not finite, null."""
    text = json.dumps(value, default=dataclasses.asdict)
    return json.dumps(json.loads(text, parse_constant=lambda name: None), indent=indent) + "\n"


def read_json(path: str | os.PathLike[str]) -> dict[str, Any]:
    """A JSON object from a file; InputError when there is none."""
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise read_error(path, error) from None
    except (ValueError, RecursionError):  # RecursionError: brackets in thousands of brackets
        raise InputError(f"{os.fspath(path)} is not valid JSON.") from None
    if not isinstance(data, dict):
        raise InputError(f"{os.fspath(path)} does not hold a JSON object.")
    return data

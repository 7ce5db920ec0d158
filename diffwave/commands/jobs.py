"""Which file becomes which, for commands that take a file or a folder; no input is ever written to.

Needs nothing heavy: what is wrong with the names is said at once.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path

from diffwave.base.errors import InputError
from diffwave.base.files import find_files, read_error, write_error

Job = tuple[Path, Path]


def check_exists(source: Path) -> None:
    """Raise InputError unless there is such a file or folder."""
    if not source.exists():
        raise InputError(f"There is no file or folder {source}.")


def check_folders_of(paths: Sequence[str | None]) -> None:
    """Raise InputError unless there is a folder for every file that is to be written."""
    for path in paths:
        if path is not None and not Path(path).absolute().parent.is_dir():
            raise write_error(path, OSError(errno.ENOENT, ""))


def check_settings(paths: Sequence[str], overrides: Sequence[str]) -> None:
    """Raise InputError unless every file of settings can be opened, and overrides have a value."""
    for path in paths:
        try:
            open(path, "rb").close()
        except OSError as error:
            raise read_error(path, error) from None
    for override in overrides:
        if "=" not in override:
            raise InputError(f"A setting is given as KEY=VALUE, not {override!r:.80}.")


def check_suffix(target: str, suffixes: Sequence[str]) -> None:
    """Raise InputError unless the name of a file ends in one of the suffixes, in any case."""
    if Path(target).suffix.lower() not in suffixes:
        raise InputError(f"The output {target} must end in {', '.join(suffixes)}.")


def check_places(source: Path | None, target: Path) -> None:
    """Raise InputError unless there is a source and a place for the target, and they differ.

    A source of None is no file, but standard input.
    """
    check_folders_of([str(target)])
    if source is None:
        return
    check_exists(source)
    if target.exists():
        if os.path.samefile(source, target):
            raise InputError(f"The output {target} is the input; give it another name.")
        if source.is_dir() and not target.is_dir():
            raise InputError(f"{source} is a folder, so the output {target} must be one too.")


def file_jobs(
    source: Path, target: Path, inputs: Sequence[str], outputs: Sequence[str], kind: str
) -> list[Job]:
    """Pairs of input and output files.

    Args:
        source: a file, or a folder that is searched with its subfolders; what begins with a dot is
            left out (of the system, or of a writer that was stopped).
        target: a file; of a folder the folder that gets the same subfolders.
        inputs: suffixes of files to take.
        outputs: suffixes that a single output may have; those of a folder get the first.
        kind: what the inputs are, for messages: "mel or recording".

    Raises:
        InputError: no such input, no place for the output, two inputs of one output, or an output
            that is one of the inputs under whatever name.
    """
    check_places(source, target)
    if not source.is_dir():
        if source.suffix.lower() not in inputs:
            raise InputError(f"{source} is not a {kind} ({', '.join(inputs)}).")
        check_suffix(str(target), outputs)
        return [(source, target)]
    files, results = find_files(source, inputs), target.resolve()
    if results.is_relative_to(source.resolve()):  # however spelled: it holds earlier results
        files = [file for file in files if results not in file.resolve().parents]
    if not files:
        raise InputError(f"There is no {kind} ({', '.join(inputs)}) in {source}.")
    jobs: dict[Path, Path] = {}
    sources = {_identity(file): file for file in files if file.exists()}
    for file in files:
        out = target / file.relative_to(source).with_suffix(outputs[0])
        if out in jobs:
            raise InputError(f"{jobs[out]} and {file} would both become {out}.")
        if out.exists() and (same := sources.get(_identity(out))):
            raise InputError(f"The output {out} is the input {same}.")
        jobs[out] = file
    return [(file, out) for out, file in jobs.items()]


def _identity(path: Path) -> tuple[int, int]:
    """The same for every name of one file, links included."""
    found = path.stat()
    return found.st_dev, found.st_ino

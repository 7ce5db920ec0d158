"""Thousands of damaged inputs and odd command lines: `python -m tests.fuzz.run --minutes 60`.

Of each it is asked that it ends within 20 seconds with status 0 or 2, without a traceback, that
after status 2 there is a sentence on standard error and no output, that output is whole and nothing
temporary lies about, and that the input is as it was. Input n of a kind is always the same: the
folder of a failure is kept, and `--kind KIND --first N --count 1` makes it again.

Most run in a child of this process, which has imported everything; some as a real command.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import hashlib
import importlib
import io
import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import numpy as np
import psutil
import soundfile
import torch

from diffwave import cli
from diffwave.audio import AUDIO_SUFFIXES
from diffwave.commands.options import COMMANDS
from diffwave.data import envelope
from diffwave.errors import InputError

from . import ROOT
from .inputs import KINDS

PATIENCE = 20.0  # seconds of processor time, so that a busy machine makes nothing fail
LONGEST = 6  # times as long on the clock, for what waits instead of working
REAL_EVERY = 400  # inputs of a kind, one of which is also given to a real command
MEMORY = 12 << 30
"""Bytes of address space: what asks for more gets a MemoryError, and the machine lives on."""
WRITTEN = {"mel": (".npy",), "synthesize": AUDIO_SUFFIXES}
"""Suffixes of what a command makes, and writes over if it is there."""
ENVIRONMENT = os.environ | {
    "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]),
    "PYTHONIOENCODING": "ascii",  # the hardest case: names of other letters cannot be printed
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
}


@dataclass
class Outcome:
    """What a command line came to."""

    status: object
    """Of the process, 1 after an exception, negative after a signal; "hang": its time was over."""
    output: str = ""
    errors: str = ""


def run_here(folder: Path, arguments: list[str]) -> Outcome:
    """Run one command line in a folder, in a child of this process."""
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        child = os.fork()
        if child == 0:
            _become(folder, arguments, output.fileno(), errors.fileno())
        start, status = time.monotonic(), None
        while status is None:
            ended, code = os.waitpid(child, os.WNOHANG)
            if ended:
                status = os.waitstatus_to_exitcode(code)
            elif _seconds(child) > PATIENCE or time.monotonic() - start > LONGEST * PATIENCE:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                return Outcome("hang")
            else:
                time.sleep(0.01)
        texts = []
        for file in (output, errors):
            file.seek(0)
            texts.append(file.read().decode("utf-8", "backslashreplace"))
    return Outcome(status, *texts)


def _seconds(process: int) -> float:
    """Processor time of a process so far."""
    with contextlib.suppress(psutil.Error):
        times = psutil.Process(process).cpu_times()
        return float(times.user + times.system)
    return 0.0


def _become(folder: Path, arguments: list[str], output: int, errors: int) -> NoReturn:
    """Turn this child into the command; as a process of its own would, it ends by its status."""
    status: object = 1
    try:
        _, most = resource.getrlimit(resource.RLIMIT_AS)  # somebody's limit is not ours to raise
        limit = MEMORY if most == resource.RLIM_INFINITY else min(MEMORY, most)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        os.environ |= ENVIRONMENT
        os.chdir(folder)
        for descriptor, file in enumerate((os.open(os.devnull, os.O_RDONLY), output, errors)):
            os.dup2(file, descriptor)
        sys.stdin = open(0, encoding="ascii")  # noqa: SIM115 (these last as long as the process)
        sys.stdout = open(1, "w", encoding="ascii")  # noqa: SIM115
        sys.stderr = open(2, "w", encoding="ascii", errors="backslashreplace")  # noqa: SIM115
        torch.set_num_threads(1)
        envelope.BATCHES = 2  # of `prepare`, which takes many seconds to fit it well
        status = cli.main(arguments)
    except SystemExit as error:
        status = error.code
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(status if isinstance(status, int) else 1)


def real_command(folder: Path, arguments: list[str]) -> Outcome:
    """The same in a process of its own."""
    command = [sys.executable, "-m", "diffwave.cli", *arguments]
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=ENVIRONMENT,
            capture_output=True,
            timeout=LONGEST * PATIENCE,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        return Outcome("hang")
    texts = (text.decode("utf-8", "backslashreplace") for text in (done.stdout, done.stderr))
    return Outcome(done.returncode, *texts)


def digests(folder: Path) -> dict[str, str]:
    """What lies in a folder, hidden files too."""
    return {
        str(path.relative_to(folder)): str(os.readlink(path)) if path.is_symlink()
        else hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*") if path.is_symlink() or path.is_file()
    }  # fmt: skip


def named_outputs(folder: Path, arguments: list[str]) -> set[str]:
    """Files in `in` that may change, because the command line names them as its output.

    That is the output itself, or what has the suffix of a result in the output folder of a folder;
    but nothing that the command reads. Only `mel` and `synthesize` write over what is there.
    """
    suffixes = WRITTEN.get(arguments[0], ())
    try:
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            _, options = cli._parse(arguments, "diffwave", None) if suffixes else ("", None)
        source, target = ((folder / name).resolve() for name in (options.input, options.output))
    except (SystemExit, InputError, AttributeError, TypeError, ValueError, OSError):
        return set()  # it will be refused
    found = set()
    for name in digests(folder / "in"):
        path = (folder / "in" / name).resolve()
        named = target == path or (source.is_dir() and target in path.parents)
        read = source in (path, *path.parents) and source not in target.parents
        if named and not read and path.suffix.lower() in suffixes:
            found.add(name)
    return found


def faults(
    outcome: Outcome, folder: Path, before: dict[str, str], outputs: Collection[str] = ()
) -> list[str]:
    """What is wrong with an outcome, in words; `outputs` are names in `in` that may change."""
    found = []
    if outcome.status not in (0, 2):
        last = outcome.errors.strip().splitlines()[-1:] or [""]
        found.append(f"status {outcome.status}: {last[0][:200]}")
    elif "Traceback" in outcome.errors:
        found.append("a traceback")
    if outcome.status == 2 and not re.search(r"[.)?]\n$", outcome.errors):
        found.append("no sentence")
    if re.search(r"[\x00-\x09\x0b-\x1f\x7f]", outcome.output + outcome.errors):
        found.append("control characters")
    after = digests(folder / "in")
    changed = [name for name, digest in before.items() if after.get(name) != digest]
    if any(name not in outputs or name not in after for name in changed):
        found.append("the input was changed")
    made = [path for path in (folder / "out").rglob("*") if path.is_file()]
    made += [folder / "in" / name for name in changed if name in outputs and name in after]
    hidden = [path for path in folder.rglob(".*")]
    if hidden:
        found.append("something temporary is left")
    for path in made:
        if path not in hidden and (fault := _fault_of(path)):
            found.append(f"{path.name}: {fault}")
    return found


def _fault_of(path: Path) -> str:
    """Why a file that was made is not whole; empty if it is."""
    try:
        if path.suffix == ".npy":
            return "" if np.isfinite(np.load(path)).all() else "not finite"
        if path.suffix == ".json":
            json.loads(path.read_text(encoding="utf-8"))
        elif path.suffix in (".wav", ".flac", ".ogg", ".opus", ".mp3"):
            wave, _ = soundfile.read(os.fsencode(path))
            return "" if len(wave) and np.isfinite(wave).all() else "empty or not finite"
        return "" if path.stat().st_size or path.suffix == ".md" else "empty"
    except (OSError, ValueError, soundfile.SoundFileError) as error:
        return f"not whole ({error})"


@dataclass
class Tally:
    """Of one kind."""

    inputs: int = 0
    real: int = 0
    refused: int = 0
    slowest: float = 0.0
    failures: list[str] = field(default_factory=list)


def try_one(kind: str, number: int, scratch: Path, tally: Tally, real: bool) -> None:
    """Make input `number` of a kind, run it, and count what it came to."""
    folder = scratch / f"{kind}-{number}"
    runs = [("", run_here)] + ([("real: ", real_command)] if real else [])
    for label, run in runs:
        shutil.rmtree(folder, ignore_errors=True)
        for name in ("in", "out"):
            (folder / name).mkdir(parents=True)
        arguments = KINDS[kind](random.Random(f"{kind} {number}"), folder)
        if label and any("\0" in word for word in arguments):
            continue  # which no process can be given
        before, outputs = digests(folder / "in"), named_outputs(folder, arguments)
        start = time.monotonic()
        outcome = run(folder, arguments)
        tally.slowest = max(tally.slowest, time.monotonic() - start)
        found = faults(outcome, folder, before, outputs)
        if label:
            tally.real += 1
        else:
            tally.inputs += 1
            tally.refused += outcome.status == 2
        if found:
            tally.failures.append(f"{kind} {number}: {label}{'; '.join(found)}")
            text = f"{arguments}\n{outcome.status}\n{outcome.output}\n{outcome.errors}"
            (folder / "outcome.txt").write_text(text, encoding="utf-8", errors="backslashreplace")
            return
    shutil.rmtree(folder)


def fuzz(
    kinds: list[str],
    minutes: float,
    first: int,
    count: int | None,
    scratch: Path,
    real: bool = True,
) -> dict[str, Tally]:
    """Take the kinds in turn until the time is over, or `count` of each were tried."""
    tallies = {kind: Tally() for kind in kinds}
    deadline = time.monotonic() + 60 * minutes
    for command in COMMANDS:  # here, so that the children need not
        importlib.import_module(f"diffwave.commands.{command}")
    number = first
    try:
        while time.monotonic() < deadline and (count is None or number < first + count):
            for kind in kinds:
                before = len(tallies[kind].failures)
                also_real = real and number % REAL_EVERY == 0
                try_one(kind, number, scratch, tallies[kind], also_real)
                for failure in tallies[kind].failures[before:]:
                    print(failure.encode("ascii", "backslashreplace").decode(), flush=True)
            number += 1
    except KeyboardInterrupt:
        print("stopped")
    return tallies


def table(tallies: dict[str, Tally]) -> str:
    """Counts by kind."""
    lines = ["| kind | inputs | refused | as a real command | slowest, s on the clock | failures |",
             "|---|---|---|---|---|---|"]  # fmt: skip
    for kind, tally in tallies.items():
        lines.append(
            f"| {kind} | {tally.inputs} | {tally.refused} | {tally.real} | {tally.slowest:.1f} | "
            f"{len(tally.failures)} |"
        )
    return "\n".join(lines)


def main() -> int:
    """Run; returns 1 if anything failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--kind", action="append", choices=list(KINDS), help="default: all")
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    parser.add_argument("--count", type=int, help="inputs of each kind")
    parser.add_argument("--scratch", type=Path, help="folder for what failed; default: a new one")
    options = parser.parse_args()
    scratch = options.scratch or Path(tempfile.mkdtemp(prefix="diffwave-fuzz-"))
    scratch.mkdir(exist_ok=True)
    kinds = options.kind or list(KINDS)
    tallies = fuzz(kinds, options.minutes, options.first, options.count, scratch.resolve())
    print(table(tallies))
    failed = [failure for tally in tallies.values() for failure in tally.failures]
    words = collections.Counter(re.sub(r"^\S+ \d+: ", "", failure) for failure in failed)
    for failure, times in words.most_common():
        print(f"{times} x {failure}".encode("ascii", "backslashreplace").decode())
    if failed:
        print(f"What failed lies in {scratch}.")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())

"""A process that runs command lines, one after another, as it is told on its standard input.

Each line is a JSON list: the folder to work in, and the arguments. Each answer is one too, on the
descriptor that the first argument names: the exit status (null after an exception), and what was
written to standard output and standard error, where the traceback of an exception is added.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from typing import IO

MEMORY = 12 << 30
"""Bytes of address space: what asks for more gets a MemoryError, and the machine lives on."""


def main(answers: int) -> None:
    """Answer until the input ends."""
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    except (ImportError, ValueError, OSError):
        pass
    from diffwave import cli
    from diffwave.data import envelope

    envelope.BATCHES = 2  # of `prepare`, which takes many seconds to fit it well

    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        answer_all(cli.main, [output, errors], answers)


def answer_all(
    command: Callable[[list[str]], int], files: Sequence[IO[bytes]], answers: int
) -> None:
    """Run the command with the arguments of each line; output and errors go to the two files."""
    import torch

    commands = os.fdopen(os.dup(0))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # for commands that read standard input
    for line in commands:
        folder, arguments = json.loads(line)
        os.chdir(folder)
        torch.set_num_threads(1)
        for descriptor, file in zip((1, 2), files, strict=True):
            file.seek(0)
            file.truncate()
            os.dup2(file.fileno(), descriptor)
        status: object = None
        try:
            status = command(arguments)
        except SystemExit as error:
            status = error.code
        except BaseException:
            traceback.print_exc()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        texts = []
        for file in files:
            file.seek(0)
            texts.append(file.read().decode("utf-8", "backslashreplace"))
        os.write(answers, json.dumps([status, *texts]).encode() + b"\n")


if __name__ == "__main__":
    main(int(sys.argv[1]))

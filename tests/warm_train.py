"""Runs `diffwave train` in children of one process that has loaded PyTorch already.

Started with no arguments; reads jobs from its input, one JSON object a line, and answers each with
the process id of the child and, when that has ended, its exit status (negative: a signal).
"""

from __future__ import annotations

import json
import os
import sys

from diffwave import cli
from diffwave.commands import train as command
from diffwave.data import envelope
from diffwave.train import loop

assert command and loop  # loaded here, so that the children need not
envelope.BATCHES = 2


def become(job: dict) -> None:  # type: ignore[type-arg]
    """Turn this process into the one that the job asks for."""
    for descriptor, name in ((0, os.devnull), (1, job["stdout"]), (2, job["stderr"])):
        os.dup2(os.open(name, os.O_RDWR | os.O_CREAT | os.O_TRUNC), descriptor)
    os._exit(cli.main(["train", *job["arguments"]]))


for line in sys.stdin:
    child = os.fork()
    if child == 0:
        become(json.loads(line))
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)

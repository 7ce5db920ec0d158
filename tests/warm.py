"""Runs `synthesize.py` in children of one process that has loaded PyTorch already.

Each child has its own output, exit status and end, as if it had been started alone; what is saved
is the loading, which takes longer than everything that is tested. Started with no arguments; reads
jobs from its input, one JSON object a line, and answers each with the exit status.
"""

from __future__ import annotations

import json
import os
import sys

from diffwave import cli, commands

assert commands  # loaded here, so that the children need not


def become(job: dict[str, list[str] | str]) -> None:
    """Turn this process into the one that the job asks for."""
    os.chdir(str(job["cwd"]))
    names = ((0, os.devnull), (1, str(job["stdout"])), (2, str(job["stderr"])))
    for descriptor, name in names:
        os.dup2(os.open(name, os.O_RDWR | os.O_CREAT), descriptor)
    sys.argv = ["synthesize.py", *job["arguments"]]
    cli.synthesize_main()


for line in sys.stdin:
    child = os.fork()
    if child == 0:
        become(json.loads(line))
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)

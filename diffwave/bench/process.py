"""A whole process from cold: the seconds until its wav is on the disk, and its largest memory.

Ours is the command that people run, `diffwave synthesize`; the others are this module run as a
program, which does for them the least that such a command would: import the library, build the
network, read a mel, write a wav. (They draw random weights where a real program would read a file.)
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from diffwave.errors import InputError

# Started in between, because on Linux a process inherits the largest memory of its parent, and
# this one is small: it starts the command, waits, and tells what the system noted.
_LAUNCHER = """
import json, os, sys, time
start = time.perf_counter()
child = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)
_, status, usage = os.wait4(child, 0)
seconds = time.perf_counter() - start
unit = 1 if sys.platform == "darwin" else 1024
print(json.dumps([os.waitstatus_to_exitcode(status), seconds, usage.ru_maxrss * unit]))
"""


@dataclass(frozen=True)
class ProcessCost:
    """What one run of a process cost."""

    seconds: float
    """From its start to its end."""
    peak_mib: float
    """Largest resident memory, libraries included."""


def command(system: str, steps: int | None, checkpoint: str, mel: Path, wav: Path) -> list[str]:
    """The command that makes `wav` of `mel`: our own with `steps`, else this module's."""
    if steps is None:
        return [sys.executable, "-m", "diffwave.bench.process", system, str(mel), str(wav)]
    return [
        *(sys.executable, "-m", "diffwave.cli", "synthesize", str(mel), str(wav)),
        *("--steps", str(steps), "--checkpoint", checkpoint, "--device", "cpu"),
    ]


def run_process(arguments: list[str]) -> ProcessCost:
    """Run a command to its end, alone; InputError, with the last line it wrote, if it fails."""
    launched = subprocess.run(
        [sys.executable, "-I", "-S", "-c", _LAUNCHER, *arguments], capture_output=True, text=True
    )
    if launched.returncode == 0:
        status, seconds, peak = json.loads(launched.stdout.splitlines()[-1])
    else:  # there is no such program
        status, seconds, peak = launched.returncode, 0.0, 0
    if status != 0:
        said = launched.stderr.strip().splitlines() or [f"exit status {status}"]
        raise InputError(f"The process failed: {said[-1]}")
    return ProcessCost(seconds, peak / 2**20)


def main(name: str, mel: str, wav: str) -> None:
    """A peer's synthesis from cold."""
    import torch

    from diffwave.audio import write_audio
    from diffwave.bench.systems import build

    system = build(name)
    wave = system.generate(torch.from_numpy(np.load(mel))[None])[0]
    write_audio(wav, wave.clamp(-1, 1), system.mel.sample_rate)


if __name__ == "__main__":
    main(*sys.argv[1:])

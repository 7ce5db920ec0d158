"""Measuring: every system in every setting, in turn; its first chunk; a process of its own."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from diffwave.base.device import faster_precision
from diffwave.base.errors import InputError
from diffwave.base.libraries import version_of
from diffwave.bench.result import Cost, LeftOut, Result, Setting, Spread, Timing
from diffwave.bench.systems import System, precision_of
from diffwave.mel import MelSpectrogram

CHUNK_SECONDS, SPEECH_RMS = 0.5, 0.07
BUSY = 0.3  # load average per core above which other programs are taken to disturb
BAR = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}, {remaining} left"
Job = Callable[[], object]

# Started in between, because on Linux a process inherits the largest memory of its parent, and
# this one is small: it starts the command, waits, and tells what the system noted.
_LAUNCHER = """
import json, os, sys, time
start = time.perf_counter()
child = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)
_, status, usage = os.wait4(child, 0)
seconds = time.perf_counter() - start
unit = 1 if sys.platform == "darwin" else 1024
print(json.dumps([os.waitstatus_to_exitcode(status), seconds, usage.ru_maxrss * unit / 2**20]))
"""


@dataclass(frozen=True)
class Effort:
    """How much is measured, and how thoroughly."""

    settings: tuple[Setting, ...]  # the first is the centre, which every system is measured at
    rounds: int = 3  # every system has its turn in each
    budget: float = 1.0  # seconds of one turn, at least one run
    # Seconds that a run may take: a system that takes longer has one turn at the centre, and none
    # beside it.
    patience: float = 40.0
    process_seconds: float = 5.0  # of speech that a new process makes, for cold start and memory
    process_runs: int = 3


GRID = tuple(
    itertools.starmap(Setting, itertools.product((2, 1), ("fp32", "bf16"), (1, 8), (10, 1, 60)))
)
EFFORTS = {
    "quick": Effort(
        (Setting(2, "fp32", 1, 0.5), Setting(1, "bf16", 1, 0.5), Setting(1, "fp32", 2, 0.25)),
        rounds=2, budget=0.05, patience=0.5, process_seconds=0.25, process_runs=1,
    ),
    "normal": Effort(
        (
            GRID[0], Setting(1, "fp32", 1, 10), Setting(2, "bf16", 1, 10),
            Setting(1, "bf16", 1, 10), Setting(2, "fp32", 1, 1), Setting(2, "fp32", 1, 60),
            Setting(2, "fp32", 8, 10),
        ),
    ),
    "full": Effort(GRID, budget=3.0, patience=400.0, process_runs=5),
}  # fmt: skip


@dataclass
class Runs:
    """What is known of the runs of one job."""

    seconds: list[float] = field(default_factory=list)
    wall: float = 0.0
    processor: float = 0.0  # time; over `wall`, how many cores were at work
    failure: str | None = None  # why the job stopped, if it did


def bench(
    systems: Sequence[System], effort: str, checkpoint: str, left_out: Sequence[LeftOut] = ()
) -> Result:
    """Measure systems, with a bar on standard error.

    Args:
        systems: built, on the CPU.
        effort: a name in `EFFORTS`: what to measure, how often.
        checkpoint: of ours, for a process of its own.
        left_out: what is known to be missing, for the record.
    """
    plan, cores, missing = EFFORTS[effort], usable_cores(), list(left_out)
    machine, busy = this_machine(cores)
    here = (dataclasses.replace(s, threads=min(s.threads, cores)) for s in plan.settings)
    settings = list(dict.fromkeys(here))
    costs: dict[str, Cost] = {}
    timings: list[Timing] = []
    typical: dict[str, float] = {}  # real-time factor at the centre
    total = plan.rounds * (len(settings) + 1) + len(systems)
    with tqdm(total=total, bar_format=BAR, disable=None, leave=False) as bar:

        def in_turn(what: str, jobs: Mapping[str, Job], threads: int) -> dict[str, Runs]:
            bar.set_description(what)
            found = time_in_turn(jobs, plan, threads, bar.update)
            missing.extend(LeftOut(n, what, r.failure) for n, r in found.items() if r.failure)
            return {name: runs for name, runs in found.items() if not runs.failure}

        second = Setting(1, "fp32", 1, 1.0)
        for system in systems:
            try:
                counted = dataclasses.replace(system, generate=system.counted or system.generate)
                work = gmac(partial(_generate, counted, mel_of(system, second), second))
                costs[system.name] = Cost(
                    *(system.name, system.what, system.library, system.mel.sample_rate),
                    *(system.parameters, work / system.duration(second)),
                )
            except Exception as error:  # one system's failure must not cost the others' results
                missing.append(LeftOut(system.name, "everything", describe(error)))
        working = {system.name: system for system in systems if system.name in costs}
        for setting in settings:
            jobs: dict[str, Job] = {}
            for name, system in working.items():
                expected = typical.get(name, 0.0) * setting.batch * setting.seconds
                if expected > plan.patience:
                    reason = f"one run would take about {expected:.0f} s"
                    missing.append(LeftOut(name, str(setting), reason))
                else:
                    jobs[name] = partial(_generate, system, mel_of(system, setting), setting)
            for name, runs in in_turn(str(setting), jobs, setting.threads).items():
                rtf = Spread.of(runs.seconds, 1 / working[name].duration(setting))
                timings.append(Timing(name, setting, rtf, runs.processor / runs.wall))
                typical.setdefault(name, rtf.median)
        chunk = dataclasses.replace(settings[0], seconds=max(settings[0].seconds, CHUNK_SECONDS))
        jobs = {
            name: partial(system.first_chunk, mel_of(system, chunk), system.frames(CHUNK_SECONDS))
            for name, system in working.items()
        }
        for name, runs in in_turn("the first chunk", jobs, chunk.threads).items():
            first = Spread.of(runs.seconds, 1000)
            costs[name] = dataclasses.replace(costs[name], first_chunk_ms=first)
        for name, system in working.items():
            bar.set_description("cold start")
            try:
                cold, peak = cold_start(system, plan, checkpoint)
                costs[name] = dataclasses.replace(costs[name], cold_start_s=cold, peak_mib=peak)
            except InputError as error:
                missing.append(LeftOut(name, "cold start and memory", str(error)))
            bar.update()
    libraries = dict.fromkeys(system.library for system in systems)
    versions = (f"python {platform.python_version()}", version_of("torch"), *libraries)
    return Result(
        machine, busy, versions, effort, tuple(costs.values()), tuple(timings), tuple(missing)
    )


def time_in_turn(
    jobs: Mapping[str, Job], effort: Effort, threads: int, done: Job
) -> dict[str, Runs]:
    """Time every job in turn, round after round, so that a drift of the machine hits all alike.

    Each round begins with another job. A turn is a run that is not counted and then as many as fit
    into `effort.budget`; a job whose run takes longer than `effort.patience` has one turn only, and
    one that raises has no further turn. `done` is called after each round.
    """
    from torch.utils.benchmark import Timer  # which logs, where there is none, that there is no GPU

    found = {name: Runs() for name in jobs}
    names = deque(jobs)
    for _ in range(effort.rounds):
        for name in names:
            runs = found[name]
            if runs.failure or max(runs.seconds, default=0.0) > effort.patience:
                continue
            processor, wall = time.process_time(), time.perf_counter()
            try:
                timer = Timer("job()", globals={"job": jobs[name]}, num_threads=threads)
                runs.seconds += timer.blocked_autorange(min_run_time=effort.budget).times
            except Exception as error:
                runs.failure = describe(error)
            runs.processor += time.process_time() - processor
            runs.wall += time.perf_counter() - wall
        names.rotate(-1)
        done()
    return found


def describe(error: Exception) -> str:
    """An error in one line."""
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}".removesuffix(": ")


def gmac(job: Job) -> float:
    """Multiply-accumulates of a job, in units of 1e9: matrix products and convolutions.

    Counted by PyTorch's own counter, which knows no Fourier transforms and no elementwise work.
    """
    with FlopCounterMode(display=False) as counter:
        job()
    return float(counter.get_total_flops()) / 2e9  # two operations each


def mel_of(system: System, setting: Setting) -> Tensor:
    """A mel of the system's own convention, of noise in syllables, [batch, n_mels, T].

    Four syllables a second, as loud as speech; always the same.
    """
    rate = system.mel.sample_rate
    length = round((setting.seconds + 0.1) * rate)
    noise = torch.randn(setting.batch, length, generator=torch.Generator().manual_seed(0))
    wave = noise * torch.sin(torch.pi * 4 * torch.arange(length) / rate).square()
    wave = wave * (SPEECH_RMS / wave.square().mean().sqrt())
    return MelSpectrogram(system.mel)(wave)[..., : system.frames(setting.seconds)]


def _generate(system: System, mel: Tensor, setting: Setting) -> None:
    with torch.autocast("cpu", torch.bfloat16, enabled=setting.precision == "bf16"):
        system.generate(mel)


def cold_start(system: System, effort: Effort, checkpoint: str) -> tuple[Spread, Spread]:
    """Seconds and MiB of new processes that make `effort.process_seconds` of speech each.

    Ours is the command that people run, `diffwave synthesize`; the others are the module
    `diffwave.bench.systems`, which does for them the least that such a command would.
    """
    with tempfile.TemporaryDirectory() as folder:
        mel, wav = f"{folder}/mel.npy", f"{folder}/out.wav"
        np.save(mel, mel_of(system, Setting(1, "fp32", 1, effort.process_seconds))[0].numpy())
        arguments = [sys.executable, "-m", "diffwave.bench.systems", system.name, mel, wav]
        if system.steps is not None:
            arguments[2:] = ["diffwave.cli", "synthesize", mel, wav, "--steps", str(system.steps)]
            arguments += ["--checkpoint", checkpoint, "--device", "cpu"]
            arguments += ["--precision", precision_of(system.name)]
        found = [run_process(arguments) for _ in range(effort.process_runs)]
    seconds, peaks = zip(*found, strict=True)
    return Spread.of(list(seconds)), Spread.of(list(peaks))


def run_process(arguments: Sequence[str]) -> tuple[float, float]:
    """Seconds from start to end of a command, and its largest resident memory in MiB.

    InputError, with the last line it wrote, if it fails.
    """
    launched = subprocess.run(
        [sys.executable, "-I", "-S", "-c", _LAUNCHER, *arguments], capture_output=True, text=True
    )
    status = launched.returncode  # not 0 if there is no such program
    if status == 0:
        status, seconds, peak = json.loads(launched.stdout.splitlines()[-1])
    if status != 0:
        said = launched.stderr.strip().splitlines() or [f"exit status {status}"]
        raise InputError(f"The process failed: {said[-1]}")
    return seconds, peak


def this_machine(cores: int) -> tuple[str, str]:
    """What is known of the machine that runs this, and a warning if it is busy, else nothing."""
    memory, cpu, load = None, None, 0.0
    with suppress(AttributeError, ValueError, OSError):  # not on every system
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    with suppress(AttributeError, OSError):
        load = os.getloadavg()[0]
    with suppress(OSError):
        cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    name = cpu[1] if cpu else platform.processor() or platform.machine() or "unknown processor"
    faster = faster_precision(torch.device("cpu")) == torch.bfloat16
    machine = (
        f"{name}, {cores} cores{f', {memory:.0f} GiB' if memory else ''}, {platform.system()} "
        f"{platform.machine()}; bf16 products are {'' if faster else 'no '}faster than fp32 here"
    )
    busy = (
        f"The load average was {load:.1f} when this began: other programs had been running in the "
        "minute before, and if they still were, do not trust these numbers."
    )
    return machine, busy if load > BUSY * cores else ""


def usable_cores() -> int:
    """Cores that this process may run on."""
    known = hasattr(os, "sched_getaffinity")
    return len(os.sched_getaffinity(0)) if known else os.cpu_count() or 1

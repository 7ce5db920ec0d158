"""The benchmark from beginning to end."""

from __future__ import annotations

import dataclasses
import platform
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from diffwave.bench.machine import this_machine
from diffwave.bench.measure import Runs, Spread, describe, gmac, sound, time_in_turn
from diffwave.bench.plan import Effort, Setting
from diffwave.bench.process import command, run_process
from diffwave.bench.result import Cost, LeftOut, Result, Timing
from diffwave.bench.systems import System
from diffwave.errors import InputError
from diffwave.eval.libraries import version_of
from diffwave.mel import MelSpectrogram

CHUNK_SECONDS = 0.5


def bench(
    systems: Sequence[System],
    missing: Mapping[str, str],
    effort: Effort,
    checkpoint: str,
    progress: tqdm,
) -> Result:
    """Measure the systems.

    Args:
        systems: built, on the CPU.
        missing: systems that could not be built, and why; for the record.
        effort: what to measure, how often.
        checkpoint: of ours, for a process of its own.
        progress: gets a total in turns, and is moved by one after each.
    """
    machine, settings = this_machine(), effort.here()
    progress.reset(len(systems) * (effort.rounds * (len(settings) + 1) + effort.process_runs))
    costs: dict[str, Cost] = {}
    timings: list[Timing] = []
    left_out: list[LeftOut] = []

    def time_all(jobs: dict[str, Callable[[], object]], what: str, threads: int) -> dict[str, Runs]:
        """Time the jobs in turn; those that fail are noted, and not in the result."""
        progress.set_description(what)
        found = time_in_turn(jobs, effort, threads, progress.update)
        left_out.extend(LeftOut(n, what, r.failure) for n, r in found.items() if r.failure)
        return {name: runs for name, runs in found.items() if not runs.failure}

    for system in systems:
        try:
            costs[system.name] = _count(system)
        except Exception as error:  # as in `time_in_turn`
            left_out.append(LeftOut(system.name, "everything", describe(error)))
    working = [system for system in systems if system.name in costs]
    for setting in settings:
        jobs: dict[str, Callable[[], object]] = {}
        duration: dict[str, float] = {}
        for system in working:
            typical = next((t.rtf.median for t in timings if t.system == system.name), 0.0)
            expected = typical * setting.batch * setting.seconds
            if expected > effort.patience and setting != settings[0]:
                reason = f"one run would take about {expected:.0f} s"
                left_out.append(LeftOut(system.name, str(setting), reason))
                progress.update(effort.rounds)
            else:
                mel = mel_of(system, setting)
                duration[system.name] = _duration(system, mel)
                jobs[system.name] = partial(_generate, system, mel, setting)
        for name, runs in time_all(jobs, str(setting), setting.threads).items():
            rtf = Spread.of(runs.seconds, 1 / duration[name])
            timings.append(Timing(name, setting, rtf, runs.cores))
    chunk = dataclasses.replace(settings[0], seconds=max(settings[0].seconds, CHUNK_SECONDS))
    jobs = {
        s.name: partial(s.first_chunk, mel_of(s, chunk), s.frames(CHUNK_SECONDS)) for s in working
    }
    for name, runs in time_all(jobs, "the first chunk", chunk.threads).items():
        costs[name] = dataclasses.replace(costs[name], first_chunk_ms=Spread.of(runs.seconds, 1000))
    progress.set_description("cold start")
    for system in working:
        try:
            seconds, memory = _cold_start(system, effort, checkpoint, progress)
            costs[system.name] = dataclasses.replace(
                costs[system.name], cold_start_s=seconds, peak_mib=memory
            )
        except InputError as error:
            left_out.append(LeftOut(system.name, "cold start and memory", str(error)))
    libraries = dict.fromkeys(system.library for system in systems)
    versions = (f"python {platform.python_version()}", version_of("torch"), *libraries)
    return Result(
        machine, versions, effort, tuple(costs.values()), tuple(timings), tuple(left_out),
        dict(missing),
    )  # fmt: skip


def mel_of(system: System, setting: Setting) -> Tensor:
    """A mel of the system's own convention, [batch, n_mels, T]."""
    wave = sound(setting.seconds + 0.1, system.mel.sample_rate, setting.batch)
    return MelSpectrogram(system.mel)(wave)[..., : system.frames(setting.seconds)]


def _duration(system: System, mel: Tensor) -> float:
    """Seconds of sound in a mel [B, n_mels, T], all items together."""
    return len(mel) * mel.shape[-1] * system.mel.hop_length / system.mel.sample_rate


def _count(system: System) -> Cost:
    """What does not depend on the machine; the system's first call."""
    mel = mel_of(system, Setting(1, "fp32", 1, 1.0))
    per_second = gmac(lambda: system.generate(mel)) / _duration(system, mel)
    rate, library = system.mel.sample_rate, system.library
    return Cost(system.name, system.what, library, rate, system.parameters, per_second)


def _generate(system: System, mel: Tensor, setting: Setting) -> None:
    with torch.autocast("cpu", torch.bfloat16, enabled=setting.precision == "bf16"):
        system.generate(mel)


def _cold_start(
    system: System, effort: Effort, checkpoint: str, progress: tqdm
) -> tuple[Spread, Spread]:
    """Seconds and MiB of new processes that make `effort.process_seconds` of speech each."""
    with tempfile.TemporaryDirectory() as folder:
        mel, wav = Path(folder) / "mel.npy", Path(folder) / "out.wav"
        np.save(mel, mel_of(system, Setting(1, "fp32", 1, effort.process_seconds))[0].numpy())
        found = []
        for _ in range(effort.process_runs):
            found.append(run_process(command(system.name, system.cli_steps, checkpoint, mel, wav)))
            progress.update()
    seconds = Spread.of([cost.seconds for cost in found])
    return seconds, Spread.of([cost.peak_mib for cost in found])

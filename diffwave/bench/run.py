"""The benchmark from beginning to end."""

from __future__ import annotations

import dataclasses
import platform
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from diffwave.bench.machine import this_machine
from diffwave.bench.measure import Spread, describe, gmac, sound, time_in_turn
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
    left_out: list[LeftOut] = []
    working = []
    for system in systems:
        try:
            costs[system.name] = _count(system)
            working.append(system)
        except Exception as error:  # as in `time_in_turn`
            left_out.append(LeftOut(system.name, "everything", describe(error)))
    timings: list[Timing] = []
    for setting in settings:
        progress.set_description(str(setting))
        patient = []
        for system in working:
            expected = _expected(system, setting, timings)
            if expected > effort.patience and setting != settings[0]:
                reason = f"one run would take about {expected:.0f} s"
                left_out.append(LeftOut(system.name, str(setting), reason))
                progress.update(effort.rounds)
            else:
                patient.append(system)
        mels = {system.name: mel_of(system, setting) for system in patient}
        jobs = {s.name: partial(_generate, s, mels[s.name], setting) for s in patient}
        found = time_in_turn(jobs, effort, setting.threads, progress.update)
        for system in patient:
            name, runs = system.name, found[system.name]
            if runs.failure:
                left_out.append(LeftOut(name, str(setting), runs.failure))
            else:
                rtf = Spread.of(runs.seconds, 1 / _duration(system, mels[name]))
                timings.append(Timing(name, setting, rtf, runs.cores))
    progress.set_description("first chunk")
    chunk = dataclasses.replace(settings[0], seconds=max(settings[0].seconds, CHUNK_SECONDS))
    jobs = {s.name: partial(_first_chunk, s, mel_of(s, chunk)) for s in working}
    for name, runs in time_in_turn(jobs, effort, chunk.threads, progress.update).items():
        if runs.failure:
            left_out.append(LeftOut(name, "the first chunk", runs.failure))
        else:
            latency = Spread.of(runs.seconds, 1000)
            costs[name] = dataclasses.replace(costs[name], first_chunk_ms=latency)
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
    return Result(
        machine=machine,
        versions=(f"python {platform.python_version()}", version_of("torch"), *libraries),
        effort=effort,
        costs=tuple(costs.values()),
        timings=tuple(timings),
        left_out=tuple(left_out),
        missing=dict(missing),
    )


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
    return Cost(
        system=system.name,
        what=system.what,
        library=system.library,
        sample_rate=system.mel.sample_rate,
        parameters=system.parameters,
        gmac_per_second=gmac(lambda: system.generate(mel)) / _duration(system, mel),
    )


def _expected(system: System, setting: Setting, timings: Sequence[Timing]) -> float:
    """Seconds of a run, judged by the system's first timing; 0 when there is none."""
    rtf = next((timing.rtf.median for timing in timings if timing.system == system.name), 0.0)
    return rtf * setting.batch * setting.seconds


def _generate(system: System, mel: Tensor, setting: Setting) -> None:
    with torch.autocast("cpu", torch.bfloat16, enabled=setting.precision == "bf16"):
        system.generate(mel)


def _first_chunk(system: System, mel: Tensor) -> None:
    system.first_chunk(mel, system.frames(CHUNK_SECONDS))


def _cold_start(
    system: System, effort: Effort, checkpoint: str, progress: tqdm
) -> tuple[Spread, Spread]:
    """Seconds and MiB of new processes that make `effort.process_seconds` of speech each."""
    with tempfile.TemporaryDirectory() as folder:
        mel, wav = Path(folder) / "mel.npy", Path(folder) / "out.wav"
        np.save(mel, mel_of(system, Setting(1, "fp32", 1, effort.process_seconds))[0].numpy())
        arguments = command(system.name, system.cli_steps, checkpoint, mel, wav)
        found = []
        for _ in range(effort.process_runs):
            found.append(run_process(arguments))
            progress.update()
    seconds = Spread.of([cost.seconds for cost in found])
    return seconds, Spread.of([cost.peak_mib for cost in found])

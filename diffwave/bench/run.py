"""The benchmark from beginning to end."""

from __future__ import annotations

import dataclasses
import platform
import tempfile
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from diffwave.bench.machine import this_machine
from diffwave.bench.measure import (
    Runs,
    cpu_threads,
    describe,
    gmac,
    interleave,
    sound,
    spread,
    subnormal_share,
)
from diffwave.bench.plan import Cell, Effort, Setting, plan
from diffwave.bench.process import ProcessCost, command, run_process
from diffwave.bench.result import Cost, LeftOut, Result, Timing
from diffwave.bench.systems import System
from diffwave.eval.libraries import version_of
from diffwave.mel import MelSpectrogram

CHUNK_SECONDS = 0.5
LONG_RUN = 2.0
"""Seconds above which a run needs none before it to warm up."""
PROCESS_START = 4.0
"""Seconds that a new process is expected to take before it computes, for the time left."""


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
        progress: gets a total in expected seconds, and is moved by what was expected of each run.
    """
    machine = this_machine()
    by_name, costs, rtf, left_out = _inspect_all(systems, effort, progress)
    cells, impatient = plan(effort, rtf)
    left_out += [
        LeftOut(cell.system, str(cell.setting), f"one run would take about {cell.expected:.0f} s")
        for cell in impatient
    ]
    started = list(by_name)[: effort.process_systems]
    if started != list(by_name):
        reason = f"only {', '.join(started)} is started in a process of its own"
        left_out += [
            LeftOut(n, "cold start and memory", reason) for n in by_name if n not in started
        ]
    expected_process = {n: PROCESS_START + rtf[n] * effort.process_seconds for n in started}
    progress.reset(
        sum(cell.runs * cell.expected for cell in cells)
        + effort.process_runs * sum(expected_process.values())
    )
    timings: list[Timing] = []
    for setting in effort.settings():
        progress.set_description(str(setting))
        here = [cell for cell in cells if cell.setting == setting]
        found, failed = _time_setting(by_name, here, setting, progress)
        timings += found
        left_out += failed
    progress.set_description("first chunk")
    with cpu_threads(effort.centre.threads):
        chunks = _first_chunks(by_name, effort)
    for name, runs in chunks.items():
        if runs.failure:
            left_out.append(LeftOut(name, "the first chunk", runs.failure))
        else:
            latency = spread(list(runs.seconds)) * 1000
            costs[name] = dataclasses.replace(costs[name], first_chunk_ms=latency)
    progress.set_description("cold start")
    subset = {name: by_name[name] for name in started}
    processes, failed = _processes(subset, effort, checkpoint, expected_process, progress)
    left_out += failed
    for name, found_costs in processes.items():
        costs[name] = dataclasses.replace(
            costs[name],
            cold_start_s=spread([cost.seconds for cost in found_costs]),
            peak_mib=spread([cost.peak_mib for cost in found_costs]),
        )
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


def mel_of(system: System, seconds: float, batch: int = 1) -> Tensor:
    """A mel of the system's own convention, [batch, n_mels, T]."""
    frames = system.frames(seconds)
    wave = sound(seconds + 0.1, system.mel.sample_rate, batch)
    return MelSpectrogram(system.mel)(wave)[..., :frames]


def _inspect_all(
    systems: Sequence[System], effort: Effort, progress: tqdm
) -> tuple[dict[str, System], dict[str, Cost], dict[str, float], list[LeftOut]]:
    """Those that work, what is counted of each, roughly how fast each is; and those that do not."""
    by_name, costs, rtf, failed = {}, {}, {}, []
    progress.set_description("warming up")
    with cpu_threads(effort.centre.threads):
        for system in systems:
            try:
                costs[system.name], rtf[system.name] = _inspect(system, min(effort.seconds[0], 1))
                by_name[system.name] = system
            except Exception as error:  # as in `interleave`
                failed.append(LeftOut(system.name, "everything", describe(error)))
    return by_name, costs, rtf, failed


def _inspect(system: System, seconds: float) -> tuple[Cost, float]:
    mel = mel_of(system, seconds)
    duration = mel.shape[-1] * system.mel.hop_length / system.mel.sample_rate
    share = 0.0

    def look() -> None:
        nonlocal share
        share = subnormal_share(system.module, lambda: system.generate(mel))

    counted = gmac(look)
    start = time.perf_counter()
    system.generate(mel)
    rtf = (time.perf_counter() - start) / duration
    cost = Cost(
        system=system.name,
        what=system.what,
        library=system.library,
        sample_rate=system.mel.sample_rate,
        parameters=system.parameters,
        gmac_per_second=counted / duration,
        subnormal_share=share,
    )
    return cost, rtf


def _time_setting(
    systems: Mapping[str, System], cells: Sequence[Cell], setting: Setting, progress: tqdm
) -> tuple[list[Timing], list[LeftOut]]:
    mels = {c.system: mel_of(systems[c.system], setting.seconds, setting.batch) for c in cells}
    samples: dict[str, int] = {}

    def job(name: str) -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=setting.precision == "bf16"):
            samples[name] = systems[name].generate(mels[name]).numel()

    jobs = {c.system: partial(job, c.system) for c in cells}
    expected = {c.system: c.expected for c in cells}
    with cpu_threads(setting.threads):
        interleave(jobs, {c.system: int(c.expected < LONG_RUN) for c in cells})
        measured = interleave(
            jobs,
            {c.system: c.runs for c in cells},
            lambda name: progress.update(expected[name]),
        )
    timings, failed = [], []
    for name, runs in measured.items():
        if runs.failure:
            failed.append(LeftOut(name, str(setting), runs.failure))
        else:
            per_second = systems[name].mel.sample_rate / samples[name]
            rtf = spread(list(runs.seconds)) * per_second
            timings.append(Timing(name, setting, rtf, runs.cores))
    return timings, failed


def _first_chunks(systems: Mapping[str, System], effort: Effort) -> dict[str, Runs]:
    mels = {n: mel_of(s, max(effort.centre.seconds, CHUNK_SECONDS)) for n, s in systems.items()}

    def job(system: System) -> None:
        system.first_chunk(mels[system.name], system.frames(CHUNK_SECONDS))

    jobs = {name: partial(job, system) for name, system in systems.items()}
    interleave(jobs, dict.fromkeys(jobs, 1))
    return interleave(jobs, dict.fromkeys(jobs, effort.first_chunks))


def _processes(
    systems: Mapping[str, System],
    effort: Effort,
    checkpoint: str,
    expected: Mapping[str, float],
    progress: tqdm,
) -> tuple[dict[str, list[ProcessCost]], list[LeftOut]]:
    found: dict[str, list[ProcessCost]] = {name: [] for name in systems}
    with tempfile.TemporaryDirectory() as folder:
        wav = Path(folder) / "out.wav"
        commands = {}
        for name, system in systems.items():
            mel = Path(folder) / f"{name}.npy"
            np.save(mel, mel_of(system, effort.process_seconds)[0].numpy())
            commands[name] = command(name, system.cli_steps, checkpoint, mel, wav)

        def job(name: str) -> None:
            found[name].append(run_process(commands[name]))

        measured = interleave(
            {name: partial(job, name) for name in systems},
            dict.fromkeys(systems, effort.process_runs),
            lambda name: progress.update(expected[name]),
        )
    failed = [
        LeftOut(name, "cold start and memory", runs.failure)
        for name, runs in measured.items()
        if runs.failure
    ]
    return {name: costs for name, costs in found.items() if not measured[name].failure}, failed

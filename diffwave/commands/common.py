"""What several commands share: the vocoder that their options ask for, and how it is to speak."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch
from tqdm import tqdm

from diffwave.chain.schedule import named_betas
from diffwave.commands.jobs import Job, out_of_memory
from diffwave.errors import InputError
from diffwave.model import ModelConfig
from diffwave.options import Generation
from diffwave.parser import notice
from diffwave.text import printable
from diffwave.vocoder import DEFAULT, Vocoder


def vocoder_of(options: Generation) -> Vocoder:
    """The vocoder that the options ask for; a notice if they ask for more steps than help."""
    if options.threads:
        torch.set_num_threads(options.threads)
    vocoder = Vocoder.from_pretrained(options.checkpoint or DEFAULT, options.device)
    most = _most_steps(vocoder.config)
    if options.steps is not None and options.steps > most:
        notice(
            f"{options.steps} steps take longer and seldom sound better: "
            f"this voice is tuned for at most {most}."
        )
    return vocoder


def generation(options: Generation) -> dict[str, Any]:
    """The options as arguments of a call of the vocoder."""
    return {
        "steps": options.steps,
        "sampler": options.sampler,
        "rounds": options.n_iter,
        "seed": options.seed,
        "restore": options.enhance,
    }


def described(options: Generation, config: ModelConfig) -> str:
    """The same in words, with the checkpoint's own values where none are given."""
    steps = options.steps or config.sampling.steps
    sampler = options.sampler or config.sampling.sampler
    n_iter = config.sampling.rounds_after(steps) if options.n_iter is None else options.n_iter
    plain = "" if options.enhance or config.restorer is None else ", mel enhancer off"
    return (
        f"{steps} steps of {sampler}, {n_iter} mel-consistency iterations, seed {options.seed}"
        f"{plain}"
    )


def presets(config: ModelConfig) -> dict[int, tuple[int, list[float] | None]]:
    """Iterations and noise levels by number of steps, for those that a checkpoint is tuned for."""
    sampling = config.sampling
    counts = {sampling.steps, *map(int, sampling.angles), *map(int, sampling.rounds)}
    return {n: (sampling.rounds_after(n), sampling.angles.get(str(n))) for n in sorted(counts)}


def _most_steps(config: ModelConfig) -> int:
    trained = 0
    if config.diffusion.schedule != "angle":  # the whole discrete chain is worth its steps
        trained = len(named_betas(config.diffusion.schedule))
    return max(*presets(config), trained)


def each(jobs: list[Job], work: Callable[[Job], object]) -> int:
    """Do the work of every file; what fails is named on standard error. Returns how many succeeded.

    Whatever is wrong with one file, the others are worth doing.
    """
    done = 0
    for job in tqdm(jobs, unit="file", disable=None):
        try:
            work(job)
            done += 1
        except (InputError, MemoryError, RuntimeError, UnicodeError) as error:
            with tqdm.external_write_mode(sys.stderr):
                notice(f"{job[0]}: {_sentence(error)}")
    return done


def _sentence(error: Exception) -> str:
    if out_of_memory(error):
        return "there is not enough memory for it."
    if isinstance(error, InputError):
        return str(error)
    return f"{type(error).__name__}: {error}".partition("\n")[0]


def table(rows: Sequence[Sequence[object]]) -> str:
    """Rows as columns of text, each as wide as its widest cell."""
    cells = [[printable(f"{cell:g}" if isinstance(cell, float) else cell) for cell in row]
             for row in rows]  # fmt: skip
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    )

"""What several commands share: the vocoder that their options ask for, and how it is to speak."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from diffwave.base.errors import InputError, out_of_memory
from diffwave.base.text import aligned, notice, printable
from diffwave.commands.jobs import Job
from diffwave.commands.options import Generation
from diffwave.model import DiffusionModel
from diffwave.vocoder import DEFAULT, Vocoder


def vocoder_of(options: Generation) -> Vocoder:
    """The vocoder that the options ask for; a notice if they ask for more steps than help."""
    if options.threads:
        torch.set_num_threads(options.threads)
    vocoder = Vocoder.from_pretrained(
        options.checkpoint or DEFAULT, options.device, options.precision
    )
    sampling, chain = vocoder.config.sampling, vocoder.config.diffusion.alpha_bars()
    trained = 0 if chain is None else len(chain)  # a whole discrete chain is worth its steps
    most = max(sampling.default, trained, *(preset.steps for preset in sampling.presets))
    if options.steps is not None and options.steps > most:
        notice(
            f"{options.steps} steps take longer and seldom sound better: "
            f"this voice is tuned for at most {most}."
        )
    return vocoder


def generation(options: Generation) -> dict[str, Any]:
    """The options as arguments of a call of the vocoder."""
    names = ("steps", "sampler", "n_iter", "seed", "enhance")
    return {name: getattr(options, name) for name in names}


def described(options: Generation, model: DiffusionModel) -> str:
    """The same in words, with the checkpoint's own values where none are given."""
    chosen = model.sampling(options.steps, options.sampler, options.n_iter)
    plain = "" if options.enhance or model.enhancer is None else ", mel enhancer off"
    return (
        f"{chosen.steps} steps of {chosen.solver}, {chosen.n_iter} mel-consistency iterations, "
        f"seed {options.seed}{plain}"
    )


def named(text: str) -> tuple[str, str]:
    """Name and place of "NAME=PLACE"; a place alone is named by the last part of its path."""
    name, equals, place = text.partition("=")
    if equals and name and place and os.sep not in name and not Path(text).exists():
        return printable(name), place
    return printable(Path(text).absolute().name), text


def each(jobs: list[Job], work: Callable[[Job], object], folder: bool = True) -> int:
    """Do the work of every file of a folder, or of the only one. Returns how many succeeded.

    What fails in a folder is named on standard error: the other files are worth doing.
    """
    if not folder:
        work(jobs[0])
        return 1
    done = 0
    for job in tqdm(jobs, unit="file", disable=None):
        try:
            work(job)
            done += 1
        except (InputError, MemoryError, RuntimeError, UnicodeError) as error:
            with tqdm.external_write_mode(sys.stderr):
                notice(f"{job[0]}: {_sentence(error)}")
    return done


def check_all_done(done: int, jobs: list[Job]) -> None:
    """Raise InputError unless every file could be used."""
    if done < len(jobs):
        raise InputError(f"{len(jobs) - done} of {len(jobs)} files could not be used.")


def _sentence(error: Exception) -> str:
    if out_of_memory(error):
        return "there is not enough memory for it."
    if isinstance(error, InputError):
        return str(error)
    return f"{type(error).__name__}: {error}".partition("\n")[0]


def table(rows: Sequence[Sequence[object]]) -> str:
    """Rows as columns of text, each as wide as its widest cell."""
    cells = [[f"{c:g}" if isinstance(c, float) else printable(c) for c in row] for row in rows]
    return "\n".join("  ".join(row).rstrip() for row in aligned(cells))

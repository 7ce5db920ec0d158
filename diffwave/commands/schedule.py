"""`diffwave schedule`: where a chain ends, how long it must be, and what its betas cost."""

from __future__ import annotations

import functools
import math
from pathlib import Path

import torch
from tqdm import tqdm

from diffwave.base.libraries import needed_for
from diffwave.base.text import printable
from diffwave.chain.families import Schedule, parse_schedule, rescaled
from diffwave.chain.schedule import NAMED, alpha_bars, betas_of, stretched
from diffwave.chain.terminal import Data, Start, entropy
from diffwave.commands.common import table
from diffwave.commands.options import Schedule as Options
from diffwave.vocoder import Vocoder

with needed_for("The report on schedules"):
    from diffwave.analysis import bound_report, schedule_report
    from diffwave.analysis.likelihood import CONTINUOUS_STEPS
    from diffwave.analysis.plots import check_figure
    from diffwave.analysis.recordings import Recordings
    from diffwave.analysis.states import data_of
    from diffwave.eval.scoring import audio_files


def run(options: Options) -> int:
    """Print the figures of every schedule; write what else is asked for."""
    if options.published:
        print(_published())
        return 0
    if options.plot is not None:
        check_figure(options.plot)
    vocoder = None
    if options.checkpoint is not None:
        vocoder = Vocoder.from_pretrained(options.checkpoint, "cpu")
    chains = _chains(options, vocoder)
    data, words = _data(options, vocoder)
    start = Start(options.start_mean, options.start_deviation)
    found = [schedule_report.figures(one, data, start, options.threshold) for one in chains]
    if options.json is not None:
        document = schedule_report.to_json(found, data, start, options.threshold)
        bound_report.save_json(options.json, document)
    if options.plot is not None:
        schedule_report.save_plot(found, start, options.threshold, options.plot)
    deviation = math.sqrt(data.variance)
    print(printable(f"{words}: mean {data.mean:.3g}, deviation {deviation:.3g}"))
    bits = entropy(data) / math.log(2)
    print(f"entropy of a Gaussian of these variances: {bits:.2f} bits (16-bit samples: +15)")
    print(f"sampling starts from N({start.mean:g}, {start.deviation:g}^2)\n")
    print(table(schedule_report.summary(found, options.threshold)))
    for one in found:
        print(f"\n{printable(one.name)}\n{table(schedule_report.steps_table(one))}")
    return 0


def _chains(options: Options, vocoder: Vocoder | None) -> list[Schedule]:
    chains = []
    for text in options.schedules:
        name, equals, betas = text.partition("=")
        chain = parse_schedule(betas if equals else text)
        chains.append(chain._replace(name=name) if equals else chain)
    if not chains and vocoder is not None:
        trained = vocoder.model.denoiser.trained_levels
        if trained is None:
            chains.append(parse_schedule(f"angle:{CONTINUOUS_STEPS}"))
        else:
            own, name = betas_of(trained), vocoder.config.diffusion.schedule
            chains.append(Schedule(name, own, functools.partial(stretched, own)))
    chains = chains or [parse_schedule("diffwave-base")]
    if options.rescale:
        # One that ends in pure noise already stays as it is.
        chains += [rescaled(one) for one in chains if float(alpha_bars(one.betas)[-1]) > 0]
    return chains


def _data(options: Options, vocoder: Vocoder | None) -> tuple[Data, str]:
    """The data, and what they are in words."""
    if options.corpus is None:
        variance = torch.tensor([options.rms**2], dtype=torch.float64)
        return Data(options.mean, variance), "white data"
    files = list(audio_files(options.corpus, options.only).values())[: options.limit]
    rate = None if vocoder is None else vocoder.sample_rate
    recordings = Recordings(rate)
    with tqdm(files, unit="recording", disable=None, leave=False) as bar:
        data = data_of(map(recordings.read, bar), None if vocoder is None else vocoder.model)
    what = "samples" if vocoder is None else f"states of {options.checkpoint}"
    return data, f"{what} of {len(files)} recordings of {Path(options.corpus).absolute().name}"


def _published() -> str:
    rows = [("schedule", "steps", "first beta", "last beta", "sqrt(alpha_bar_T)")]
    for name, betas in NAMED.items():
        last = float(alpha_bars(betas)[-1].sqrt())
        ends = (f"{float(betas[0]):.3g}", f"{float(betas[-1]):.3g}")
        rows.append((name, str(len(betas)), *ends, f"{last:.3f}"))
    return table(rows)

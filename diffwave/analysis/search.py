"""The cheapest good way to sample a voice: ways to sample are generated, scored and compared.

What a way costs comes from a model that is measured once (a network call costs so many
mel-consistency iterations), so that the same search gives the same winners on a busy machine. Every
score is kept in a journal, and a search that was stopped goes on where it was.
"""

from __future__ import annotations

import itertools
import json
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.benchmark import Timer

from diffwave.analysis.states import States
from diffwave.base.errors import InputError
from diffwave.base.files import write_error
from diffwave.chain import schedule
from diffwave.chain.gaussian import q_sample
from diffwave.chain.sampling import Sampling
from diffwave.data.crops import Clip
from diffwave.eval.metrics import METRICS
from diffwave.model import DiffusionModel
from diffwave.synthesis import generate

JUDGED = ("mr_stft", "pulse_sharpness", "distillmos")
WEIGHTS = {"mr_stft": 1.0, "pulse_sharpness": 0.2, "distillmos": -0.5}
"""Of the scores in :func:`penalty`: .01 of MR-STFT counts as .05 of sharpness or .02 of MOS, which
is about what another draw of the noise changes in the mean of a few utterances."""
SMALLEST_STEP = 0.02  # of an angle; finer ones change nothing that can be heard or measured
CHANGED = 0.002  # least gain in penalty for which a search goes on


@dataclass(frozen=True)
class Cost:
    """CPU seconds of one thread per second of speech: the real-time factor, undisturbed."""

    fixed: float
    call: float  # of a network call
    iteration: float  # of a mel-consistency iteration

    def of(self, sampling: Sampling) -> float:
        """The real-time factor of a way to sample."""
        return self.fixed + sampling.steps * self.call + sampling.n_iter * self.iteration

    @classmethod
    def measured(cls, model: DiffusionModel, mel: Tensor, seconds: float = 4.0) -> Cost:
        """Of a model on this machine, on one thread.

        Args:
            model: on the CPU.
            mel: [n_mels, T], some seconds of speech.
            seconds: of each of three measurements, least.
        """
        n_iter = 0 if model.space.of_samples else 20
        ways = [Sampling(1), Sampling(3), Sampling(1, n_iter=n_iter)]
        speech = mel.shape[-1] * model.space.hop_length / model.config.mel.sample_rate
        shared = {"made": lambda way: wave_of(model, mel, way)}
        timers = [  # of the CPU time, which other work on the machine changes little
            Timer("made(way)", globals=shared | {"way": way}, timer=time.process_time)
            for way in ways
        ]
        one, three, iterated = (
            min(timer.blocked_autorange(min_run_time=seconds).times) / speech for timer in timers
        )
        call = max((three - one) / 2, 1e-9)
        iteration = max((iterated - one) / n_iter, 1e-9) if n_iter else 0.0
        return cls(max(one - call, 0.0), call, iteration)


def wave_of(model: DiffusionModel, mel: Tensor, sampling: Sampling, seed: int = 0) -> Tensor:
    """Speech [T * hop_length] for a mel [n_mels, T], sampled in some way."""
    return torch.cat(list(generate(model, mel[None], sampling, seed=seed)), -1)[0]


def penalty(scores: Mapping[str, float]) -> float:
    """One number for mean scores, the less the better: :data:`WEIGHTS`, of sharpness the size."""
    return sum(
        weight * (abs(scores[name]) if METRICS[name].better == "zero" else scores[name])
        for name, weight in WEIGHTS.items()
    )


class Judge:
    """Scores ways to sample a model on some recordings, and remembers what it has scored."""

    def __init__(
        self,
        model: DiffusionModel,
        recordings: Mapping[str, Tensor],
        journal: Path,
        metrics: Sequence[str] = JUDGED,
        seed: int = 0,
    ) -> None:
        """Read the journal, a file of a JSON object a line that grows, if there is one.

        Args:
            model: on the CPU.
            recordings: samples [L] at the model's rate by name.
            metrics: names in `diffwave.eval.metrics.METRICS`.

        Raises:
            InputError: for a journal that cannot be read.
        """
        self.model, self.journal = model, journal
        self.metrics, self.seed = tuple(metrics), seed
        self.recordings = dict(recordings)
        self.mels = {name: model.mel(wave) for name, wave in self.recordings.items()}
        self.known: dict[str, dict[str, float]] = {}
        try:
            lines = journal.read_text("utf-8").splitlines() if journal.exists() else []
        except (OSError, UnicodeDecodeError):
            raise InputError(f"Cannot read the journal {journal}.") from None
        for line in lines:
            try:
                entry = json.loads(line)
                self.known[entry["key"]] = {k: float(v) for k, v in entry["scores"].items()}
            except (ValueError, KeyError, TypeError, AttributeError):
                continue  # the last line of a search that was killed

    def scores(self, sampling: Sampling) -> dict[str, float]:
        """Mean scores over the recordings; InputError if they cannot be noted."""
        way = asdict(sampling) | {"levels": [round(u, 6) for u in sampling.levels]}
        key = json.dumps([way, [sorted(self.recordings), self.metrics, self.seed]], sort_keys=True)
        if key not in self.known:
            rate = self.model.config.mel.sample_rate
            each = {name: [] for name in self.metrics}  # type: dict[str, list[float]]
            for name, wave in self.recordings.items():
                made = wave_of(self.model, self.mels[name], sampling, self.seed)
                length = min(len(made), len(wave))
                pair = wave[:length].numpy(), made[:length].clamp(-1, 1).numpy()
                for metric, values in each.items():
                    values.append(METRICS[metric].function(*pair, rate))
            self.known[key] = {name: float(np.nanmean(values)) for name, values in each.items()}
            line = json.dumps({"key": key, "scores": self.known[key]})
            try:
                with self.journal.open("a", encoding="utf-8") as file:
                    file.write(line + "\n")
            except OSError as error:
                raise write_error(self.journal, error) from None
        return self.known[key]

    def penalty(self, sampling: Sampling) -> float:
        """:func:`penalty` of a way to sample; infinite where a score is none."""
        value = penalty(self.scores(sampling))
        return value if math.isfinite(value) else math.inf


def family(steps: int, first: float = 1.0, bend: float = 1.0) -> tuple[float, ...]:
    """Levels u_i = first (1 - i / steps)^bend: equal steps in angle, bent towards one end."""
    return tuple(first * (1 - i / steps) ** bend for i in range(steps))


def grid(
    steps: int, solvers: Iterable[str], firsts: Iterable[float], bends: Iterable[float], n_iter: int
) -> Iterator[Sampling]:
    """Ways with so many steps; those of one step alike in everything but the level once."""
    for first in firsts:
        for bend in bends if steps > 1 else [1.0]:
            for solver in solvers if steps > 1 else ["ddim"]:
                yield Sampling(steps, solver, family(steps, first, bend), n_iter)


def descend(
    start: Sampling,
    cost: Callable[[Sampling], float],
    strides: Sequence[float] = (0.1, 0.04),
    highest: float = 1.0,
) -> Sampling:
    """The best way found by moving one level at a time, by ever smaller strides.

    Levels keep their order, and stay above :data:`SMALLEST_STEP` and not above `highest`. A
    move has to gain :data:`CHANGED` at least.
    """
    best, least = start, cost(start)
    for stride in strides:
        moved = True
        while moved:
            moved = False
            for i in range(len(best.levels)):
                for by in (stride, -stride):
                    candidate = _moved(best, i, by, highest)
                    if candidate is None or (value := cost(candidate)) > least - CHANGED:
                        continue
                    best, least, moved = candidate, value, True
    return best


def _moved(sampling: Sampling, place: int, by: float, highest: float) -> Sampling | None:
    """The same with one level moved; None where it would meet another."""
    levels = list(sampling.levels)
    levels[place] = round(min(levels[place] + by, highest), 4)
    falling = [*levels, 0.0]
    apart = all(a - b >= SMALLEST_STEP for a, b in itertools.pairwise(falling))
    if not apart or levels[place] == sampling.levels[place]:
        return None
    return replace(sampling, levels=tuple(levels))


def highest_level(model: DiffusionModel) -> float:
    """The angle of the noisiest level that a model was trained at."""
    trained = model.denoiser.trained_levels
    return 1.0 if trained is None else float(schedule.angle(trained[-1]))


@torch.inference_mode()
def level_errors(
    model: DiffusionModel, recordings: Iterable[NDArray[np.int16]], levels: Tensor, seed: int = 0
) -> tuple[Tensor, float]:
    """Mean square of x_0 - D(x_t) at every level [N], and of x_0, over the states of recordings.

    What `diffwave.chain.optimal.least_bounds` needs; of models with a source the recordings' own
    pulses are given, as in training.

    Raises:
        InputError: without recordings, or pyworld for a model with a source.
    """
    states, errors, power, count = States(model), torch.zeros(len(levels)).double(), 0.0, 0
    for number, samples in enumerate(recordings):
        clip = states.excited(Clip("", samples))
        mel = states.mel(clip)
        encoded = states.of(clip, mel, 0)
        x_0, cond = encoded.x_0, model.denoiser.condition(mel, encoded.prior)
        for i, level in enumerate(levels):
            x_t = q_sample(x_0, level, states.noise(seed, number * len(levels) + i, encoded))
            errors[i] += float((x_0 - model.denoiser(x_t, level, cond)).double().square().sum())
        power, count = power + float(x_0.double().square().sum()), count + x_0.numel()
    if not count:
        raise InputError("There is no recording to measure the denoiser's errors on.")
    return errors / count, power / count


def pareto(points: Sequence[tuple[float, float]]) -> list[int]:
    """Places of the (cost, penalty) that no other beats in both, by rising cost."""
    kept: list[int] = []
    for i in sorted(range(len(points)), key=lambda i: points[i]):
        if not kept or points[i][1] < points[kept[-1]][1]:
            kept.append(i)
    return kept

"""What the reverse chain goes through on its way to a wave: every state, to hear and to look at.

A state that is louder than the result, as noise is, is played and drawn at the level of the result;
by how much it was turned down is noted.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffwave.analysis.plots import new_figure
from diffwave.base.audio import write_audio
from diffwave.base.errors import InputError
from diffwave.base.files import atomic_path, json_text, make_folder
from diffwave.base.libraries import needed_for
from diffwave.chain import schedule
from diffwave.listening.pictures import (
    LEVEL_COLOURS,
    RANGE_DB,
    common_top,
    levels_db,
    spectrogram_png,
)

STATE, ESTIMATE, RESULT = "state", "estimate", "result"
MOST_BYTES = 1 << 31  # of the waves of one trace, which are held until it is written
MOST_FRAMES = 60  # steps of the strip; of more, so many are picked
FRAME_MS, LAST_MS = 700, 2500  # how long a step of the strip is shown, and the result


@dataclass
class Visited:
    """A level of the chain, and what was there, as samples [L] that grow chunk by chunk."""

    alpha_bar: float
    state: Tensor  # x_t
    estimate: Tensor  # the estimate of x_0, before mel-consistency iterations

    @property
    def snr_db(self) -> float:
        """Signal-to-noise ratio of the level; -infinity of pure noise."""
        ratio = float(schedule.snr(torch.tensor(self.alpha_bar, dtype=torch.float64)))
        return 10 * math.log10(ratio) if ratio > 0 else -math.inf


@dataclass
class Trace:
    """The way of one utterance from noise to a wave."""

    sample_rate: int
    n_iter: int  # mel-consistency iterations between the last estimate and the result
    steps: list[Visited] = field(default_factory=list)
    result: Tensor = field(default_factory=lambda: torch.zeros(0))

    def watch(self, step: int, alpha_bar: float, x: Tensor, x_0: Tensor) -> None:
        """Take in a level of a chunk, [1, L]: `diffwave.synthesis.Watch`."""
        if step == len(self.steps):
            self.steps.append(Visited(alpha_bar, x[0], x_0[0]))
        else:
            at = self.steps[step]
            at.state, at.estimate = torch.cat((at.state, x[0])), torch.cat((at.estimate, x_0[0]))

    def kept(self, pieces: Iterable[Tensor]) -> Iterator[Tensor]:
        """The pieces of the result, which is noted when the last one has been asked for."""
        for piece in pieces:
            self.result = torch.cat((self.result, piece))
            yield piece

    def waves(self) -> dict[str, Tensor]:
        """Everything there is to hear, by its name in the order of time."""
        digits, named = len(str(len(self.steps))), {}
        for i, visited in enumerate(self.steps, 1):
            named[f"{i:0{digits}}-{STATE}"] = visited.state
            named[f"{i:0{digits}}-{ESTIMATE}"] = visited.estimate
        return named | {RESULT: self.result}

    def gain(self, wave: Tensor) -> float:
        """By what a wave is to be multiplied to be no louder than the result, at most 1."""
        loudness, own = (float(x.square().mean().sqrt()) for x in (self.result, wave))
        quieter = loudness / own if own and loudness else 1.0  # beside silence as it is
        return min(1.0, quieter, 0.99 / max(float(wave.abs().max()), 1e-9))


def check_trace() -> None:
    """InputError unless pictures can be drawn here, before any work is done."""
    with needed_for("A trace"):
        import matplotlib  # noqa: F401
        import PIL  # noqa: F401


def check_size(steps: int, samples: int) -> None:
    """InputError for a trace that would not fit in memory."""
    if (size := 8 * steps * samples) > MOST_BYTES:
        raise InputError(
            f"A trace of {steps} steps of this mel would take {size / 1e9:.0f} GB; take fewer "
            "steps, or a part of the mel."
        )


def save(trace: Trace, folder: Path, name: str) -> None:
    """Write a trace: folder/STEP/name.wav and .png for each of `Trace.waves`, name.gif, name.json.

    Every step is a folder, so that `diffwave evaluate RECORDINGS folder/*/ --html PAGE` scores them
    and makes a page of them. Each file is whole or not there; InputError where one cannot be.
    """
    played = {step: wave * trace.gain(wave) for step, wave in trace.waves().items()}
    levels = {step: levels_db(wave, trace.sample_rate) for step, wave in played.items()}
    top = common_top([levels[RESULT]])
    for step, wave in played.items():
        make_folder((folder / step / name).parent)
        write_audio(folder / step / f"{name}.wav", wave, trace.sample_rate)
        _write(folder / step / f"{name}.png", spectrogram_png(levels[step], top))
    make_folder((folder / name).parent)
    _write(folder / f"{name}.gif", animation(trace, levels, top))
    _write(folder / f"{name}.json", json_text(document(trace)).encode())


def document(trace: Trace) -> dict[str, Any]:
    """The figures of a trace."""
    return {
        "sample_rate": trace.sample_rate,
        "n_iter": trace.n_iter,
        "steps": [
            {
                "alpha_bar": visited.alpha_bar,
                "snr_db": visited.snr_db,
                "rms": {key: float(wave.square().mean().sqrt()) for key, wave in both.items()},
                "gain": {key: trace.gain(wave) for key, wave in both.items()},
            }
            for visited in trace.steps
            for both in [{STATE: visited.state, ESTIMATE: visited.estimate}]
        ],
        "result": {"rms": float(trace.result.square().mean().sqrt())},
    }


def animation(trace: Trace, levels: dict[str, NDArray[np.float32]], top: float) -> bytes:
    """The strip: a GIF of a picture for every step, the state above and the estimate below."""
    from PIL import Image

    figure = new_figure(7.2, 4.6)
    axes = figure.subplots(2, sharex=True, sharey=True)
    named = [*levels]  # state, estimate, state, .. result
    extent = (0, len(trace.result) / trace.sample_rate, 0, trace.sample_rate / 2000)
    settings: dict[str, Any] = {
        "origin": "lower", "aspect": "auto", "extent": extent, "cmap": LEVEL_COLOURS,
        "vmin": top - RANGE_DB, "vmax": top,
    }  # fmt: skip
    images = [axis.imshow(levels[RESULT], **settings) for axis in axes]
    for axis in axes:
        axis.set_ylabel("kHz")
    axes[1].set_xlabel("s")
    count = len(trace.steps)
    picked = sorted({round(i) for i in np.linspace(0, count - 1, min(count, MOST_FRAMES))})
    pages = []  # title, then titles and names of the pictures above and below
    for i in picked:
        at = trace.steps[i]
        ratio = f"SNR {at.snr_db:.1f} dB" if at.snr_db > -math.inf else "pure noise"
        title = f"step {i + 1} of {count}   alpha_bar {at.alpha_bar:.3f}, {ratio}"
        titles = ("state x_t", "network's estimate of x_0")
        pages.append((title, titles, named[2 * i : 2 * i + 2]))
    after = f"after {trace.n_iter} mel-consistency iterations" if trace.n_iter else "result"
    title = f"result after {count} step{'s' * (count > 1)}"
    pages.append((title, ("last estimate of x_0", after), named[-2:]))
    frames = []
    for title, titles, names in pages:
        figure.suptitle(title)
        for axis, image, words, name in zip(axes, images, titles, names, strict=True):
            axis.set_title(words, loc="left", fontsize=9)
            image.set_data(levels[name])
        stream = io.BytesIO()
        figure.savefig(stream, format="png", dpi=90)
        frames.append(Image.open(stream).convert("RGB").quantize(128, dither=Image.Dither.NONE))
    stream = io.BytesIO()
    times = [FRAME_MS] * (len(frames) - 1) + [LAST_MS]
    frames[0].save(
        stream, "GIF", save_all=True, append_images=frames[1:], duration=times, loop=0, disposal=1
    )
    return stream.getvalue()


def _write(path: Path, data: bytes) -> None:
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)

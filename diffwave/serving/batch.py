"""Windows of several utterances, generated in one batch: each as it would be alone.

Noise is addressed by its absolute position under an utterance's own seed, and pulses by their times
in the utterance, so neighbours in a batch may have any seeds, pitches and positions; what they must
share is the shape of the computation, :attr:`Utterance.shape`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from diffwave.chain.sampling import Sampling
from diffwave.model import DiffusionModel
from diffwave.serving.windows import Window, windows
from diffwave.spaces import Excitation
from diffwave.synthesis import UtteranceSource, enhanced, estimate, reach, utterance_source


class Utterance:
    """A mel on its way to speech: what is known of the whole of it, and its next window."""

    def __init__(
        self,
        model: DiffusionModel,
        mel: Tensor,
        sampling: Sampling,
        *,
        seed: int = 0,
        enhance: bool = True,
        transpose: float = 0.0,
        most: int,
        stream: bool = False,
        alike: bool = False,
    ) -> None:
        """Arguments as of `Vocoder.stream` and :func:`diffwave.serving.windows.windows`.

        Args:
            model: on the device where it should run.
            mel: [n_mels, T], checked.
            sampling: steps, solver, noise levels and iterations.

        Raises:
            InputError: for a transposition asked of a model without a source.
        """
        if transpose:
            model.source_predictor()
        self.mel, self.sampling, self.seed = mel[None], sampling, seed
        self.enhance, self.transpose = enhance, transpose
        self.source: UtteranceSource | None = None
        self.prepared = False
        self._windows = windows(
            mel.shape[-1], reach(model, sampling), most, stream=stream, alike=alike
        )
        self.window: Window | None = next(self._windows)

    @property
    def shape(self) -> tuple[int, Sampling]:
        """What windows have in common that can be computed together."""
        assert self.window is not None
        return self.window.stop - self.window.first, self.sampling

    @property
    def frames_left(self) -> int:
        """Frames that no window has come to yet."""
        return 0 if self.window is None else self.mel.shape[-1] - self.window.start

    def prepare(self, model: DiffusionModel) -> None:
        """Enhance the mel and predict its source, once, before the first window."""
        if not self.prepared:
            if self.enhance:
                self.mel = enhanced(model, self.mel)
            self.source = utterance_source(model, self.mel, transpose=self.transpose)
            self.prepared = True

    def advance(self) -> None:
        """Go on to the next window; None after the last."""
        self.window = next(self._windows, None)


class Abandoned(Exception):
    """Nobody wants the samples any more that are being generated."""


@torch.inference_mode()
def generate_windows(
    model: DiffusionModel,
    utterances: Sequence[Utterance],
    wanted: Callable[[], bool] = lambda: True,
) -> list[Tensor]:
    """The samples [(end - start) * hop_length] of the next window of each, on the CPU.

    Args:
        model: on the device where it should run.
        utterances: all of one :attr:`Utterance.shape`. They advance to the window after it.
        wanted: asked at every step of the chain.

    Raises:
        Abandoned: when the samples are not wanted any more.
    """

    def go_on(*_: object) -> None:
        if not wanted():
            raise Abandoned

    hop = model.space.hop_length
    for utterance in utterances:
        utterance.prepare(model)
    cut = [(utterance, window) for utterance in utterances if (window := utterance.window)]
    mel = torch.cat([u.mel[..., w.first : w.stop] for u, w in cut]).to(model.device)
    sampling, places = cut[0][0].sampling, [(u.seed, w.first * hop) for u, w in cut]
    each = [u.source.excitation(model, w.first, w.stop) for u, w in cut if u.source is not None]
    excitation = Excitation(*map(torch.cat, zip(*each, strict=True))) if each else None
    coordinates = estimate(model, mel, excitation, sampling, places, go_on)
    waves = model.space.synthesise(coordinates, mel, sampling.n_iter).cpu()
    for utterance in utterances:
        utterance.advance()
    return [
        wave[(w.start - w.first) * hop : (w.end - w.first) * hop]
        for wave, (_, w) in zip(waves, cut, strict=True)
    ]

"""Generation in overlapping chunks: bounded memory, and the same samples as in one piece.

A sample of the result depends on the mel and the noise within a finite reach: the network's
receptive field once per step, plus the frames that overlap in the inverse STFT. Each chunk is
generated with that much context on both sides, which is then thrown away; the noise is addressed
by absolute position (:mod:`diffwave.chain.noise`), and so are the pulses of a source, whose times
are found for the whole utterance first. What is kept equals the unchunked result up to
floating-point rounding.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from diffwave.chain.noise import white_noise
from diffwave.chain.samplers import SAMPLERS, Callback, sample
from diffwave.chain.sampling import Sampling
from diffwave.dsp.chunks import by_chunks, chunks
from diffwave.dsp.source import Pulses, Source, pulse_times, transposed, with_f0
from diffwave.model import DiffusionModel
from diffwave.spaces.source import Excitation, pulse_train

CHUNK_FRAMES = 1024  # frames generated at a time by default, about 12 s at 22.05 kHz and hop 256
Watch = Callable[[int, float, Tensor, Tensor], object]
"""`watch(step, alpha_bar, x, x_0)`: state and estimate at a level, as samples."""


def reach(model: DiffusionModel, sampling: Sampling) -> int:
    """Frames on each side of a frame that its samples depend on."""
    return model.space.reach(model.network.receptive_field, sampling.steps, sampling.n_iter)


@torch.inference_mode()
def generate(
    model: DiffusionModel,
    mel: Tensor,
    sampling: Sampling,
    *,
    seed: int = 0,
    enhance: bool = True,
    f0: Tensor | None = None,
    transpose: float = 0.0,
    chunk_frames: int = CHUNK_FRAMES,
    callback: Callback | None = None,
    watch: Watch | None = None,
    progress: Callable[[int], object] | None = None,
) -> Iterator[Tensor]:
    """Generate the wave of a mel, one chunk after another.

    Args:
        model: on the device where it should run.
        mel: [B, n_mels, T], checked.
        sampling: steps, solver, noise levels and iterations (`DiffusionModel.sampling`).
        seed, enhance, f0, transpose, callback, progress: as of `Vocoder.stream`; f0 is [B, T].
        chunk_frames: frames per chunk; memory grows with it, and with the context of every step.
        watch: called at every level of every chunk with what x_t and the estimate of x_0 sound
            like without mel-consistency iterations, of the samples that the chunk yields, on the
            CPU, [B, chunk * hop_length]. The wave does not depend on it.

    Yields:
        float32 samples on the CPU, [B, chunk * hop_length]; together [B, T * hop_length].
    """
    hop = model.space.hop_length
    if enhance:
        mel = enhanced(model, mel)
    source = utterance_source(model, mel, f0, transpose)
    for frames, kept in chunks(mel.shape[-1], chunk_frames, reach(model, sampling)):
        excitation = None if source is None else source.excitation(model, frames.start, frames.stop)
        piece, position = mel[..., frames].to(model.device), frames.start * hop
        samples, seen = slice(kept.start * hop, kept.stop * hop), callback
        if watch is not None:
            seen = _watching(model, piece, excitation, samples, watch, callback)
        wave = generate_piece(model, piece, excitation, position, sampling, seed, seen)
        yield wave[:, samples].cpu()
        if progress is not None:
            progress(kept.stop - kept.start)


def _watching(
    model: DiffusionModel,
    mel: Tensor,
    excitation: Excitation | None,
    samples: slice,
    watch: Watch,
    callback: Callback | None,
) -> Callback:
    """A callback of the sampler that shows the states of a piece as samples, then calls another."""
    prior = model.space.prior(mel, excitation)

    def show(step: int, alpha_bar: Tensor, x: Tensor, x_0: Tensor) -> None:
        waves = [
            model.space.decode(state, mel, prior=prior)[:, samples].cpu() for state in (x, x_0)
        ]
        watch(step, float(alpha_bar), waves[0], waves[1])
        if callback is not None:
            callback(step, alpha_bar, x, x_0)

    return show


def generate_piece(
    model: DiffusionModel,
    mel: Tensor,
    excitation: Excitation | None,
    position: int,
    sampling: Sampling,
    seed: int,
    callback: Callback | None,
) -> Tensor:
    """Samples [B, T * hop_length] of a mel whose first frame is at sample `position`."""
    coordinates = estimate(model, mel, excitation, sampling, [(seed, position)], callback)
    return model.space.synthesise(coordinates, mel, sampling.n_iter)


def estimate(
    model: DiffusionModel,
    mel: Tensor,
    excitation: Excitation | None,
    sampling: Sampling,
    places: Sequence[tuple[int, int]],
    callback: Callback | None = None,
) -> Tensor:
    """What the reverse chain arrives at, in the coordinates of the model's space, [B, T, ..].

    Args:
        mel: [B, n_mels, T] on the model's device.
        excitation: of a model with a source, for the same frames.
        places: seed and sample of the first frame, of every item or once for all of them.
    """
    space, denoiser = model.space, model.denoiser

    def noise(stream: int) -> Tensor:
        length = space.context(mel.shape[-1])
        white = [white_noise(seed, stream, at - space.pad_left, length) for seed, at in places]
        state = space.noise(torch.stack(white).to(mel.device))
        return state.expand(len(mel), *state.shape[1:])

    prior = space.prior(mel, excitation)
    # Stream 0 is where the chain starts; step i of a sampler that adds noise draws stream i + 1.
    state = sample(
        SAMPLERS[sampling.solver],
        functools.partial(denoiser.estimate, cond=denoiser.condition(mel, prior)),
        noise(0),
        denoiser.levels(sampling),
        noise=lambda i: noise(i + 1),
        callback=callback,
    )
    return state * prior.deviation + prior.mean


def enhanced(model: DiffusionModel, mel: Tensor, chunk_frames: int = CHUNK_FRAMES) -> Tensor:
    """The mel [B, n_mels, T] of whole utterances after the mel enhancer, if the model has one.

    In chunks of one size, whatever the caller's: pulse times add up every rounding of the F0.
    """
    if model.enhancer is None:
        return mel
    reach = model.enhancer.receptive_field
    return _by_chunks(model, lambda x: (model.enhance(x),), mel, chunk_frames, reach, axis=-1)[0]


@dataclass(frozen=True)
class UtteranceSource:
    """The pulses of every item of a batch, and the share of the power that they have."""

    pulses: list[Pulses]
    share: Tensor  # [B, T, bands]

    def excitation(self, model: DiffusionModel, first: int, last: int) -> Excitation:
        """What excites the frames first .. last - 1."""
        return excitation_of(model, self.pulses, self.share[:, first:last], first)


def excitation_of(
    model: DiffusionModel, pulses: Sequence[Pulses], share: Tensor, first: int
) -> Excitation:
    """Excitation of the frames from `first` on that have the shares [B, T, bands]."""
    space = model.space
    start, length = first * space.hop_length - space.pad_left, space.context(share.shape[1])
    train = torch.stack([pulse_train(of_item, start, length) for of_item in pulses])
    return Excitation(train.to(model.device), share.to(model.device))


def utterance_source(
    model: DiffusionModel,
    mel: Tensor,
    f0: Tensor | None = None,
    transpose: float = 0.0,
    chunk_frames: int = CHUNK_FRAMES,
) -> UtteranceSource | None:
    """The source of whole utterances, predicted from their mel; None for a model without one.

    Args: as of :func:`generate`.

    Raises:
        InputError: for an F0 that does not fit, or a pitch asked of a model without a source.
    """
    if model.source is None and f0 is None and not transpose:
        return None
    reach, config = model.source_predictor().receptive_field, model.config.mel
    source = Source(*_by_chunks(model, model.predict_source, mel, chunk_frames, reach))
    if f0 is not None:
        source = with_f0(source, f0)
    if transpose:
        source = transposed(source, transpose)
    pulses = [
        pulse_times(
            hz.numpy(), voiced.numpy(), config.sample_rate, config.hop_length, centre(model)
        )
        for hz, voiced in zip(source.f0, source.voiced, strict=True)
    ]
    return UtteranceSource(pulses, source.share)


def centre(model: DiffusionModel) -> float:
    """Sample in the middle of frame 0."""
    return model.config.mel.n_fft / 2 - model.space.pad_left


def _by_chunks(
    model: DiffusionModel,
    function: Callable[[Tensor], tuple[Tensor, ...]],
    mel: Tensor,
    chunk_frames: int,
    context: int,
    axis: int = 1,
) -> list[Tensor]:
    """As :func:`diffwave.dsp.chunks.by_chunks`, on the model's device."""
    return by_chunks(
        lambda piece: [value.cpu() for value in function(piece.to(model.device))],
        mel, chunk_frames, context, axis,
    )  # fmt: skip

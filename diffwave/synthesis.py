"""Generation in overlapping chunks: bounded memory, and the same samples as in one piece.

A sample of the result depends on the mel and the noise within a finite reach: the network's
receptive field once per step, plus the frames that overlap in the inverse STFT. Each chunk is
generated with that much context on both sides, which is then thrown away; the noise is addressed
by absolute position (:mod:`diffwave.chain.noise`). What is kept equals the unchunked result up to
floating-point rounding.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from diffwave.chain.noise import white_noise
from diffwave.chain.samplers import Callback, get_sampler
from diffwave.chain.sampling import Sampling
from diffwave.model import DiffusionModel

CHUNK_FRAMES = 1024
"""Frames generated at a time by default, about 12 s at 22.05 kHz and hop 256."""


@dataclass(frozen=True)
class Chunk:
    """Frames first .. last - 1 are generated; keep_first .. keep_last - 1 of them are kept."""

    first: int
    last: int
    keep_first: int
    keep_last: int


def reach(model: DiffusionModel, sampling: Sampling, enhance: bool = True) -> int:
    """Frames on each side of a frame that its samples depend on, its mel enhanced or not."""
    enhancing = model.enhancer.receptive_field if enhance and model.enhancer else 0
    return enhancing + model.space.reach(
        model.network.receptive_field, sampling.steps, sampling.n_iter
    )


def chunks(frames: int, chunk_frames: int, context: int) -> Iterator[Chunk]:
    """Cut `frames` into stretches of `chunk_frames`, each with `context` frames around it."""
    for first in range(0, frames, chunk_frames):
        last = min(first + chunk_frames, frames)
        yield Chunk(max(0, first - context), min(frames, last + context), first, last)


@torch.inference_mode()
def generate(
    model: DiffusionModel,
    mel: Tensor,
    sampling: Sampling,
    *,
    seed: int = 0,
    enhance: bool = True,
    chunk_frames: int = CHUNK_FRAMES,
    callback: Callback | None = None,
    progress: Callable[[int], object] | None = None,
) -> Iterator[Tensor]:
    """Generate the wave of a mel, one chunk after another.

    Args:
        model: on the device where it should run.
        mel: [B, n_mels, T], checked.
        sampling: steps, solver, noise levels and iterations (`DiffusionModel.sampling`).
        seed: of the noise; every item of a batch gets the noise it would get alone.
        enhance: give detail back to a smoothed mel first, if the model has a mel enhancer.
        chunk_frames: frames per chunk; memory grows with it, and with the context of every step.
        callback: passed to the sampler; called at every step of every chunk.
        progress: called with the number of frames finished after every chunk.

    Yields:
        float32 samples on the CPU, [B, chunk * hop_length]; together [B, T * hop_length].
    """
    hop, device = model.space.hop_length, next(model.parameters()).device
    for chunk in chunks(mel.shape[-1], chunk_frames, reach(model, sampling, enhance)):
        piece = mel[..., chunk.first : chunk.last].to(device)
        piece = model.enhance(piece) if enhance else piece
        wave = _generate_piece(model, piece, chunk.first * hop, sampling, seed, callback)
        start = (chunk.keep_first - chunk.first) * hop
        yield wave[:, start : start + (chunk.keep_last - chunk.keep_first) * hop].cpu()
        if progress is not None:
            progress(chunk.keep_last - chunk.keep_first)


def _generate_piece(
    model: DiffusionModel,
    mel: Tensor,
    position: int,
    sampling: Sampling,
    seed: int,
    callback: Callback | None,
) -> Tensor:
    """Samples [B, T * hop_length] of a mel whose first frame is at sample `position`."""
    space, denoiser = model.space, model.denoiser
    length = space.context(mel.shape[-1])

    def noise(stream: int) -> Tensor:
        white = white_noise(seed, stream, position - space.pad_left, length)
        state = space.noise(white.to(mel.device)[None])
        return state.expand(len(mel), *state.shape[1:])

    prior = space.prior(mel)
    denoise = functools.partial(denoiser, cond=denoiser.condition(mel, prior))
    # Stream 0 is where the chain starts; step i of a sampler that adds noise draws stream i + 1.
    state = get_sampler(sampling.solver)(
        denoise,
        noise(0),
        denoiser.levels(sampling),
        noise=lambda i: noise(i + 1),
        callback=callback,
    )
    return space.decode(state, mel, sampling.n_iter, prior)

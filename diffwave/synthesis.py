"""Generation in overlapping chunks: bounded memory, and the same samples as in one piece.

A sample of the result depends on the mel and the noise within a finite reach: the network's
receptive field once per step, plus the frames that overlap in the inverse STFT. Each chunk is
generated with that much context on both sides, which is then thrown away; the noise is addressed
by absolute position (:mod:`diffwave.chain.noise`). What is kept equals the unchunked result up to
floating-point rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from diffwave.chain.noise import white_noise
from diffwave.chain.samplers import Callback, Sampler
from diffwave.model import DiffusionModel
from diffwave.networks.spectral import SpectralNet

CHUNK_FRAMES = 1024
"""Frames generated at a time by default, about 12 s at 22.05 kHz and hop 256."""


@dataclass(frozen=True)
class Chunk:
    """Frames first .. last - 1 are generated; keep_first .. keep_last - 1 of them are kept."""

    first: int
    last: int
    keep_first: int
    keep_last: int


def reach(model: DiffusionModel, steps: int, rounds: int = 0, restore: bool = True) -> int:
    """Frames on each side of a frame that its samples depend on.

    After `steps` network calls and `rounds` of agreement with the mel, restored or not.
    """
    restoring = model.restorer.receptive_field if restore and model.restorer else 0
    hop = model.config.mel.hop_length
    network = model.network
    if isinstance(network, SpectralNet) and model.config.space is not None:
        overlapping = -(-model.config.space.n_fft // hop)
        # One more frame for the envelope's neighbours, and those overlapping in every inverse STFT.
        generating = steps * network.receptive_field + 1 + (rounds + 1) * overlapping
        return restoring + generating
    # Two more frames for the mel upsampler of the waveform network.
    return restoring + steps * -(-network.receptive_field // hop) + 2


def chunks(frames: int, chunk_frames: int, context: int) -> Iterator[Chunk]:
    """Cut `frames` into stretches of `chunk_frames`, each with `context` frames around it."""
    for first in range(0, frames, chunk_frames):
        last = min(first + chunk_frames, frames)
        yield Chunk(max(0, first - context), min(frames, last + context), first, last)


@torch.inference_mode()
def generate(
    model: DiffusionModel,
    mel: Tensor,
    levels: Tensor,
    sampler: Sampler,
    seed: int,
    chunk_frames: int = CHUNK_FRAMES,
    callback: Callback | None = None,
    progress: Callable[[int], object] | None = None,
    rounds: int | None = None,
    restore: bool = True,
) -> Iterator[Tensor]:
    """Generate the wave of a mel, one chunk after another.

    Args:
        model: on the device where it should run.
        mel: [B, n_mels, T], checked.
        levels: alpha_bar to visit, [S] (`DiffusionModel.levels`).
        sampler: one of `diffwave.chain.samplers`.
        seed: of the noise; every item of a batch gets the noise it would get alone.
        chunk_frames: frames per chunk; memory grows with it, and with the context of every step.
        callback: passed to the sampler; hears of every step of every chunk.
        progress: called with the number of frames finished after every chunk.
        rounds: of agreement with the mel; the model's own when None.
        restore: give detail back to a smoothed mel first, if the model has a restorer.

    Yields:
        float32 samples on the CPU, [B, chunk * hop_length]; together [B, T * hop_length].
    """
    hop, device = model.config.mel.hop_length, next(model.parameters()).device
    frames = mel.shape[-1]
    rounds = model.config.sampling.rounds_after(len(levels)) if rounds is None else rounds
    for chunk in chunks(frames, chunk_frames, reach(model, len(levels), rounds, restore)):
        piece = mel[..., chunk.first : chunk.last].to(device)
        wave = _generate_piece(
            model, piece, chunk.first * hop, levels, sampler, seed, callback, rounds, restore
        )
        start = (chunk.keep_first - chunk.first) * hop
        yield wave[:, start : start + (chunk.keep_last - chunk.keep_first) * hop].cpu()
        if progress is not None:
            progress(chunk.keep_last - chunk.keep_first)


def _generate_piece(
    model: DiffusionModel,
    mel: Tensor,
    position: int,
    levels: Tensor,
    sampler: Sampler,
    seed: int,
    callback: Callback | None,
    rounds: int,
    restore: bool,
) -> Tensor:
    if restore:
        mel = model.restored(mel)
    representation = model.representation
    length = representation.context(mel.shape[-1])

    def noise(stream: int) -> Tensor:
        white = white_noise(seed, stream, position - representation.pad_left, length)
        state = representation.noise(white.to(mel.device)[None])
        return state.expand(len(mel), *state.shape[1:])

    # Stream 0 is where the chain starts; step i of a sampler that adds noise draws stream i + 1.
    state = sampler(
        model.denoiser(mel), noise(0), levels, noise=lambda i: noise(i + 1), callback=callback
    )
    return model.decode(state, mel, rounds)

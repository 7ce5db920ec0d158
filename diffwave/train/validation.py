"""What a run is judged by: losses, and speech generated from held-out mels."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from diffwave.data.clip import Clip
from diffwave.data.crops import DRAWS, Framing, mel_frames
from diffwave.eval.metrics import choose_metrics
from diffwave.model import DiffusionModel
from diffwave.spaces.source import Excitation
from diffwave.synthesis import generate
from diffwave.train.config import LossConfig
from diffwave.train.losses import DenoisingLoss, mel_of
from diffwave.train.restoration import EnhancementLoss
from diffwave.train.source import SourceLoss, pitch_errors

LEVELS = 8
CROP_FRAMES = 256
"""Frames at the end of a clip of which the loss is taken; shorter clips give all they have."""
LISTENED = 3
"""Clips that are generated for TensorBoard."""
SCORES = ["pesq", "mr_stft"]
"""Of what is generated, where their packages are installed."""
DYNAMIC_RANGE = 80.0
"""Of the spectrograms, in dB."""


@torch.no_grad()
def validate(
    model: DiffusionModel,
    config: LossConfig,
    clips: list[Clip],
    writer: SummaryWriter,
    step: int,
) -> dict[str, float]:
    """Losses on fixed crops and fixed noise, and the scores of what is generated.

    Also writes the values, the generated audio and pictures of it to TensorBoard.

    Args:
        model: with the weights to judge.
        config: of the losses; what none of them trains is not judged.
        clips: never trained on; those too short for a loss, or a mel, are passed over.
        writer: of TensorBoard.
        step: under which the values are written.

    Returns:
        "loss_level_0" (least noise) .. and their mean "loss_validation"; `SCORES`, the means over
        `LISTENED` clips, whose packages are installed; "loss_restoration", of smoothed mels. None
        of them without clips.
    """
    values: dict[str, float] = {}
    if config.denoising or config.unrolled:
        values |= _denoising(model, config, clips) | _listen(model, clips, writer, step)
    if config.enhancement and model.enhancer is not None:
        values |= _restoration(model, config, clips)
    if config.source and model.source is not None:
        values |= _source(model, config, clips)
    for name, value in values.items():
        writer.add_scalar(f"validation/{name}", value, step)
    return values


def _denoising(model: DiffusionModel, config: LossConfig, clips: list[Clip]) -> dict[str, float]:
    loss_of, levels = DenoisingLoss(model, config), _levels(model)
    losses = [
        [
            float(loss_of.at(model, model.denoiser, wave, white, a, given, source and source[0]))
            for a in levels
        ]
        for wave, white, mel, source in _crops(model, clips, 2 * config.edge_frames + 1)
        for given in [mel_of(model, wave, mel)]
    ]
    if not losses:
        return {}
    means = np.mean(losses, axis=0)
    values = {f"loss_level_{i}": float(mean) for i, mean in enumerate(means)}
    return values | {"loss_validation": float(means.mean())}


def _restoration(model: DiffusionModel, config: LossConfig, clips: list[Clip]) -> dict[str, float]:
    loss_of, rng = EnhancementLoss(model, config), np.random.default_rng(1)
    losses = []
    for wave, white, mel, _ in _crops(model, clips, 2 * config.edge_frames + 2):
        draws = torch.from_numpy(rng.random((1, DRAWS), np.float32)).to(wave.device)
        draws[:, 0] = 0  # smoothed, all of them
        losses.append(float(loss_of.of(model, wave, white, draws, mel)))
    return {"loss_restoration": float(np.mean(losses))} if losses else {}


def _source(model: DiffusionModel, config: LossConfig, clips: list[Clip]) -> dict[str, float]:
    """Loss and errors of the source predicted from the mels as the network is given them."""
    loss_of, rows = SourceLoss(model, config), []
    for wave, _, mel, source in _crops(model, clips, 2 * config.edge_frames + 1):
        if source is not None:
            given = mel_of(model, wave, mel)
            loss = float(loss_of.of(model, given, *source))
            rows.append({"loss_source": loss, **pitch_errors(model, given, source[1])})
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]} if rows else {}


def _crops(
    model: DiffusionModel, clips: list[Clip], at_least: int
) -> Iterator[tuple[Tensor, Tensor, Tensor | None, tuple[Excitation, Tensor] | None]]:
    """Wave, the same white noise every time, mel and source (with F0) if any, of clips' crops."""
    device, rng = next(model.parameters()).device, np.random.default_rng(0)
    for clip in clips:
        crop = _longest_crop(model, clip, at_least)
        if crop is not None:
            wave, mel, source = crop
            white = torch.from_numpy(rng.standard_normal(wave.shape, np.float32))
            mel = None if mel is None else mel.to(device)
            on_device = None if source is None else _on(source, device)
            yield wave.to(device), white.to(device), mel, on_device


def _on(source: tuple[Tensor, ...], device: torch.device) -> tuple[Excitation, Tensor]:
    """Pulse train, share and F0 of one crop, as a batch."""
    train, share, f0 = (part[None].to(device) for part in source)
    return Excitation(train, share), f0


def _levels(model: DiffusionModel) -> list[Tensor]:
    """alpha_bar [1] of the middle of each of `LEVELS` equal stretches of the chain."""
    place = (torch.arange(LEVELS) + 0.5) / LEVELS
    return list(model.denoiser.levels_at(place)[:, None])


def _longest_crop(
    model: DiffusionModel, clip: Clip, at_least: int
) -> tuple[Tensor, Tensor | None, tuple[Tensor, ...] | None] | None:
    """Wave [1, L], mel and source if the clip has them, of up to `CROP_FRAMES` frames at its end.

    None if it does not have `at_least` of them.
    """
    framing = Framing(model.config)
    if clip.mel is None:
        frames = min(CROP_FRAMES, (len(clip.samples) - framing.overlap) // framing.hop_length)
    else:
        frames = min(CROP_FRAMES, clip.mel.shape[1])
    length = framing.samples(frames)
    # Reflection needs more samples than it adds.
    if frames < at_least or not model.config.mel.n_fft <= length <= 2 * len(clip.samples):
        return None
    if clip.mel is None:
        source = framing.source_of(clip, len(clip.samples) - length, frames)
        return clip.polarity * clip.wave()[None, -length:], None, source
    first = clip.mel.shape[1] - frames
    samples = framing.samples_of(clip, first, frames).astype(np.float32) / 32768
    wave = clip.polarity * torch.from_numpy(samples)[None]
    source = framing.source_of(clip, first * framing.hop_length - framing.pad_left, frames)
    return wave, mel_frames(clip.mel, first, frames)[None], source


def _listen(
    model: DiffusionModel, clips: list[Clip], writer: SummaryWriter, step: int
) -> dict[str, float]:
    """Generate the first clips with the model's own steps and sampler; returns their scores."""
    device = next(model.parameters()).device
    sample_rate, sampling = model.config.mel.sample_rate, model.sampling()
    metrics, _ = choose_metrics(SCORES)
    scores: dict[str, list[float]] = {name: [] for name in metrics}
    for clip in [clip for clip in clips if len(clip.samples) >= model.config.mel.n_fft][:LISTENED]:
        original = clip.wave()
        mel = model.mel(original.to(device)) if clip.mel is None else _whole_mel(clip).to(device)
        generated = torch.cat(list(generate(model, mel[None], sampling)), -1)[0]
        original = original[: len(generated)]
        generated = generated[: len(original)].clamp(-1, 1)
        if len(generated) < model.config.mel.n_fft:
            continue
        again = model.mel(generated.to(device))
        for name, wave in (("original", original), ("generated", generated)):
            writer.add_audio(f"{clip.name}/{name}", wave[None], step, sample_rate)
        writer.add_image(f"{clip.name}/mel", picture(mel.cpu(), again.cpu()), step)
        spectra = [spectrogram(wave, model.config.mel.n_fft) for wave in (original, generated)]
        writer.add_image(f"{clip.name}/spectrogram", picture(spectra[0], spectra[1]), step)
        for name, metric in metrics.items():
            scores[name].append(metric.function(original.numpy(), generated.numpy(), sample_rate))
    finite = {name: [v for v in values if math.isfinite(v)] for name, values in scores.items()}
    return {name: float(np.mean(values)) for name, values in finite.items() if values}


def _whole_mel(clip: Clip) -> Tensor:
    assert clip.mel is not None
    return mel_frames(clip.mel, 0, clip.mel.shape[1])


def spectrogram(wave: Tensor, n_fft: int) -> Tensor:
    """Level in dB of a wave [L], [n_fft // 2 + 1, frames], not below `DYNAMIC_RANGE` under its top.

    The hop is a quarter of n_fft, the window a Hann window.
    """
    window = torch.hann_window(n_fft)
    spectrum = torch.stft(wave, n_fft, n_fft // 4, window=window, return_complex=True).abs()
    level = 20 * torch.log10(spectrum.clamp_min(1e-7))
    return level.clamp_min(float(level.max()) - DYNAMIC_RANGE)


def picture(original: Tensor, generated: Tensor) -> Tensor:
    """Two mels or spectrograms [bands, T], the original above, low bands at the bottom.

    Grey, [1, 2 bands, T]: black and white are the least and the greatest value of the original. Of
    two that differ in length the common part is shown.
    """
    frames = min(original.shape[1], generated.shape[1])
    both = torch.cat((original[:, :frames].flip(0), generated[:, :frames].flip(0)))
    low, high = original.min(), original.max()
    return ((both - low) / (high - low).clamp_min(1e-6)).clamp(0, 1)[None]

"""What a run is judged by: losses, and speech generated from held-out mels."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.tensorboard import SummaryWriter

from diffwave.data.crops import DRAWS, Batch, Clip, Framing, batch_of
from diffwave.eval.metrics import choose_metrics
from diffwave.listening.pictures import RANGE_DB, levels_db
from diffwave.model import DiffusionModel
from diffwave.synthesis import generate
from diffwave.train.config import LossConfig
from diffwave.train.losses import DenoisingLoss, mel_of
from diffwave.train.mel_losses import EnhancementLoss, SourceLoss, pitch_errors
from diffwave.train.objective import trained_parts

LEVELS = 8
CROP_FRAMES = 256
"""Frames at the end of a clip of which the loss is taken; shorter clips give all they have."""
LISTENED = 3
"""Clips that are generated for TensorBoard."""
SCORES = ["pesq", "mr_stft"]
"""Of what is generated, where their packages are installed."""


@torch.no_grad()
def validate(
    model: DiffusionModel,
    config: LossConfig,
    clips: Sequence[Clip],
    writer: SummaryWriter,
    step: int,
) -> dict[str, float]:
    """Losses on fixed crops and fixed noise, and the scores of what is generated.

    What no loss trains is not judged, and clips too short for a loss, or a mel, are passed over.
    The generated audio and pictures of it go to TensorBoard, under `step`.

    Returns:
        "loss_level_0" (least noise) .. and their mean "loss_validation"; `SCORES`, the means over
        `LISTENED` clips, whose packages are installed; "loss_enhancement", of damaged mels;
        "loss_source", of undamaged ones, and the errors of the source. None of them without clips.
    """
    rows: list[dict[str, float]] = []
    trains = trained_parts(model, config)
    rng = np.random.default_rng(1)
    for batch in _batches(model, clips, 2 * config.edge_frames + 2):
        row: dict[str, float] = {}
        if "network" in trains:
            loss, places = DenoisingLoss(model, config), (np.arange(LEVELS) + 0.5) / LEVELS
            for i, place in enumerate(places):
                batch.place = torch.tensor([place])
                row[f"loss_level_{i}"] = float(loss(model, model.denoiser, batch))
            row["loss_validation"] = float(np.mean(list(row.values())))
        if "enhancer" in trains:
            draws = torch.from_numpy(rng.random((1, DRAWS), np.float32)).to(batch.wave.device)
            draws[:, 0] = 0  # damaged, all of them
            damaged = dataclasses.replace(batch, draws=draws)
            value = EnhancementLoss(model, config)(model, model.denoiser, damaged)
            row["loss_enhancement"] = float(value)
        if "source" in trains and batch.excitation is not None and batch.f0 is not None:
            mel = mel_of(model, batch)
            draws = torch.full((1, DRAWS), float(batch.mel is None), device=mel.device)
            given = dataclasses.replace(batch, mel=mel, draws=draws)
            row["loss_source"] = float(SourceLoss(model, config)(model, model.denoiser, given))
            row |= pitch_errors(model, mel, batch.f0)
        rows.append(row)
    names = dict.fromkeys(name for row in rows for name in row)
    values = {name: float(np.mean([row[name] for row in rows if name in row])) for name in names}
    return values | (_listen(model, clips, writer, step) if "network" in trains else {})


def spread(clips: Sequence[Clip], most: int) -> list[Clip]:
    """Up to `most` of the clips, evenly spaced, the same ones every time; all of them if 0."""
    count = min(most, len(clips)) or len(clips)
    return [clips[i * len(clips) // count] for i in range(count)]


def _batches(model: DiffusionModel, clips: Sequence[Clip], at_least: int) -> Iterator[Batch]:
    """The end of every clip, up to `CROP_FRAMES`, as a batch with the same noise every time.

    Clips that do not have `at_least` frames are passed over.
    """
    device, rng = next(model.parameters()).device, np.random.default_rng(0)
    framing, n_fft = Framing(model.config), model.config.mel.n_fft
    for clip in clips:
        frames = (len(clip.samples) - framing.overlap) // framing.hop_length
        frames = min(CROP_FRAMES, frames if clip.mel is None else clip.mel.shape[1])
        length = framing.samples(frames)
        # Reflection needs more samples than it adds.
        if frames < at_least or not n_fft <= length <= 2 * len(clip.samples):
            continue
        crop = framing.cut(clip, framing.places(clip, frames) - 1, frames)
        crop = crop._replace(wave=crop.wave * np.float32(clip.polarity / 32768))
        white = rng.standard_normal((1, 1, len(crop.wave)), np.float32)
        yield batch_of([crop], white, [0.0], 0.0, np.zeros((1, DRAWS), np.float32)).to(device)


def _listen(
    model: DiffusionModel, clips: Sequence[Clip], writer: SummaryWriter, step: int
) -> dict[str, float]:
    """Generate the first clips with the model's own steps and sampler; returns their scores."""
    device, n_fft = next(model.parameters()).device, model.config.mel.n_fft
    sample_rate, sampling = model.config.mel.sample_rate, model.sampling()
    metrics, _ = choose_metrics(SCORES)
    scores: dict[str, list[float]] = {name: [] for name in metrics}
    for clip in [clip for clip in clips if len(clip.samples) >= n_fft][:LISTENED]:
        original = clip.wave()
        mel = model.mel(original.to(device))
        if clip.mel is not None:
            mel = torch.from_numpy(np.array(clip.mel, np.float32)).to(device)
        generated = torch.cat(list(generate(model, mel[None], sampling)), -1)[0]
        original = original[: len(generated)]
        generated = generated[: len(original)].clamp(-1, 1)
        if len(generated) < n_fft:
            continue
        for name, wave in (("original", original), ("generated", generated)):
            writer.add_audio(f"{clip.name}/{name}", wave[None], step, sample_rate)
        levels = [levels_db(wave, sample_rate) for wave in (original, generated)]
        writer.add_image(f"{clip.name}/spectrogram", picture(*levels), step)
        for name, metric in metrics.items():
            scores[name].append(metric.function(original.numpy(), generated.numpy(), sample_rate))
    finite = {name: [v for v in values if math.isfinite(v)] for name, values in scores.items()}
    return {name: float(np.mean(values)) for name, values in finite.items() if values}


def picture(original: NDArray[np.float32], generated: NDArray[np.float32]) -> NDArray[np.float32]:
    """Two `levels_db` [bins, T], the original above, low bins at the bottom, [1, 2 bins, T].

    Grey: white is the greatest level of the original, black is `RANGE_DB` below.
    """
    both = np.concatenate((original[::-1], generated[::-1]))
    return np.clip((both - original.max()) / RANGE_DB + 1, 0, 1)[None]

"""Stage 5: train the mel enhancer of a voice on with the mels that the acoustic model predicts.

python recipes/tts/enhance.py MELS/wavs MELS/forced OUT [--minutes 20]

Recordings and teacher-forced mels of the same names, as mels.py writes them. Only the enhancer
changes; OUT is a checkpoint of the whole voice. Its loss is the project's own
(diffwave/train/mel_losses.py): the predicted mels are the damaged ones, and some of the crops are
given as recorded, so that the mel of a recording still passes. In some of the steps the damage is
the blur of its first training, which it is not to forget. With --smoother a network first learns
how the acoustic model smooths, and the enhancer then restores what that makes of recordings; that
is the better way (docs/tts.md). `diffwave train` with data.mel_folder and loss.enhancement trains
as this does without --smoother.
"""

from __future__ import annotations

import argparse
import copy
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from diffwave import Vocoder
from diffwave.base.audio import read_audio
from diffwave.base.errors import InputError, run_script
from diffwave.checkpoint import save_checkpoint
from diffwave.data.config import DataConfig
from diffwave.data.corpus import MelFolder, sixteen_bit
from diffwave.data.crops import Clip, Crops
from diffwave.eval.scoring import audio_files
from diffwave.train.config import LossConfig, OptimConfig
from diffwave.train.mel_losses import EnhancementLoss
from diffwave.train.optimizers import learning_rate, set_rate
from diffwave.train.processes import stop_request
from diffwave.train.state import update_average


class Smoother(nn.Module):
    """What an acoustic model leaves of a mel: ``forward(mel)`` of normalised ones [B, n_mels, T].

    Trained to predict the teacher-forced mel from the recording's, it learns how the model smooths
    and not what it cannot know. What it makes of a recording can be restored, where the prediction
    itself cannot: its enhancer would learn the median, which is as smooth as the prediction.
    """

    def __init__(self, n_mels: int, width: int = 160) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv1d(n_mels, width, 5, padding=2),
            nn.GELU(),
            nn.Conv1d(width, width, 5, padding=2),
            nn.GELU(),
            nn.Conv1d(width, n_mels, 5, padding=2),
        )

    def forward(self, mel: Tensor) -> Tensor:
        smooth: Tensor = mel + self.layers(mel)
        return smooth


def clips(wavs: Path, mels: Path, vocoder: Vocoder, config: DataConfig) -> list[Clip]:
    """Recordings with their mels that are long enough for a crop."""
    folder = MelFolder(str(mels), vocoder.config.mel, config.mel_tolerance)
    found = []
    for name, path in audio_files(wavs).items():
        wave, _ = read_audio(path, vocoder.sample_rate)
        samples, mel, _ = folder.pair(Path(path.name), sixteen_bit(wave.numpy()))
        if mel.shape[1] >= config.crop_frames:
            found.append(Clip(name, samples, mel))
    if not found:
        raise InputError(f"No recording of {wavs} is as long as {config.crop_frames} frames.")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("wavs", type=Path)
    parser.add_argument("mels", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--checkpoint", default="ljspeech-22k")
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--batches", type=int, help="end after so many instead, on any machine")
    parser.add_argument("--blurred", type=float, default=0.3, help="share of steps with a blur")
    parser.add_argument(
        "--smoother", type=float, default=0, help="share of the training in which it is learned"
    )
    parser.add_argument(
        "--mix", type=float, default=1, help="share of the result; the rest is what it began as"
    )
    parser.add_argument("--rate", type=float, default=5e-4)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    vocoder = Vocoder.from_pretrained(options.checkpoint, options.device)
    model = vocoder.model
    if model.enhancer is None:
        raise InputError(f"{options.checkpoint} has no mel enhancer.")
    config = DataConfig(crop_frames=96)
    found = clips(options.wavs, options.mels, vocoder, config)
    crops = Crops(found, vocoder.config, config, seed=0)
    loss_of = EnhancementLoss(model, LossConfig())
    enhancer = model.enhancer.train().requires_grad_(True)
    averaged = copy.deepcopy(enhancer).eval().requires_grad_(False)
    before = copy.deepcopy(averaged)
    rates = OptimConfig(lr=options.rate, last_lr=0, warmup_steps=50)
    optimizer = torch.optim.AdamW(enhancer.parameters(), lr=options.rate, weight_decay=0.01)
    normalise = enhancer.config.normalise or vocoder.config.normalise
    smoother = Smoother(vocoder.config.mel.n_mels).to(vocoder.device)
    smoothing = torch.optim.AdamW(smoother.parameters(), lr=1e-3)
    random = np.random.default_rng(0)
    started = shown = time.monotonic()
    means: dict[str, list[float]] = {"predicted": [], "blurred": []}
    step = 0
    with stop_request() as stop:
        stream = crops.stream(0, options.batch, [range(options.batch)])
        for number, batch in enumerate(stream):
            passed = (time.monotonic() - started) / (60 * options.minutes)
            if options.batches:
                passed = number / options.batches
            if passed >= 1 or stop.received:
                break
            set_rate(optimizer, learning_rate(rates, step, passed))
            batch = batch.to(vocoder.device)
            kind = "blurred" if random.random() < options.blurred else "predicted"
            if kind == "blurred":
                batch.mel = None  # the loss then blurs the recording's
            if batch.mel is not None and options.smoother:
                with torch.no_grad():
                    clean = model.space.mel_of_crop(batch.wave)
                if passed < options.smoother:
                    set_rate(smoothing, 1e-3 * (1 - 0.9 * passed / options.smoother))
                    error = (smoother(normalise(clean)) - normalise(batch.mel)).abs().mean()
                    smoothing.zero_grad()
                    error.backward()
                    smoothing.step()
                    means.setdefault("smoother", []).append(error.item())
                    continue
                with torch.no_grad():
                    level = 0.05 * torch.rand(len(clean), 1, 1, device=clean.device)
                    batch.mel = smoother(normalise(clean)) * normalise.scale + normalise.mean
                    batch.mel = batch.mel + level * torch.randn_like(clean)
            loss = loss_of(model, model.denoiser, batch).mean()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(enhancer.parameters(), 1.0)
            optimizer.step()
            step += 1
            update_average(averaged, enhancer, 0.998, step)
            means[kind].append(loss.item())
            if time.monotonic() - shown > 20:
                line = " ".join(f"{k} {np.mean(v[-200:]):.4f}" for k, v in means.items() if v)
                print(f"step {step} {100 * passed:.0f} % {line}", flush=True)
                shown = time.monotonic()
    for old, new in zip(before.parameters(), averaged.parameters(), strict=True):
        new.copy_(old.lerp(new, options.mix))
    enhancer.load_state_dict(averaged.state_dict())
    save_checkpoint(model, options.out)
    minutes = (time.monotonic() - started) / 60
    print(f"{len(found)} recordings, {step} steps of {options.batch} in {minutes:.1f} minutes")


if __name__ == "__main__":
    run_script(main)

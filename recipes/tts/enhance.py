"""Stage 5: train the mel enhancer of a voice on with the mels that the acoustic model predicts.

python recipes/tts/enhance.py MELS/wavs MELS/forced OUT [--minutes 20]

Recordings and teacher-forced mels of the same names, as mels.py writes them. Only the enhancer
changes; OUT is a checkpoint of the whole voice. Its loss is the project's own
(diffwave/train/mel_losses.py): the predicted mels are the damaged ones, and some of the crops are
given as recorded, so that the mel of a recording still passes. In some of the steps the damage is
the blur of its first training, which it is not to forget. With --adversarial W a critic of mels is
trained beside it, as in GAN postfilters (Kaneko et al. 2017, ICASSP): a distance alone has a median
as its minimum, which is as smooth as the prediction was. `diffwave train` with enhancer.yaml does
the same but for that, and analyses the pulses of all recordings first, which takes longer.
"""

from __future__ import annotations

import argparse
import copy
import math
import signal
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from diffwave import Vocoder
from diffwave.base.audio import read_audio
from diffwave.base.errors import InputError
from diffwave.checkpoint import save_checkpoint
from diffwave.data.config import DataConfig
from diffwave.data.corpus import MelFolder, sixteen_bit
from diffwave.data.crops import Clip, Crops
from diffwave.eval.scoring import audio_files
from diffwave.train.config import LossConfig
from diffwave.train.mel_losses import EnhancementLoss


class Critic(nn.Module):
    """Judges, patch by patch, whether a mel is a recording's, beside the one that was predicted."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        sizes = [(2, width), (width, 2 * width), (2 * width, 2 * width)]
        self.layers = nn.ModuleList(
            spectral_norm(nn.Conv2d(a, b, 5, stride=2, padding=2)) for a, b in sizes
        )
        self.output = spectral_norm(nn.Conv2d(2 * width, 1, 3, padding=1))

    def forward(self, given: Tensor, mel: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Verdicts [B, 1, bands, T] and what the layers saw, of normalised mels [B, n_mels, T]."""
        seen, hidden = [], torch.stack([given, mel], dim=1)
        for layer in self.layers:
            hidden = F.leaky_relu(layer(hidden), 0.2)
            seen.append(hidden)
        return self.output(hidden), seen


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
    parser.add_argument("--blurred", type=float, default=0.3, help="share of steps with a blur")
    parser.add_argument("--adversarial", type=float, default=0, help="weight of the critic")
    parser.add_argument("--distance", type=float, default=1, help="weight of the distance")
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
    optimizer = torch.optim.AdamW(enhancer.parameters(), lr=options.rate, weight_decay=0.01)
    critic = Critic().to(vocoder.device)
    judging = torch.optim.AdamW(critic.parameters(), lr=4e-4, betas=(0.5, 0.9))
    normalise = enhancer.config.normalise or vocoder.config.normalise
    random = np.random.default_rng(0)
    stopped: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: stopped.append(number))
    started = shown = time.monotonic()
    means: dict[str, list[float]] = {"predicted": [], "blurred": []}
    step = 0
    for batch in crops.stream(0, options.batch, [range(options.batch)]):
        passed = (time.monotonic() - started) / (60 * options.minutes)
        if passed >= 1 or stopped:
            break
        for group in optimizer.param_groups:
            warm = min(1.0, (step + 1) / 50)
            group["lr"] = options.rate * warm * 0.5 * (1 + math.cos(math.pi * passed))
        batch = batch.to(vocoder.device)
        kind = "blurred" if random.random() < options.blurred else "predicted"
        if kind == "blurred":
            batch.mel = None  # the loss then blurs the recording's
        loss = options.distance * loss_of(model, model.denoiser, batch).mean()
        if options.adversarial and batch.mel is not None:
            given, real = normalise(batch.mel), normalise(model.space.mel_of_crop(batch.wave))
            fake = normalise(model.enhance_gated(batch.mel)[0])
            verdict, expected = critic(given, real)
            doubt = critic(given, fake.detach())[0]
            judging.zero_grad()
            ((verdict - 1).square().mean() + doubt.square().mean()).backward()
            judging.step()
            with torch.no_grad():
                expected = critic(given, real)[1]
            verdict, seen = critic(given, fake)
            matching = torch.stack(
                [F.l1_loss(a, b) for a, b in zip(seen, expected, strict=True)]
            ).sum()
            fooled = (verdict - 1).square().mean()
            loss = loss + options.adversarial * (fooled + matching)
            means.setdefault("fooled", []).append(fooled.item())
            means.setdefault("caught", []).append(doubt.square().mean().item())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(enhancer.parameters(), 1.0)
        optimizer.step()
        step += 1
        share = 1 - min(0.998, (1 + step) / (10 + step))
        with torch.no_grad():
            for old, new in zip(averaged.parameters(), enhancer.parameters(), strict=True):
                old.lerp_(new, share)
        means[kind].append(loss.item())
        if time.monotonic() - shown > 20:
            line = " ".join(f"{k} {np.mean(v[-200:]):.4f}" for k, v in means.items() if v)
            print(f"step {step} {100 * passed:.0f} % {line}", flush=True)
            shown = time.monotonic()
    enhancer.load_state_dict(averaged.state_dict())
    save_checkpoint(model, options.out)
    minutes = (time.monotonic() - started) / 60
    print(f"{len(found)} recordings, {step} steps of {options.batch} in {minutes:.1f} minutes")


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        print(f"enhance.py: {error}", file=sys.stderr)
        sys.exit(2)

"""What a voice makes of mels that are not like those it was trained on, as a Markdown table.

python recipes/ljspeech/robustness.py RECORDINGS_FOLDER [--checkpoint NAME] [--only PATTERN]
    [--limit N] [--steps N] [--no-restore]

Every recording's mel is given as it is, 12 dB louder and softer (the result is scaled back before
it is scored), and smoothed as the mels of a model that predicts them are: over time, over bands and
over both by a Gaussian, and by the mean of neighbours. Then the mel of silence, and the joins of
short chunks.
"""

import argparse
import itertools
import math
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F
from tqdm import tqdm

from diffwave import Vocoder
from diffwave.audio import AUDIO_SUFFIXES, read_audio
from diffwave.eval.metrics import METRICS
from diffwave.train.restoration import smoothed

SCORES = ("pesq", "distillmos", "mr_stft", "voicing_f1", "pause_level_db", "loudness_db")


def blurred(frames: float, bands: float) -> Callable[[torch.Tensor], torch.Tensor]:
    """Gaussian blur of a mel [n_mels, T] with these standard deviations."""
    deviations = torch.tensor([float(frames)]), torch.tensor([float(bands)])
    return lambda mel: smoothed(mel[None], *deviations)[0]


def boxed(mel: torch.Tensor) -> torch.Tensor:
    """Mean of 3 x 3 neighbours, a blur of a kind that no restorer was trained on."""
    padded = F.pad(mel[None, None], (1, 1, 1, 1), mode="replicate")
    return F.avg_pool2d(padded, 3, stride=1)[0, 0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recordings", type=Path)
    parser.add_argument("--checkpoint", default="ljspeech-22k")
    parser.add_argument("--only", default="*")
    parser.add_argument("--limit", type=int, default=16)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--restore", action=argparse.BooleanOptionalAction, default=True)
    options = parser.parse_args()
    vocoder = Vocoder.from_pretrained(options.checkpoint)
    config = vocoder.config.mel
    found = (
        path
        for path in sorted(options.recordings.iterdir())
        if path.suffix.lower() in AUDIO_SUFFIXES and fnmatch(path.name, options.only)
    )
    clips = [
        read_audio(path, vocoder.sample_rate)[0] for path in itertools.islice(found, options.limit)
    ]
    if not clips:
        parser.error(f"there is no recording like {options.only} in {options.recordings}")
    gain = 12 * math.log(10) / 20  # nepers
    conditions = {
        "as recorded": (lambda mel: mel, 0.0),
        "12 dB louder": (lambda mel: mel + gain * config.log_factor, gain),
        "12 dB softer": (lambda mel: mel - gain * config.log_factor, -gain),
        "blurred over time, 1 frame": (blurred(1, 0), 0.0),
        "blurred over bands, 1 band": (blurred(0, 1), 0.0),
        "blurred over both": (blurred(1, 1), 0.0),
        "mean of 3 x 3 neighbours": (boxed, 0.0),
    }
    print("| mel | " + " | ".join(SCORES) + " |")
    print("|---" * (1 + len(SCORES)) + "|", flush=True)
    for label, (change, nepers) in conditions.items():
        rows = []
        for clip in tqdm(clips, desc=label, disable=None, leave=False):
            mel = change(vocoder.mel(clip))
            wave = vocoder(mel, steps=options.steps, enhance=options.restore) * math.exp(-nepers)
            length = min(len(wave), len(clip))
            pair = clip[:length].numpy(), wave[:length].numpy()
            rows.append([METRICS[n].function(*pair, vocoder.sample_rate) for n in SCORES])
        means = np.nanmean(rows, axis=0)
        print(f"| {label} | " + " | ".join(f"{mean:.2f}" for mean in means) + " |", flush=True)
    silence = vocoder.mel(torch.zeros(2 * vocoder.sample_rate))
    level = 20 * math.log10(float(vocoder(silence).square().mean().sqrt()) + 1e-12)
    print(f"\nThe mel of digital silence becomes {level:.0f} dB of full scale.")
    mel = vocoder.mel(clips[0])
    whole, chunked = vocoder(mel), vocoder(mel, chunk_frames=64)
    far = float((whole - chunked).abs().max() / whole.abs().max())
    print(f"Chunks of 64 frames differ from one piece by {far:.1e} of the largest sample.")


main()

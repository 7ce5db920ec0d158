"""What a voice makes of mels that are not like those it was trained on, as a Markdown table.

python recipes/ljspeech/robustness.py RECORDINGS_FOLDER [--checkpoint NAME] [--only PATTERN]
    [--limit N] [--steps N] [--no-enhance]

Every recording's mel is given as it is, 12 dB louder and softer (the result is scaled back before
it is scored), and smoothed as the mels of a model that predicts them are: over time, over bands and
over both by a Gaussian, and by the mean of neighbours. Then the mel of silence, and the joins of
short chunks.
"""

import argparse
import itertools
import math
from collections.abc import Callable
from pathlib import Path

import torch
from torch.nn import functional as F
from tqdm import tqdm

from diffwave import Vocoder
from diffwave.base.audio import read_audio
from diffwave.base.errors import run_script
from diffwave.base.text import markdown_table
from diffwave.eval.scoring import System, audio_files, evaluate_systems, resynthesis_system
from diffwave.train.mel_losses import smoothed

SCORES = [
    "pesq", "distillmos", "mr_stft", "voicing_f1", "pulse_sharpness", "envelope_correlation",
    "pause_level_db", "loudness_db",
]  # fmt: skip
GAIN = 12 * math.log(10) / 20  # nepers


def blurred(frames: float, bands: float) -> Callable[[torch.Tensor], torch.Tensor]:
    """Gaussian blur of a mel [n_mels, T] with these standard deviations."""
    deviations = torch.tensor([float(frames)]), torch.tensor([float(bands)])
    return lambda mel: smoothed(mel[None], *deviations)[0]


def boxed(mel: torch.Tensor) -> torch.Tensor:
    """Mean of 3 x 3 neighbours, a blur of a kind that no mel enhancer was trained on."""
    padded = F.pad(mel[None, None], (1, 1, 1, 1), mode="replicate")
    return F.avg_pool2d(padded, 3, stride=1)[0, 0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recordings", type=Path)
    parser.add_argument("--checkpoint", default="ljspeech-22k")
    parser.add_argument("--only", default="*")
    parser.add_argument("--limit", type=int, default=16)
    parser.add_argument("--steps", type=int)
    parser.add_argument(
        "--enhance", "--restore", action=argparse.BooleanOptionalAction, default=True
    )
    options = parser.parse_args()
    vocoder = Vocoder.from_pretrained(options.checkpoint)
    rate, gain = vocoder.sample_rate, GAIN * vocoder.config.mel.log_factor
    found = audio_files(options.recordings, options.only).items()
    files = dict(itertools.islice(found, options.limit))

    def system(change: Callable[[torch.Tensor], torch.Tensor], nepers: float = 0.0) -> System:
        def resynthesise(wave: torch.Tensor) -> torch.Tensor:
            mel = change(vocoder.mel(wave))
            speech = vocoder(mel, steps=options.steps, enhance=options.enhance)
            return speech * math.exp(-nepers)

        return resynthesis_system(files, resynthesise, rate)

    conditions = {
        "as recorded": system(lambda mel: mel),
        "12 dB louder": system(lambda mel: mel + gain, GAIN),
        "12 dB softer": system(lambda mel: mel - gain, -GAIN),
        "blurred over time, 1 frame": system(blurred(1, 0)),
        "blurred over bands, 1 band": system(blurred(0, 1)),
        "blurred over both": system(blurred(1, 1)),
        "mean of 3 x 3 neighbours": system(boxed),
    }
    with tqdm(total=len(conditions) * len(files), disable=None, leave=False) as bar:
        scores = evaluate_systems(conditions, SCORES, bar.update)
    rows = (
        [label, *(f"{scores.summary[metric][label].mean:.2f}" for metric in scores.metrics)]
        for label in scores.systems
    )
    print("\n".join(markdown_table(["mel", *scores.metrics], rows)))
    silence = vocoder.mel(torch.zeros(2 * rate))
    level = 20 * math.log10(float(vocoder(silence).square().mean().sqrt()) + 1e-12)
    print(f"\nThe mel of digital silence becomes {level:.0f} dB of full scale.")
    mel = vocoder.mel(read_audio(next(iter(files.values())), rate)[0])
    whole, chunked = vocoder(mel), vocoder(mel, chunk_frames=64)
    far = float((whole - chunked).abs().max() / whole.abs().max())
    print(f"Chunks of 64 frames differ from one piece by {far:.1e} of the largest sample.")


if __name__ == "__main__":
    run_script(main)

"""How a voice speaks mels of speakers that it has not heard: held-out recordings, resampled.

Played slower or faster, a recording is that of a larger or smaller speaker with a lower or higher
voice. For each speed the mean scores of copy synthesis, and the DistillMOS of the recordings.

python recipes/universal/resampled.py CHECKPOINT RECORDING.flac ... [--speeds 0.65 0.75 1 1.3]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import soundfile
import soxr
from torch import Tensor

from diffwave import Vocoder
from diffwave.base.audio import read_audio
from diffwave.base.errors import run_script
from diffwave.base.text import markdown_table
from diffwave.eval.scoring import evaluate_systems, resynthesis_system

METRICS = ("pesq", "mr_stft", "voicing_f1", "pulse_sharpness", "distillmos")
PEAK = 0.45
"""Recordings that are softer are made as loud."""


def resampled(file: Path, speed: float, folder: Path) -> Path:
    """The recording at another speed, as a file."""
    samples, rate = read_audio(file)
    wave = samples.numpy()
    wave = wave * max(1.0, PEAK / float(np.abs(wave).max()))
    if speed != 1:
        wave = soxr.resample(wave, speed, 1.0)
    path = folder / f"{file.stem}.wav"
    soundfile.write(path, np.clip(wave, -0.999, 0.999), rate)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint")
    parser.add_argument("recordings", nargs="+", type=Path)
    parser.add_argument("--speeds", nargs="+", type=float, default=[0.65, 0.75, 1.0, 1.3])
    options = parser.parse_args()
    vocoder = Vocoder.from_pretrained(options.checkpoint)

    def spoken(wave: Tensor) -> Tensor:
        return vocoder(vocoder.mel(wave))

    rows = []
    for speed in options.speeds:
        with tempfile.TemporaryDirectory() as folder:
            files = {f.stem: resampled(f, speed, Path(folder)) for f in options.recordings}
            systems = {
                name: resynthesis_system(files, speak, vocoder.sample_rate)
                for name, speak in {"voice": spoken, "recording": lambda wave: wave}.items()
            }
            scores = evaluate_systems(systems, METRICS).summary
        means = [f"{scores[metric]['voice'].mean:.2f}" for metric in METRICS]
        rows.append((f"{speed:g}", *means, f"{scores['distillmos']['recording'].mean:.2f}"))
    print("\n".join(markdown_table(("speed", *METRICS, "recordings' distillmos"), rows)))


if __name__ == "__main__":
    run_script(main)

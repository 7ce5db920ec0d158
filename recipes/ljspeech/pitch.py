"""How well a voice's source predictor finds the pitch of recordings, as Markdown table rows.

python recipes/ljspeech/pitch.py RECORDINGS_FOLDER [--only PATTERN] [--limit N] [--checkpoint NAME]

Every recording's mel is predicted from as it is, and resampled to a lower and a higher voice. The
reference is pyworld's F0 (harvest, StoneMask), which is not without errors itself. A gross error is
20 % of F0 where both are voiced; the median is that of the others.
"""

import argparse
import itertools
from pathlib import Path

import numpy as np
import pyworld
import torch

from diffwave import Vocoder
from diffwave.base.audio import read_audio, resample
from diffwave.base.errors import run_script
from diffwave.data.source import FRAME
from diffwave.dsp.source import HIGHEST_F0
from diffwave.eval.scoring import audio_files
from diffwave.synthesis import centre
from diffwave.train.mel_losses import GROSS

RATES = (1.0, 0.8, 1.25)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recordings", type=Path)
    parser.add_argument("--only", default="*")
    parser.add_argument("--limit", type=int, default=16)
    parser.add_argument("--checkpoint", default="ljspeech-22k")
    options = parser.parse_args()
    vocoder = Vocoder.from_pretrained(options.checkpoint, "cpu")
    rate, hop, frame = vocoder.sample_rate, vocoder.hop_length, 1000 * FRAME
    found = list(
        itertools.islice(audio_files(options.recordings, options.only).values(), options.limit)
    )
    print(f"| {len(found)} recordings | gross pitch error | voicing error | median error |")
    print("| --- | --- | --- | --- |")
    for pitch in RATES:
        errors, voicing = [], []
        for path in found:
            wave = read_audio(path, rate)[0]
            if pitch != 1:
                wave = resample(wave, round(rate * pitch), rate)
            samples = wave.double().numpy()
            track, times = pyworld.harvest(samples, rate, 60.0, HIGHEST_F0, frame)
            track = pyworld.stonemask(samples, track, times, rate)
            with torch.inference_mode():
                source = vocoder.model.predict_source(vocoder.mel(wave)[None])
            f0, voiced = source.f0[0].numpy(), source.voiced[0].numpy()
            middles = np.arange(len(f0)) * hop + centre(vocoder.model)
            nearest = np.round(middles / rate / FRAME).astype(int)
            truth = track[nearest.clip(0, len(track) - 1)]
            both = voiced & (truth > 0)
            errors.append(f0[both] / truth[both])
            voicing.append(voiced != (truth > 0))
        ratio = np.concatenate(errors)
        gross = np.abs(ratio - 1) > GROSS
        cents = np.median(np.abs(1200 * np.log2(ratio[~gross])))
        wrong = np.concatenate(voicing).mean()
        name = "as recorded" if pitch == 1 else f"resampled by {pitch:g}"
        print(f"| {name} | {gross.mean():.1%} | {wrong:.1%} | {cents:.0f} cents |")


if __name__ == "__main__":
    run_script(main)

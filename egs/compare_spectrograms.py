"""A picture of recordings and what the vocoder makes of their mels.

    python egs/compare_spectrograms.py recording.wav picture.png [--steps N] [--checkpoint NAME]

Needs matplotlib.
"""

import argparse

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from diffwave import Vocoder
from diffwave.audio import read_audio
from diffwave.evaluation.pictures import RANGE_DB, common_top, levels_db
from diffwave.vocoder import DEFAULT

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
parser.add_argument("recording")
parser.add_argument("picture")
parser.add_argument("--steps", type=int)
parser.add_argument("--checkpoint", default=DEFAULT)
parser.add_argument("--seconds", type=float, default=4.0)
options = parser.parse_args()

vocoder = Vocoder.from_pretrained(options.checkpoint)
rate = vocoder.sample_rate
recording, _ = read_audio(options.recording, rate)
generated = vocoder(vocoder.mel(recording), steps=options.steps)
steps = options.steps or vocoder.config.sampling.steps

figure, axes = plt.subplots(2, 1, figsize=(10, 6), sharex=True, layout="constrained")
titles = ("recording", f"generated from its mel in {steps} steps")
samples = int(options.seconds * rate)
pictures = [levels_db(wave[:samples], rate) for wave in (recording, generated)]
top = common_top(pictures)
for axis, levels, title in zip(axes, pictures, titles, strict=True):
    image = axis.imshow(
        levels,
        origin="lower",
        aspect="auto",
        cmap="magma",
        vmin=top - RANGE_DB,
        vmax=top,
        extent=(0, min(samples, len(recording)) / rate, 0, rate / 2000),
    )
    axis.set_title(title, loc="left")
    axis.set_ylabel("kHz")
axes[-1].set_xlabel("seconds")
figure.colorbar(image, ax=axes, label="dB of full scale", shrink=0.6)
figure.savefig(options.picture, dpi=90)

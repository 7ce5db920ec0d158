"""A picture of the pulses of a vowel: waves above each other, with their prediction residuals.

    python egs/compare_pulses.py picture.png recording=a.wav 'with a source=b.wav' --start 1.2

Every wave is NAME=FILE. Pulses need not fall at the same times as the recording's: a mel does not
say when they come. Needs the packages of [eval].
"""

import argparse

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from diffwave.base.audio import read_audio
from diffwave.eval.phase import LPC_ORDER, RATE, residual

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
parser.add_argument("picture")
parser.add_argument("waves", nargs="+", metavar="NAME=FILE")
parser.add_argument("--start", type=float, default=0.5, help="seconds")
parser.add_argument("--seconds", type=float, default=0.04)
options = parser.parse_args()
named = [item.rpartition("=")[::2] for item in options.waves]
waves = [read_audio(file, RATE)[0].numpy() for _, file in named]
figure, axes = plt.subplots(len(waves), 2, figsize=(10, 1.5 * len(waves)), sharex=True)
first, count = int(options.start * RATE), int(options.seconds * RATE)
milliseconds = np.arange(count) / RATE * 1000
for (name, _), wave, (left, right) in zip(named, waves, np.atleast_2d(axes), strict=True):
    piece = wave[first - LPC_ORDER : first + count].astype(float)
    left.plot(milliseconds, piece[LPC_ORDER:], linewidth=0.8)
    right.plot(milliseconds, residual(piece[None])[0], linewidth=0.8, color="tab:red")
    left.set_ylabel(name, rotation=0, ha="right", va="center")
    for axis in (left, right):
        axis.set_yticks([])
        axis.spines[["top", "right", "left"]].set_visible(False)
axes.flat[0].set_title("wave")
axes.flat[1].set_title("linear-prediction residual")
for axis in axes.flat[-2:]:
    axis.set_xlabel("ms")
figure.tight_layout()
figure.savefig(options.picture, dpi=110)

"""A picture of recordings and what the vocoder makes of their mels.

    python egs/compare_spectrograms.py recording.wav picture.png [--steps N] [--checkpoint NAME]

Needs matplotlib and librosa.
"""

import argparse

import librosa
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from diffwave import Vocoder
from diffwave.audio import read_audio
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
for axis, wave, title in zip(axes, (recording, generated), titles, strict=True):
    samples = wave.numpy()[: int(options.seconds * rate)]
    power = librosa.amplitude_to_db(np.abs(librosa.stft(samples, n_fft=1024, hop_length=128)))
    image = axis.imshow(
        power,
        origin="lower",
        aspect="auto",
        cmap="magma",
        vmin=-50,
        vmax=30,
        extent=(0, len(samples) / rate, 0, rate / 2000),
    )
    axis.set_title(title, loc="left")
    axis.set_ylabel("kHz")
axes[-1].set_xlabel("seconds")
figure.colorbar(image, ax=axes, label="dB", shrink=0.6)
figure.savefig(options.picture, dpi=90)

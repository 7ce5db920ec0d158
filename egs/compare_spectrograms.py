"""A picture of a recording and what the vocoder makes of its mel.

    python egs/compare_spectrograms.py recording.wav picture.png [--steps N] [--checkpoint NAME]
    python egs/compare_spectrograms.py recording.wav picture.png --mel predicted.npy
    python egs/compare_spectrograms.py recording.wav picture.png --blur 1 --kilohertz 4.5

With --mel the mel is what a model predicted under the recording's durations, and with --blur that
of the recording, smoothed by a Gaussian of so many frames and bands; speech is then generated
without and with the mel enhancer. Needs matplotlib.
"""

import argparse

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import torch

from diffwave import Vocoder
from diffwave.base.audio import read_audio
from diffwave.listening.pictures import RANGE_DB, common_top, levels_db
from diffwave.mel import check_mel
from diffwave.mel.files import read_mel
from diffwave.train.mel_losses import smoothed
from diffwave.vocoder import DEFAULT

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
parser.add_argument("recording")
parser.add_argument("picture")
parser.add_argument("--steps", type=int)
parser.add_argument("--checkpoint", default=DEFAULT)
parser.add_argument("--seconds", type=float, default=4.0)
parser.add_argument("--kilohertz", type=float)
parser.add_argument("--blur", type=float)
parser.add_argument("--mel")
options = parser.parse_args()

vocoder = Vocoder.from_pretrained(options.checkpoint)
rate = vocoder.sample_rate
recording, _ = read_audio(options.recording, rate)
mel = vocoder.mel(recording)
steps = options.steps or vocoder.config.sampling.default
waves = {"recording": recording}
if options.mel is not None:
    mel = check_mel(read_mel(options.mel), vocoder.config.mel)[0]
    waves["generated from a predicted mel, without the mel enhancer"] = vocoder(
        mel, steps=steps, enhance=False
    )
    waves["generated from the predicted mel, with the mel enhancer"] = vocoder(mel, steps=steps)
elif options.blur is None:
    waves[f"generated from its mel, network calls: {steps}"] = vocoder(mel, steps=steps)
else:
    deviation = torch.tensor([options.blur])
    mel = smoothed(mel[None], deviation, deviation)[0]
    waves[f"generated from its mel, blurred ({options.blur:g} x {options.blur:g})"] = vocoder(
        mel, steps=steps, enhance=False
    )
    waves["generated from the blurred mel, with the mel enhancer"] = vocoder(mel, steps=steps)

figure, axes = plt.subplots(
    len(waves), 1, figsize=(10, 3 * len(waves)), sharex=True, layout="constrained"
)
samples = int(options.seconds * rate)
pictures = [levels_db(wave[:samples], rate) for wave in waves.values()]
top = common_top(pictures)
for axis, levels, title in zip(axes, pictures, waves, strict=True):
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
    axis.set_ylim(0, options.kilohertz)
axes[-1].set_xlabel("seconds")
figure.colorbar(image, ax=axes, label="dB of full scale", shrink=0.6)
figure.savefig(options.picture, dpi=90)

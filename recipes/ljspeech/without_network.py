"""A control: the prior of a mel, made to agree with it; no call of the denoising network.

python recipes/ljspeech/without_network.py MELS_FOLDER WAVS_FOLDER N_ITER [--checkpoint NAME]

The checkpoint gives the envelope and the mel convention, and its source, if it has one, the pulses.
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from diffwave import Vocoder
from diffwave.base.audio import write_audio
from diffwave.base.errors import InputError, run_script
from diffwave.chain.noise import white_noise
from diffwave.mel import check_mel
from diffwave.synthesis import utterance_source


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("mels", type=Path)
    parser.add_argument("wavs", type=Path)
    parser.add_argument("n_iter", type=int, help="mel-consistency iterations")
    parser.add_argument("--checkpoint", default="ljspeech-22k")
    parser.add_argument("--enhance", action="store_true", help="run the mel enhancer before")
    options = parser.parse_args()
    model = Vocoder.from_pretrained(options.checkpoint, "cpu").model
    space = model.space
    mels = sorted(options.mels.glob("*.npy"))
    if not mels:
        raise InputError(f"There are no mels (.npy) in {options.mels}.")
    options.wavs.mkdir(exist_ok=True)
    for path in mels:
        mel = check_mel(np.load(path), model.config.mel)
        frames = mel.shape[-1]
        white = white_noise(0, 0, -space.pad_left, space.context(frames))
        with torch.inference_mode():
            mel = model.enhance(mel) if options.enhance else mel
            source = utterance_source(model, mel)
            prior = space.prior(mel, source and source.excitation(model, 0, frames))
            wave = space.decode(space.noise(white[None]), mel, options.n_iter, prior)[0]
        write_audio(options.wavs / f"{path.stem}.wav", wave, model.config.mel.sample_rate)


if __name__ == "__main__":
    run_script(main)

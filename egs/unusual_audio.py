"""Copies of recordings with something wrong, to see whether `diffwave likelihood` tells them apart.

    python egs/unusual_audio.py recordings unusual --only 'LJ001-000*' --seconds 3
    diffwave likelihood unusual/clean unusual/noise unusual/clipped ... --plot roc.png

Writes a folder for each kind: clean; white noise, 20 dB below the speech; clipped at a fifth of the
peak; played 1.25 times as fast, which raises pitch and formants by four semitones; and the same
recording backwards. The folder wrong-mels has mels of the clean ones whose bands reach to 11025 Hz
instead of 8000: values of the right kind from the wrong preset, which no check of a mel can see.
"""

import argparse
import dataclasses
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import torch

from diffwave.audio import AUDIO_SUFFIXES, read_audio, resample, write_audio
from diffwave.files import find_files
from diffwave.mel import MelSpectrogram, preset
from diffwave.mel.files import write_mel

RATE = 22050

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
parser.add_argument("recordings", type=Path)
parser.add_argument("output", type=Path)
parser.add_argument("--only", default="*", metavar="PATTERN")
parser.add_argument("--seconds", type=float, default=3.0, help="of the beginning of each")
options = parser.parse_args()

rng = np.random.default_rng(0)
frontend = MelSpectrogram(dataclasses.replace(preset("hifigan"), fmax=11025.0))
for path in find_files(options.recordings, AUDIO_SUFFIXES):
    if not fnmatch(path.name, options.only):
        continue
    whole, _ = read_audio(path, RATE)
    wave = whole[: int(options.seconds * RATE)]
    rms, peak = float(wave.square().mean().sqrt()), float(wave.abs().max())
    noise = 0.1 * rms * torch.from_numpy(rng.standard_normal(len(wave), np.float32))
    kinds = {
        "clean": wave,
        "noise": wave + noise,
        "clipped": wave.clamp(-0.2 * peak, 0.2 * peak),
        "faster": resample(whole[: int(1.25 * len(wave))], 1250, 1000),
        "backwards": wave.flip(0),
    }
    for kind, copy in kinds.items():
        (options.output / kind).mkdir(parents=True, exist_ok=True)
        write_audio(options.output / kind / f"{path.stem}.wav", copy.clamp(-1, 1), RATE)
    (options.output / "wrong-mels").mkdir(exist_ok=True)
    write_mel(options.output / "wrong-mels" / f"{path.stem}.npy", frontend(wave))

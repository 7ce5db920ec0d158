"""Mels of the `hifigan` convention by librosa alone: scoring then shares no code with ours.

python recipes/ljspeech/librosa_mels.py LJSpeech-1.1/wavs mels LJ001-0001 .. LJ001-0016
"""

import sys
from pathlib import Path

import librosa
import numpy as np

if len(sys.argv) < 4:
    sys.exit("usage: librosa_mels.py WAVS_FOLDER MELS_FOLDER CLIP [CLIP ...]")
wavs, mels = Path(sys.argv[1]), Path(sys.argv[2])
mels.mkdir(exist_ok=True)
filterbank = librosa.filters.mel(sr=22050, n_fft=1024, n_mels=80, fmin=0, fmax=8000)
for clip in sys.argv[3:]:
    (path,) = wavs.glob(f"{clip}.*")
    wave, _ = librosa.load(path, sr=22050)
    padded = np.pad(wave, (1024 - 256) // 2, mode="reflect")
    spectrum = librosa.stft(padded, n_fft=1024, hop_length=256, center=False)
    magnitude = np.sqrt(np.abs(spectrum) ** 2 + 1e-9)
    np.save(mels / f"{clip}.npy", np.log(np.maximum(filterbank @ magnitude, 1e-5)))

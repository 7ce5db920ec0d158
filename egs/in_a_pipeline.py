"""Put the vocoder behind a text-to-speech model: python egs/in_a_pipeline.py out.wav

The model is stood in for by a mel from a file; what matters is the shape, [80, T] or [B, 80, T],
and the convention (`vocoder.config.mel`).
"""

import sys
from pathlib import Path

import numpy as np
import torch

from diffwave import Vocoder
from diffwave.base.audio import write_audio

vocoder = Vocoder.from_pretrained()  # once, when your program starts
mel = np.load(Path(__file__).parent / "mel.npy")  # what your model predicted, [80, T]

wave = vocoder(mel, seed=1)  # [T * 256], float32

batch = vocoder(np.stack([mel, mel]), seed=1)  # [2, T * 256]; each as it would sound alone
assert torch.allclose(batch[0], wave, atol=1e-3)

pieces = []
# To play while the rest is computed. Every chunk is computed with the frames around it that its
# samples depend on; fewer steps and mel-consistency iterations need fewer of them.
for piece in vocoder.stream(mel, seed=1, chunk_frames=128):
    pieces.append(piece)
assert torch.allclose(torch.cat(pieces), wave, atol=1e-3)

# The same from a model that predicts a few frames at a time; a chunk is there as soon as the frames
# are that it depends on, 1.7 s later ones. With low_latency=True it waits for 0.07 s of them.
predicted = (mel[:, start : start + 20] for start in range(0, mel.shape[1], 20))
pieces = list(vocoder.stream(predicted, seed=1))
assert torch.allclose(torch.cat(pieces), wave, atol=1e-3)

write_audio(sys.argv[1] if len(sys.argv) > 1 else "out.wav", wave, vocoder.sample_rate)

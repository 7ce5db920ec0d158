"""How far a voice in ONNX is from PyTorch's, and what each costs at one thread.

python egs/compare_onnx.py VOICE [CHECKPOINT], VOICE being what
`diffwave export CHECKPOINT VOICE --onnx` made. Prints the real-time factor in processor time, which
a busy machine disturbs less than time on the clock, and the largest difference of a sample.
"""

import os
import sys
import time
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np
import torch

from diffwave import Vocoder
from diffwave.onnx import Vocoder as OnnxVocoder

torch.set_num_threads(1)
mel = np.tile(np.load(Path(__file__).with_name("mel.npy")), 2)[:, :861]  # ten seconds
vocoders = {
    "PyTorch": Vocoder.from_pretrained(*sys.argv[2:], device="cpu"),
    "ONNX": OnnxVocoder(sys.argv[1], threads=1),
}
for steps in (1, 2):
    waves = []
    for name, vocoder in vocoders.items():
        waves.append(np.asarray(vocoder(mel, steps=steps)))
        spent = []
        for _ in range(5):
            start = time.process_time()
            vocoder(mel, steps=steps)
            spent.append(time.process_time() - start)
        seconds = waves[-1].size / vocoder.sample_rate
        print(f"{steps} steps, {name}: real-time factor {np.median(spent) / seconds:.4f}")
    print(
        f"{steps} steps: largest difference {np.abs(waves[0] - waves[1]).max():.1e} of full scale"
    )

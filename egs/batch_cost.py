"""What a batch saves on this machine: processor time for each second of speech, by its size.

    python egs/batch_cost.py [--device cpu] [--threads 1] [--frames 430]

One step and 25 iterations of the default voice; on a GPU the time on the clock.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch

from diffwave import Vocoder
from diffwave.base.errors import run_script


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--frames", type=int, default=430)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    vocoder = Vocoder.from_pretrained(device=options.device)
    mel = torch.from_numpy(np.load(Path(__file__).with_name("mel.npy")))[:, : options.frames]
    seconds = mel.shape[1] * vocoder.hop_length / vocoder.sample_rate
    clock: Callable[[], float] = time.perf_counter
    if vocoder.device.type == "cpu":
        clock = time.process_time
    print("| batch | time for each second of speech |\n|---|---|")
    for size in (1, 2, 4, 8, 16):
        batch, times = mel.expand(size, -1, -1).contiguous(), []
        for _ in range(6):  # the samples arrive on the CPU, so a GPU has finished
            start = clock()
            vocoder(batch)
            times.append((clock() - start) / (size * seconds))
        print(f"| {size} | {median(times[1:]):.4f} |", flush=True)


if __name__ == "__main__":
    run_script(main)

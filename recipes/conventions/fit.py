"""Fit what `diffwave inspect` knows mels by: softmax regression on `diffwave.mel.traits`.

python recipes/conventions/fit.py CORPUS/wavs ... --output diffwave/mel/recognise.safetensors
"""

from __future__ import annotations

import argparse
import itertools
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import torch
from mels import NORMALISED, examples, smoothed, some, statistics
from safetensors.torch import save_file
from torch import Tensor

from diffwave.base.errors import run_script
from diffwave.mel.conventions import CONVENTIONS
from diffwave.mel.traits import traits

GAINS = (-18.0, -12.0, -6.0, 0.0, 6.0)
IMAGES = (0.0, 0.05, 0.1, 0.2, 0.4)


Rows = list[tuple[int, str, Tensor]]
"""Number of bands, label and traits of a mel."""


def gather(file: Path, index: int, normalisers: dict[str, tuple[Tensor, Tensor]]) -> Rows:
    """Of a recording in every convention: the whole mel, and parts of it, one of them smoothed."""
    torch.set_num_threads(1)
    rng = np.random.default_rng(index)
    gain, image, speed = rng.choice(GAINS), rng.choice(IMAGES), rng.choice((0.0, 0.1))
    rows: Rows = []
    for example in examples([file], [gain], normalisers, index, [image], speed):
        mel = example.mel
        variants = [mel]
        for amount in (0.0, 0.0, rng.uniform(0.2, 0.8)):
            size = int(rng.integers(min(60, mel.shape[1]), mel.shape[1] + 1))
            start = int(rng.integers(0, mel.shape[1] - size + 1))
            variants.append(smoothed(mel[:, start : start + size], amount))
        rows += [(len(mel), example.label, traits(variant)) for variant in variants]
    return rows


def regression(x: Tensor, y: Tensor, classes: int, penalty: float) -> tuple[Tensor, Tensor]:
    """Weights [classes, n] and bias of softmax regression of standardised x [N, n]."""
    weight = torch.zeros(classes, x.shape[1], requires_grad=True)
    bias = torch.zeros(classes, requires_grad=True)
    solver = torch.optim.LBFGS([weight, bias], max_iter=300, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        solver.zero_grad()
        value = torch.nn.functional.cross_entropy(x @ weight.T + bias, y)
        value = value + penalty * weight.square().sum()
        value.backward()
        return value

    solver.step(loss)
    return weight.detach(), bias.detach()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--each", type=int, default=30, help="recordings of each folder")
    parser.add_argument("--penalty", type=float, default=1e-3)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--save", type=Path, help="keep the traits")
    options = parser.parse_args()
    torch.manual_seed(0)
    begin = time.time()
    chosen = [some(folder, False, options.each) for folder in options.folders]
    files = [file for group in itertools.zip_longest(*chosen) for file in group if file]
    normalisers = {name: statistics(files[:12], CONVENTIONS[name]) for name in NORMALISED}
    with ProcessPoolExecutor(options.jobs) as pool:
        work = partial(gather, normalisers=normalisers)
        rows = [row for found in pool.map(work, files, range(len(files))) for row in found]
    data = {}
    for bands in sorted({row[0] for row in rows}):
        mine = [row for row in rows if row[0] == bands]
        data[bands] = torch.stack([row[2] for row in mine]), [row[1] for row in mine]
    if options.save:
        torch.save(data, options.save)
    tensors = {}
    for bands, (x, labels) in data.items():
        names = sorted(set(labels))
        y = torch.tensor([names.index(label) for label in labels])
        mean, scale = x.mean(0), x.std(0).clamp(min=1e-3)
        z = ((x - mean) / scale).clamp(-8, 8)
        weight, bias = regression(z, y, len(names), options.penalty)
        right = ((z @ weight.T + bias).argmax(1) == y).double().mean()
        print(f"{bands} bands: {len(x)} mels, {len(names)} kinds, {right:.4f} right in training")
        prefix = f"{bands}."
        tensors |= {
            f"{prefix}weight": weight.half(), f"{prefix}bias": bias,
            f"{prefix}mean": mean, f"{prefix}scale": scale,
            f"{prefix}names": torch.tensor(list("\n".join(names).encode()), dtype=torch.uint8),
        }  # fmt: skip
    save_file(tensors, options.output)
    print(f"{options.output}: {options.output.stat().st_size} bytes in {time.time() - begin:.0f} s")


if __name__ == "__main__":
    run_script(main)

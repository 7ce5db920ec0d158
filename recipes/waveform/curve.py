"""The training curve of a run: loss of the steps, and of held-out crops by noise level.

python recipes/waveform/curve.py RUN picture.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from diffwave.analysis.plots import new_figure, save_figure
from diffwave.base.errors import InputError, run_script
from diffwave.train.logbook import METRICS_FILE, read_rows
from diffwave.train.validation import LEVELS


def curve(rows: list[list[str]], name: str) -> np.ndarray:
    """(minutes, value) of every note of a value, [N, 2]."""
    return np.array([(float(m), float(value)) for _, m, what, value in rows if what == name])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("picture", type=Path)
    options = parser.parse_args()
    noted = options.run / METRICS_FILE
    rows = read_rows(noted)
    loss = curve(rows, "loss")
    if not len(loss):
        raise InputError(f"{noted} notes no loss.")
    held = curve(rows, "loss_validation")
    often = len(held) > 1
    figure = new_figure(9 if often else 5, 3.2)
    left, *others = figure.subplots(1, 2 if often else 1, squeeze=False)[0]
    left.plot(*loss.T, color="#9db8d9", linewidth=0.7, label="steps")
    width = max(1, len(loss) // 30)
    smooth = np.convolve(loss[:, 1], np.ones(width) / width, "valid")
    left.plot(loss[width - 1 :, 0], smooth, color="#2f6db5", label=f"mean of {width}")
    if len(held):
        left.plot(*held.T, "o-", color="#c8452f", markersize=4, label="held out")
    left.set(xlabel="minutes", ylabel="squared error of the noise", yscale="log")
    left.legend(frameon=False)
    for axis in others:
        for i in range(LEVELS):
            label = {0: "least noise", LEVELS - 1: "most noise"}.get(i)
            values = curve(rows, f"loss_level_{i}")
            axis.plot(*values.T, "o-", color=(0.2 + 0.09 * i, 0.3, 0.8 - 0.09 * i), label=label)
        axis.set(xlabel="minutes", yscale="log", title="held out, by noise level")
        axis.legend(frameon=False)
    save_figure(figure, options.picture)


if __name__ == "__main__":
    run_script(main)

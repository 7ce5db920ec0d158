"""Latency and cost of a mel that comes in pieces, by the number of frames generated at a time.

    python egs/streaming_latency.py picture.png [--checkpoint NAME] [--mel egs/mel.npy]

Prints a Markdown table and draws it. Latency is the longest that a frame waits, from its arrival
until its samples are there: for the frames that are generated with it, for those that are looked at
beside them, and for the computation. Computation is CPU time of one thread, median over blocks, so
that other work on the machine counts little; where frames come faster than they can be computed (a
real-time factor above 1) no latency holds. Needs matplotlib.
"""

import argparse
import itertools
import os
import statistics
import time

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch

from diffwave import Vocoder
from diffwave.base.text import markdown_table
from diffwave.mel import check_mel
from diffwave.streaming import ExactStream, LowLatencyStream, Stream, generate_stream

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
parser.add_argument("picture")
parser.add_argument("--checkpoint", default="universal-22k")
parser.add_argument("--mel", default="egs/mel.npy")
parser.add_argument("--exact", type=int, nargs="*", default=[4, 8, 16, 32, 64, 128, 256])
parser.add_argument("--low-latency", type=int, nargs="*", default=[1, 2, 3, 4, 5])
parser.add_argument("--blocks", type=int, default=15, help="timed, of each size")
options = parser.parse_args()
torch.set_num_threads(1)
model = Vocoder.from_pretrained(options.checkpoint, "cpu").model
sampling, mel = model.sampling(), check_mel(np.load(options.mel), model.config.mel)
frame = model.space.hop_length / model.config.mel.sample_rate


def seconds_of_block(stream: Stream, past: int) -> float:
    """Median CPU time of a block that has `past` frames before it, and all it looks at after it."""
    before = -(-past // stream.block_frames)
    frames = (before + options.blocks + 2) * stream.block_frames + stream.look_ahead
    wave = generate_stream(stream, [mel.repeat(1, 1, -(-frames // mel.shape[-1]))])
    for _ in itertools.islice(wave, before):
        pass
    spent = []
    for _ in range(options.blocks):
        start = time.process_time()
        next(wave)
        spent.append(time.process_time() - start)
    return statistics.median(spent)


curves: dict[str, list[tuple[int, int, float, float, float]]] = {}
for name, kind, sizes in (
    ("as in one piece", ExactStream, options.exact),
    ("low latency", LowLatencyStream, options.low_latency),
):
    for size in sizes:
        stream = kind(model, sampling, block_frames=size)
        computed = seconds_of_block(stream, min(stream.look_ahead, 160))
        wait = (stream.block_frames - 1 + stream.look_ahead) * frame
        curves.setdefault(name, []).append(
            (stream.block_frames, stream.look_ahead, wait, computed, computed / (size * frame))
        )
head = ["", "frames at a time", "look-ahead", "waits, ms", "computation, ms", "latency, ms", "RTF"]
print(
    "\n".join(
        markdown_table(
            head,
            [
                [name, str(size), str(ahead), f"{1e3 * wait:.0f}", f"{1e3 * computed:.1f}",
                 f"{1e3 * (wait + computed):.0f}", f"{factor:.2f}"]
                for name, rows in curves.items()
                for size, ahead, wait, computed, factor in rows
            ],
        )
    )
)  # fmt: skip
print(f"\nLoad average {os.getloadavg()[0]:.1f} on {os.cpu_count()} CPUs; CPU time, one thread.")
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8))
for (name, rows), marker in zip(curves.items(), "os", strict=True):
    sizes, _, waits, spent, factors = zip(*rows, strict=True)
    lag = [1e3 * (wait + computed) for wait, computed in zip(waits, spent, strict=True)]
    left.plot(sizes, lag, marker + "-", label=name)
    right.plot(sizes, factors, marker + "-", label=name)
left.axhline(80, color="grey", linestyle=":", label="80 ms")
right.axhline(1, color="grey", linestyle=":", label="real time")
for axis, title in ((left, "latency, ms"), (right, "real-time factor, one thread")):
    axis.set(xscale="log", yscale="log", xlabel="frames generated at a time", title=title)
    ticks = sorted({row[0] for rows in curves.values() for row in rows})
    axis.set_xticks(ticks, [str(tick) for tick in ticks])
    axis.minorticks_off()
    axis.grid(alpha=0.3)
    axis.legend()
    axis.yaxis.set_major_formatter("{x:g}")
    axis.spines[["top", "right"]].set_visible(False)
left.set_yticks([50, 100, 200, 500, 1000, 2000, 5000])
right.set_yticks([0.1, 0.2, 0.5, 1, 2, 5])
figure.tight_layout()
figure.savefig(options.picture, dpi=110)

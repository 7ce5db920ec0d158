"""Real-time factor of text to speech on this machine's CPU: text to phonemes to mel to wave.

python recipes/tts/speed.py MODEL egs/tts/texts.txt [--threads 1] [--voice universal-22k]

Models are loaded and a text is spoken first; then every text is timed by itself. The table has
time spent over duration of the speech, of all texts together, and the median time of one text.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from mels import read_texts  # first: it makes the others known

from acoustic import load  # isort: skip
from speak import text_to_mel  # isort: skip

from diffwave import Vocoder
from diffwave.base.errors import InputError, run_script
from diffwave.base.text import markdown_table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("texts", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--voice", default="universal-22k")
    options = parser.parse_args()
    if options.threads < 1:
        raise InputError("--threads must be positive.")
    torch.set_num_threads(options.threads)
    texts = read_texts(options.texts)
    model, voices = load(options.model)
    vocoder = Vocoder.from_pretrained(options.voice, "cpu")
    vocoder(text_to_mel(model, voices, texts[0][2], texts[0][1]))
    spent, speech = [], 0.0
    for _, speaker, text in texts:
        begin = time.perf_counter()
        mel = text_to_mel(model, voices, text, speaker)
        middle = time.perf_counter()
        wave = vocoder(mel)
        spent.append((middle - begin, time.perf_counter() - middle))
        speech += len(wave) / vocoder.sample_rate
    times = np.array(spent)
    rows = []
    for name, values in [
        ("text to mel", times[:, 0]),
        ("mel to wave", times[:, 1]),
        ("text to wave", times.sum(1)),
    ]:
        rows.append([name, f"{values.sum() / speech:.3f}", f"{1000 * np.median(values):.0f} ms"])
    print(f"{len(texts)} texts, {speech:.0f} s of speech, {options.threads} threads\n")
    print("\n".join(markdown_table(["", "real-time factor", "median of a text"], rows)))


if __name__ == "__main__":
    run_script(main)

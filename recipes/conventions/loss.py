"""What is lost when a mel of another convention is converted to a vocoder's, as a Markdown table.

    python recipes/conventions/loss.py CORPUS/wavs ... [--each 3] [--checkpoint NAME] [--json FILE]

Held-out recordings are analysed in every convention, converted, and spoken; PESQ and DistillMOS are
those against the recording. The error of the mel is the mean over the louder values (within 60 dB
of the loudest) in dB, against the mel that the vocoder's own analysis gives of the same recording.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from statistics import mean

import torch
from mels import at_rate, some, wave_of
from torch import Tensor
from tqdm import tqdm

from diffwave import Vocoder
from diffwave.base.errors import run_script
from diffwave.base.text import markdown_table
from diffwave.eval.metrics import distillmos, pesq
from diffwave.mel.conventions import CONVENTIONS, Convention
from diffwave.mel.convert import convert, difference

DB = 20 / math.log(10)


def mel_error(mel: Tensor, reference: Tensor) -> float:
    """Mean error in dB of log amplitudes in nepers, [n_mels, T] each."""
    size = min(mel.shape[1], reference.shape[1])
    mel, reference = mel[:, :size], reference[:, :size]
    loud = reference > reference.max() - 60 / DB
    return DB * float((mel - reference)[loud].abs().mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--each", type=int, default=3, help="recordings of each folder")
    parser.add_argument("--checkpoint", default="ljspeech-22k")
    parser.add_argument("--only", default="", help="comma-separated conventions")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    vocoder = Vocoder.from_pretrained(options.checkpoint, "cpu")
    target = Convention(vocoder.config.mel, "the vocoder")
    rate = vocoder.sample_rate
    files = [file for folder in options.folders for file in some(folder, True, options.each)]
    waves = [wave_of(file, 0.0, 5.0) for file in files]
    names = options.only.split(",") if options.only else list(CONVENTIONS)
    scores: dict[str, list[tuple[float, float, float]]] = {}
    for name in tqdm(names):
        convention = CONVENTIONS[name]
        for wave in waves:
            mel = convention.analyse(at_rate(wave, convention.mel.sample_rate, 0.1))
            converted = convert(mel, convention, target)
            spoken = vocoder(converted).numpy()
            recorded = at_rate(wave, rate, 0.1)
            size = min(len(recorded), len(spoken))
            pair = recorded[:size].numpy(), spoken[:size]
            # Frames taken one for one may be half a hop late, or early: compare with those.
            late = int(convention.mel.centered) - int(target.mel.centered)
            half = vocoder.hop_length // 2 * late * (not difference(convention, target).frames)
            silence = recorded.new_zeros(max(half, 0))
            moved = torch.cat((silence, recorded[max(-half, 0) :]))
            error = mel_error(converted, target.analyse(moved))
            scores.setdefault(name, []).append((error, pesq(*pair, rate), distillmos(*pair, rate)))
        if options.json:
            options.json.write_text(json.dumps(scores))
    base = scores.get(vocoder.config.mel.name)
    rows = []
    for name, found in scores.items():
        error, score, mos = (mean(column) for column in zip(*found, strict=True))
        lost = ("-", "-")
        if base is not None:
            lost = tuple(
                f"{mean(b[i] for b in base) - value:+.2f}" for i, value in ((1, score), (2, mos))
            )
        how = "exact" if difference(CONVENTIONS[name], target).exact else "estimated"
        rows.append((name, how, f"{error:.2f}", f"{score:.2f}", lost[0], f"{mos:.2f}", lost[1]))
    header = ("from", "conversion", "mel error (dB)", "PESQ", "lost", "DistillMOS", "lost")
    print("\n".join(markdown_table(header, rows)))
    print(f"\n{len(waves)} recordings of {len(options.folders)} speakers, {options.checkpoint}.")


if __name__ == "__main__":
    run_script(main)

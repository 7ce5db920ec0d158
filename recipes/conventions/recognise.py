"""How often `diffwave inspect` names the convention of held-out mels, and refuses those that fit.

python recipes/conventions/recognise.py CORPUS/wavs ... [--each 16]
"""

from __future__ import annotations

import argparse
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import torch
from mels import NORMALISED, examples, smoothed, some, split, statistics, wave_of
from torch import Tensor

from diffwave.base.errors import InputError, run_script
from diffwave.base.text import markdown_table
from diffwave.mel import check_mel
from diffwave.mel.conventions import CONVENTIONS
from diffwave.mel.recognise import recognise

GAINS = (-12.0, 0.0, 6.0)
MANY_GAINS = (-18.0, -12.0, -6.0, 0.0, 6.0, 12.0)
Statistics = dict[str, tuple[Tensor, Tensor]]


def named(file: Path, statistics: Statistics) -> list[tuple[str, str, bool, bool, str]]:
    """Of every mel of a recording: its label, of which variant, right, sure, taken for."""
    torch.set_num_threads(1)
    found = []
    for gain in GAINS:
        for i, example in enumerate(examples([file], [gain], statistics, seed=2, images=(0.2,))):
            mel = example.mel
            variants = {
                "whole": mel.T if i % 2 else mel,  # both layouts
                "128 frames": mel[:, 20:148],
                "60 frames": mel[:, 40:100],
                "smoothed": smoothed(mel, 0.6),
            }
            for what, variant in variants.items():
                seen = recognise(variant)
                turned = what == "whole" and bool(i % 2)
                right = seen.label == example.label and seen.transposed == turned
                found.append((example.label, what, right, seen.sure, seen.label))
    return found


def refused(file: Path) -> list[bool]:
    """Of a recording's mels in the bundled voice's convention at many gains: not taken as such."""
    torch.set_num_threads(1)
    fitting, answers = CONVENTIONS["hifigan"], []
    for gain in MANY_GAINS:
        mel = fitting.analyse(wave_of(file, gain))
        answer = recognise(mel, expected=fitting).label != fitting.name
        try:
            check_mel(mel, fitting.mel)
        except InputError:
            answer = True
        answers.append(answer)
    return answers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--each", type=int, default=16, help="recordings of each folder")
    parser.add_argument("--fitting", type=int, default=170, help="recordings for the refusals")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    files = [file for folder in options.folders for file in some(folder, True, options.each)]
    known = [file for folder in options.folders for file in split([folder], False)[:10]]
    normalisers = {name: statistics(known, CONVENTIONS[name]) for name in NORMALISED}
    with ProcessPoolExecutor(options.jobs) as pool:
        work = partial(named, statistics=normalisers)
        rows = [row for found in pool.map(work, files) for row in found]
        every = [file for folder in options.folders for file in split([folder], True)]
        every = every[: options.fitting]
        refusals = [answer for found in pool.map(refused, every) for answer in found]
    table = []
    for label in dict.fromkeys(row[0] for row in rows):
        mine = [row for row in rows if row[0] == label and row[1] == "whole"]
        right = sum(row[2] for row in mine)
        others = Counter(row[4] for row in mine if row[4] != label).most_common(3)
        wrong = ", ".join(f"{name} {count}" for name, count in others) or "-"
        table.append((label, len(mine), f"{100 * right / len(mine):.1f} %", wrong))
    print("\n".join(markdown_table(("convention", "mels", "named rightly", "taken for"), table)))
    print()
    for what in dict.fromkeys(row[1] for row in rows):
        mine = [row for row in rows if row[1] == what]
        right = sum(row[2] for row in mine)
        unwarned = sum(row[3] and not row[2] for row in mine)
        print(f"{what}: {100 * right / len(mine):.2f} % of {len(mine)} named rightly; "
              f"{unwarned} wrongly without a warning")  # fmt: skip
    print(f"refused: {sum(refusals)} of {len(refusals)} mels that fit")


if __name__ == "__main__":
    run_script(main)

"""How often `diffwave inspect` names the convention of held-out mels, and refuses those that fit.

    python recipes/conventions/recognise.py CORPUS/wavs ... [--each 16] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path

import torch
from mels import NORMALISED, examples, smoothed, split, statistics

from diffwave.mel.conventions import CONVENTIONS
from diffwave.mel.recognise import recognise
from diffwave.text import markdown_table

GAINS = (-12.0, 0.0, 6.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--each", type=int, default=16, help="recordings of each folder")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    normalisers = {}
    for name in NORMALISED:
        known = [file for folder in options.folders for file in split([folder], False)[:10]]
        normalisers[name] = statistics(known, CONVENTIONS[name])
    right: Counter[str] = Counter()
    seen: Counter[str] = Counter()
    taken: dict[str, Counter[str]] = {}
    sure_wrong = 0
    short: Counter[str] = Counter()
    for folder in options.folders:
        held_out = split([folder], True)
        files = held_out[:: max(1, len(held_out) // options.each)][: options.each]
        for gain in GAINS:
            for i, example in enumerate(
                examples(files, [gain], normalisers, seed=2, images=(0.2,))
            ):
                mel = example.mel.T if i % 2 else example.mel  # both layouts
                found = recognise(mel)
                seen[example.label] += 1
                good = found.label == example.label and found.transposed == bool(i % 2)
                right[example.label] += good
                sure_wrong += found.sure and not good
                taken.setdefault(example.label, Counter())[found.label] += 1
                for what, variant in (
                    ("60 frames", example.mel[:, 40:100]),
                    ("128 frames", example.mel[:, 20:148]),
                    ("smoothed", smoothed(example.mel, 0.6)),
                ):
                    short[what] += recognise(variant).label == example.label
    total = sum(seen.values())
    rows = []
    for label in seen:
        others = taken[label].copy()
        del others[label]
        wrong = ", ".join(f"{name} {count}" for name, count in others.most_common(3)) or "-"
        rows.append((label, seen[label], f"{100 * right[label] / seen[label]:.1f} %", wrong))
    print("\n".join(markdown_table(("convention", "mels", "named rightly", "taken for"), rows)))
    print(f"\nAll: {100 * sum(right.values()) / total:.2f} % of {total}; "
          f"wrong without a warning: {sure_wrong}.")  # fmt: skip
    for what, count in short.items():
        print(f"{what}: {100 * count / total:.1f} %")
    if options.json:
        result = {label: [right[label], seen[label]] for label in seen}
        options.json.write_text(json.dumps({"right_of": result, "other": short, "all": total}))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()

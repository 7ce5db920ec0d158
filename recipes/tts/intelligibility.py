"""How much of what is spoken an offline recogniser understands: character error rates.

python recipes/tts/intelligibility.py egs/tts/texts.txt [NAME=]FOLDER ... [--json FILE]

FOLDER/ID.wav (.flac, ..) is the speech of the text ID. The recogniser is Moonshine tiny (English,
27M parameters), whose weights lie in the wheel: pip install 'moonshine-voice==0.0.49'. Case,
punctuation and digits do not count: both sides are lower-case letters with single spaces.
"""

from __future__ import annotations

import argparse
import json
import re
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
from mels import read_texts
from tqdm import tqdm

from diffwave.base.audio import AUDIO_SUFFIXES, read_audio
from diffwave.base.errors import InputError, run_script
from diffwave.base.files import atomic_path
from diffwave.base.text import markdown_table

RATE = 16000


def plain(text: str) -> str:
    """Lower-case letters and single spaces."""
    text = unicodedata.normalize("NFKD", text.lower())
    text = re.sub(r"['\u2019]", "", text)
    return " ".join(re.sub(r"[^a-z]+", " ", text).split())


def distance(said: str, heard: str) -> int:
    """Levenshtein distance: insertions, deletions and substitutions of characters."""
    row = list(range(len(heard) + 1))
    for i, a in enumerate(said, 1):
        before, row[0] = row[0], i
        for j, b in enumerate(heard, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (a != b))
    return row[-1]


def recogniser() -> Any:
    """Moonshine tiny; raises `InputError` when it, or its weights, are missing."""
    try:
        from moonshine_voice import ModelArch, Transcriber, get_model_path

        return Transcriber(str(get_model_path("tiny-en")), ModelArch.TINY)
    except Exception as error:  # the library raises what it likes without its weights
        raise InputError(
            f"There is no recogniser ({error}); pip install 'moonshine-voice==0.0.49'."
        ) from None


def transcribe(transcriber: Any, path: Path) -> str:
    wave, _ = read_audio(path, RATE)
    found = transcriber.transcribe_without_streaming(wave.tolist(), RATE)
    return " ".join(line.text for line in found.lines)


def interval(errors: np.ndarray, lengths: np.ndarray) -> tuple[float, float]:
    """95 % bootstrap interval, in per cent, of the rate over all texts."""
    picks = np.random.default_rng(0).integers(0, len(errors), (2000, len(errors)))
    rates = 100 * errors[picks].sum(1) / lengths[picks].sum(1)
    low, high = np.quantile(rates, [0.025, 0.975])
    return float(low), float(high)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("texts", type=Path)
    parser.add_argument("folders", nargs="+", metavar="[NAME=]FOLDER")
    parser.add_argument("--json", type=Path, help="write what was understood of every text")
    options = parser.parse_args()
    texts = read_texts(options.texts)
    transcriber = recogniser()
    report: dict[str, Any] = {}
    rows = []
    for argument in options.folders:
        name, _, place = argument.rpartition("=")
        folder = Path(place)
        files = {name: path for name, _, _ in texts if (path := sound(folder, name))}
        if not files:
            raise InputError(f"{folder} holds no sound file of any text.")
        errors, lengths, heard = [], [], {}
        for key, _, text in tqdm(texts, name or place, disable=None):
            if key in files:
                said, heard[key] = plain(text), transcribe(transcriber, files[key])
                errors.append(distance(said, plain(heard[key])))
                lengths.append(len(said))
        rate = 100 * sum(errors) / sum(lengths)
        low, high = interval(np.array(errors), np.array(lengths))
        report[name or place] = {"cer": rate, "low": low, "high": high, "heard": heard}
        rows.append([name or place, len(errors), f"{rate:.1f} % ({low:.1f} to {high:.1f})"])
    print("\n".join(markdown_table(["speech", "texts", "character error rate"], rows)))
    if options.json:
        with atomic_path(options.json) as path:
            path.write_text(json.dumps(report, indent=1, ensure_ascii=False), encoding="utf-8")


def sound(folder: Path, name: str) -> Path | None:
    """The sound file of a text; an id may stand for a file name that goes on after _."""
    for suffix in AUDIO_SUFFIXES:
        found = sorted([*folder.glob(f"{name}{suffix}"), *folder.glob(f"{name}_*{suffix}")])
        if found:
            return found[0]
    return None


if __name__ == "__main__":
    run_script(main)

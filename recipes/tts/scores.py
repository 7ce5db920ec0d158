"""Scores of speech from predicted mels, which need not be as long as the recording.

python recipes/tts/scores.py RECORDINGS [NAME=]FOLDER ... [--against NAME] [--json FILE]

DistillMOS of every wave; pulse sharpness, here the mean log2 kurtosis of the linear-prediction
residual of an utterance's loud frames less that of the recording's; and, where the speech is as
long as the recording, wide-band PESQ. Means and 95 % bootstrap intervals, over utterances.
--against adds the mean difference from that system, utterance by utterance. Systems that FILE has
already are kept there, and are in the table as well.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from diffwave.base.audio import read_audio
from diffwave.base.errors import InputError, run_script
from diffwave.base.files import atomic_path
from diffwave.base.text import markdown_table
from diffwave.eval.metrics import distillmos, pesq
from diffwave.eval.phase import RATE, _frames, _kurtosis, _loud, residual
from diffwave.eval.scoring import audio_files
from diffwave.eval.waves import align, at_rate

METRICS = ("distillmos", "pulse_sharpness", "pesq")


def sharpness(wave: np.ndarray, rate: int) -> float:
    """Mean log2 kurtosis of the residual of the loud frames of a wave."""
    (wave,) = at_rate(RATE, rate, wave)
    frames = _frames(wave.astype(np.float64))
    return float(np.mean(np.log2(_kurtosis(residual(frames[_loud(frames)])))))


def scores(recording: Path, speech: Path) -> dict[str, float]:
    """All metrics of one utterance; PESQ is NaN where the lengths differ by 20 ms or more."""
    original, rate = (x.numpy() if hasattr(x, "numpy") else x for x in read_audio(recording))
    generated = read_audio(speech, rate)[0].numpy()
    found = {
        "distillmos": distillmos(original, generated, rate),
        "pulse_sharpness": sharpness(generated, rate) - sharpness(original, rate),
        "pesq": float("nan"),
    }
    if abs(len(original) - len(generated)) < 0.02 * rate:
        one, other, _ = align(original, generated, rate)
        found["pesq"] = pesq(one, other, rate)
    return found


def interval(values: np.ndarray) -> str:
    """Mean and 95 % bootstrap interval of what is not NaN."""
    values = values[~np.isnan(values)]
    if not len(values):
        return ""
    picks = np.random.default_rng(0).integers(0, len(values), (2000, len(values)))
    low, high = np.quantile(values[picks].mean(1), [0.025, 0.975])
    return f"{values.mean():.2f} ({low:.2f} to {high:.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recordings", type=Path)
    parser.add_argument("folders", nargs="+", metavar="[NAME=]FOLDER")
    parser.add_argument("--against", help="name of the system to compare with")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    recordings = audio_files(options.recordings, "*")
    table: dict[str, dict[str, dict[str, float]]] = {}
    if options.json and options.json.is_file():
        table = json.loads(options.json.read_text(encoding="utf-8"))
    for argument in options.folders:
        name, _, place = argument.rpartition("=")
        files = audio_files(Path(place), "*")
        common = [key for key in files if key in recordings]
        if not common:
            raise InputError(f"{place} holds no speech of the names of {options.recordings}.")
        table[name or place] = {key: scores(recordings[key], files[key]) for key in common}
        if options.json:
            with atomic_path(options.json) as path:
                path.write_text(json.dumps(table, indent=1), encoding="utf-8")
        print(f"scored {name or place}", file=sys.stderr, flush=True)
    rows = []
    for name, found in table.items():
        row: list[object] = [name]
        for metric in METRICS:
            values = np.array([found[key][metric] for key in found])
            row.append(interval(values))
            if options.against in table and metric != "pesq":
                base = table[options.against]
                pairs = [found[k][metric] - base[k][metric] for k in found if k in base]
                row.append("" if name == options.against else interval(np.array(pairs)))
        rows.append(row)
    header = ["speech"]
    for metric in METRICS:
        header.append(metric)
        if options.against in table and metric != "pesq":
            header.append(f"difference from {options.against}")
    print("\n".join(markdown_table(header, rows)))


if __name__ == "__main__":
    run_script(main)

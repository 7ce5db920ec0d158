"""Stage 4: the mels that the trained model predicts, beside those of the recordings.

python recipes/tts/mels.py CORPORA WORK/labels.json MODEL OUT --split validation
python recipes/tts/mels.py MODEL OUT --texts egs/tts/texts.txt

For every utterance: OUT/wavs/ID.wav, the recording as it was trained on; OUT/recordings/ID.npy, its
mel; OUT/forced/ID.npy, the mel predicted under its own durations, pitch and energy (teacher
forcing), so that frame t belongs to frame t of the recording; OUT/free/ID.npy, the mel predicted
from the text alone. Of --texts, a file of id|speaker|text, OUT/ID.npy, from the text alone.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

import torch
from common import MEL, Labels, Utterance, clip, lines_of  # first: it makes the others known
from tqdm import tqdm

from acoustic import Voices, load, predict  # isort: skip
from speak import text_to_mel  # isort: skip

from diffwave.base.audio import write_audio
from diffwave.base.errors import InputError, run_script
from diffwave.mel import MelSpectrogram
from diffwave.mel.files import write_mel


@torch.inference_mode()
def forced_mel(model: Any, voices: Voices, utterance: Utterance) -> torch.Tensor:
    """[n_mels, T] under the durations, pitch and energy of the recording."""
    return predict(
        model,
        torch.tensor([utterance.tokens]),
        torch.tensor([len(utterance.tokens)]),
        torch.tensor([voices.speakers.index(utterance.speaker)]),
        torch.tensor([utterance.durations]),
        torch.tensor([utterance.pitch]),
        torch.tensor([utterance.energy]),
    ).mel[0]


def of_recordings(options: argparse.Namespace, model: Any, voices: Voices) -> None:
    """Everything of the utterances of one split."""
    labels = Labels.load(options.labels)
    wanted = {"training": [False], "validation": [True], "all": [False, True]}[options.split]
    chosen = [u for u in labels.utterances if u.held_out in wanted and u.durations]
    chosen = [u for u in chosen if re.match(options.only, u.id)]
    if options.limit:  # evenly from each speaker's
        groups = [[u for u in chosen if u.speaker == s] for s in labels.speakers]
        chosen = [u for group in groups for u in group[:: -(-len(group) // options.limit) or 1]]
    if labels.symbols != voices.symbols:
        raise InputError(f"{options.model} has other symbols than {options.labels}.")
    folders = ["wavs", "recordings", "forced", "free"]
    for folder in folders:
        (options.out / folder).mkdir(parents=True, exist_ok=True)
    frontend = MelSpectrogram(MEL)
    for u in tqdm(chosen, "predicting", unit="utterance", disable=None):
        wave = clip(options.corpora, u)
        mel = frontend(wave)
        forced = forced_mel(model, voices, u)
        if forced.shape != mel.shape:
            raise InputError(f"{u.id} has {mel.shape[1]} frames, not those of its labels.")
        write_audio(options.out / "wavs" / f"{u.id}.wav", wave, MEL.sample_rate)
        write_mel(options.out / "recordings" / f"{u.id}.npy", mel)
        write_mel(options.out / "forced" / f"{u.id}.npy", forced)
        write_mel(
            options.out / "free" / f"{u.id}.npy", text_to_mel(model, voices, u.text, u.speaker)
        )


def of_texts(options: argparse.Namespace, model: Any, voices: Voices) -> None:
    """Mels of a list of texts."""
    options.out.mkdir(parents=True, exist_ok=True)
    for name, speaker, text in tqdm(
        read_texts(options.texts), "predicting", unit="text", disable=None
    ):
        write_mel(options.out / f"{name}.npy", text_to_mel(model, voices, text, speaker))


def read_texts(path: Path) -> list[tuple[str, str, str]]:
    """Id, speaker and text of every line id|speaker|text; what begins with # is left out."""
    found = []
    for line in lines_of(path):
        if line.strip() and not line.startswith("#"):
            name, speaker, text = (*line.split("|", 2), "", "")[:3]
            if not text:
                raise InputError(f"A line of {path} is not id|speaker|text: {line[:60]!r}.")
            found.append((name, speaker, text))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("paths", type=Path, nargs="+", help="[CORPORA LABELS] MODEL OUT")
    parser.add_argument("--texts", type=Path)
    parser.add_argument("--split", choices=["training", "validation", "all"], default="validation")
    parser.add_argument("--limit", type=int, help="utterances of each speaker, at most")
    parser.add_argument("--only", default="", help="pattern that ids begin with")
    options = parser.parse_args()
    if len(options.paths) != (2 if options.texts else 4):
        parser.error("give CORPORA LABELS MODEL OUT, or MODEL OUT and --texts")
    *options.corpora, options.model, options.out = options.paths
    model, voices = load(options.model)
    if options.texts:
        of_texts(options, model, voices)
    else:
        options.corpora, options.labels = options.corpora
        of_recordings(options, model, voices)


if __name__ == "__main__":
    run_script(main)

"""Stage 1: phonemes, levels and features of corpora in the layout of LJSpeech.

python recipes/tts/prepare.py CORPORA WORK --speaker ljspeech --speaker kathleen

CORPORA/SPEAKER holds metadata.csv (id|text|normalised text) and wavs/. WORK/labels.json gets the
utterances, and WORK/features.safetensors their mels and F0, for alignment.
"""

from __future__ import annotations

import argparse
import re
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import torch
from common import MEL, Labels, Utterance, audio_file, clip, lines_of  # first
from phonemes import SPECIAL, encode, phonemes
from safetensors.numpy import save_file
from tqdm import tqdm

from diffwave.base.audio import read_audio
from diffwave.base.errors import InputError, run_script
from diffwave.base.files import atomic_path
from diffwave.data.config import PrepareConfig
from diffwave.data.recording import frame_powers, pieces, speech_rms
from diffwave.mel import MelSpectrogram

LEVEL = PrepareConfig(margin_seconds=0.15)
HELD_OUT = r"LJ001-000\d|LJ001-001[0-6]|arctic_[ab]\d\d\d7(_.*)?"
"""Never trained on: 16 utterances of LJSpeech, and every ARCTIC prompt whose number ends in 7."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpora", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--speaker", action="append", default=[], help="folder name; repeatable")
    parser.add_argument("--held-out", default=HELD_OUT, help="pattern of ids, for validation")
    parser.add_argument("--jobs", type=int, default=1)
    options = parser.parse_args()
    if not options.speaker:
        raise InputError("Name at least one --speaker, a folder of the corpora.")
    options.work.mkdir(parents=True, exist_ok=True)
    found = [u for s in options.speaker for u in utterances(options.corpora, s, options.held_out)]
    symbols = [phonemes(utterance.text) for utterance in found]
    inventory = SPECIAL + sorted({symbol for line in symbols for symbol in line} - set(SPECIAL))
    for utterance, line in zip(found, symbols, strict=True):
        utterance.tokens = encode(line, inventory)
    torch.set_num_threads(1)
    with ProcessPoolExecutor(options.jobs) as pool:
        work = pool.map(partial(analyse, options.corpora), found, chunksize=16)
        done = list(tqdm(work, "analysing", len(found), unit="utterance"))
    kept = [(u, mel, f0) for u, mel, f0 in done if u.frames >= len(u.tokens)]
    print(f"{len(found) - len(kept)} utterances are shorter than their phonemes, and left out")
    labels = Labels(inventory, options.speaker, {}, [u for u, _, _ in kept])
    labels.save(options.work / "labels.json")
    features = {  # safetensors stores the memory as it lies, so that must be in order
        "mel": np.ascontiguousarray(np.concatenate([mel for _, mel, _ in kept]), np.float16),
        "f0": np.concatenate([f0 for _, _, f0 in kept]).astype(np.float32),
    }
    with atomic_path(options.work / "features.safetensors") as path:
        save_file(features, path)
    for speaker in options.speaker:
        for held_out in (False, True):
            them = [u for u, _, _ in kept if u.speaker == speaker and u.held_out == held_out]
            minutes = sum(u.frames for u in them) * MEL.hop_length / MEL.sample_rate / 60
            kind = "validation" if held_out else "training"
            print(f"{speaker}: {len(them)} utterances for {kind}, {minutes:.1f} minutes")


def utterances(corpora: Path, speaker: str, held_out: str) -> list[Utterance]:
    """Those of a speaker; of an ARCTIC prompt that was read several times, the first reading."""
    path = corpora / speaker / "metadata.csv"
    found: dict[str, Utterance] = {}
    for line in sorted(lines_of(path)):
        fields = line.split("|")
        if len(fields) < 2:
            raise InputError(f"A line of {path} is not id|text: {line[:60]!r}.")
        name = fields[0]
        prompt = re.sub(r"^(arctic_[ab]\d{4})_.*", r"\1", name)
        audio_file(corpora, speaker, name)
        if prompt not in found:
            validation = re.fullmatch(held_out, name) is not None
            found[prompt] = Utterance(name, speaker, fields[-1], 0, 0, 1.0, held_out=validation)
    return list(found.values())


def analyse(corpora: Path, utterance: Utterance) -> tuple[Utterance, np.ndarray, np.ndarray]:
    """The utterance with its clip and gain, its mel [T, n_mels], and F0 [T] in Hz, 0 unvoiced."""
    import pyworld

    wave, rate = read_audio(audio_file(corpora, utterance.speaker, utterance.id), MEL.sample_rate)
    samples = wave.numpy()
    cuts = list(pieces(samples, rate, LEVEL))
    utterance.start, utterance.end = cuts[0][0], cuts[-1][1]
    highest = 10 ** (LEVEL.peak_db / 20) / float(np.abs(samples).max())
    rms = speech_rms(frame_powers(samples, rate))
    utterance.gain = round(min(highest, 10 ** (LEVEL.rms_db / 20) / rms), 4)
    wave = clip(corpora, utterance)
    mel = np.ascontiguousarray(MelSpectrogram(MEL)(wave).T.numpy())
    samples = wave.double().numpy()
    period = 1000 * MEL.hop_length / rate
    f0, times = pyworld.dio(samples, rate, f0_floor=80, f0_ceil=500, frame_period=period)
    f0 = pyworld.stonemask(samples, f0, times, rate)
    centres = np.arange(len(mel)) + 0.5  # frame t is centred on sample (t + 1/2) hop
    f0 = f0[np.minimum(np.round(centres).astype(int), len(f0) - 1)]
    return utterance, mel, f0


if __name__ == "__main__":
    run_script(main)

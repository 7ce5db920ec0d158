"""The clips of a corpus: of a folder of audio, read into memory, or of a prepared one, mapped."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from diffwave.audio import AUDIO_SUFFIXES, read_audio
from diffwave.data.clip import Clip
from diffwave.data.config import DataConfig
from diffwave.data.pairs import MelFolder, length_notes
from diffwave.data.shards import VALIDATION, is_prepared, open_prepared
from diffwave.data.source import analyse, polarities
from diffwave.data.split import matches
from diffwave.errors import InputError
from diffwave.files import find_files
from diffwave.mel import MelConfig


@dataclass
class Corpus:
    """Training and validation clips, and the files that could not be used, with the reason."""

    train: list[Clip]
    validation: list[Clip]
    rejected: list[str]
    sample_rate: int
    notes: list[str] = field(default_factory=list)
    """Remarks on the corpus as a whole, a sentence each."""

    def add(self, clip: Clip, name: object, held_out: bool, shortest: int) -> None:
        """Put a clip where it belongs; `name` is what it is called if that is nowhere."""
        if held_out:
            self.validation.append(clip)
        elif len(clip.samples) < shortest:
            self.rejected.append(f"{name} is shorter than a crop of {shortest} samples.")
        else:
            self.train.append(clip)

    @property
    def hours(self) -> float:
        """Hours of audio to train on."""
        return sum(len(clip.samples) for clip in self.train) / self.sample_rate / 3600


def load_corpus(
    config: DataConfig,
    mel: MelConfig,
    shortest: int,
    progress: bool = True,
    bands: tuple[float, ...] = (),
) -> Corpus:
    """The clips of `config.folder`: every audio file below it, or what was prepared in it.

    Audio is resampled and kept in memory as 16-bit samples; a prepared corpus is mapped, so that
    memory does not grow with it. Clips get the mels of `config.mel_folder`, or of the prepared
    corpus. Processes that load clips beside this one must be started by "spawn": a fork of a
    process in which PyTorch has started threads inherits their locks, and waits for ever.

    Without validation patterns a prepared corpus is split as it was prepared, and all of a folder
    of audio is for training. A training clip must have `shortest` samples. `bands` are the limits
    in Hz of the bands of a source, which the clips then bring.

    Raises:
        InputError: when there is no folder, no audio in it, nothing in it to train on, or a corpus
            that was prepared for another sample rate or other mels, or without the source.
    """
    folder = Path(config.folder)
    if not config.folder:  # which as a path would be the current folder
        raise InputError("There is no folder to train on; set data.folder.")
    if not folder.is_dir():
        raise InputError(f"There is no folder {str(folder)!r} to train on; set data.folder.")
    if is_prepared(folder):
        corpus, count = _mapped(config, mel, shortest, bands)
    else:
        corpus, count = _read(config, mel, shortest, progress, bands)
    if not corpus.train:
        why = f"; for example: {corpus.rejected[0]}" if corpus.rejected else "; all are validation."
        raise InputError(f"None of the {count} below {folder} can be trained on{why}")
    return corpus


def audio_paths(folder: Path) -> list[Path]:
    """Every audio file below a folder, sorted; InputError if there is none."""
    paths = find_files(folder, AUDIO_SUFFIXES)
    if not paths:
        raise InputError(f"There is no audio ({', '.join(AUDIO_SUFFIXES)}) below {folder}.")
    return paths


def sixteen_bit(wave: NDArray[np.float32]) -> NDArray[np.int16]:
    """Samples -1 .. 1, what lies beyond clipped, as 16-bit integers."""
    return np.clip(np.rint(wave * 32768), -32768, 32767).astype(np.int16)


def _read(
    config: DataConfig, mel: MelConfig, shortest: int, progress: bool, bands: tuple[float, ...]
) -> tuple[Corpus, str]:
    """A folder of audio, and what there was, in words."""
    folder = Path(config.folder)
    paths = audio_paths(folder)
    mels = MelFolder(config.mel_folder, mel, config.mel_tolerance) if config.mel_folder else None
    corpus = Corpus([], [], [], mel.sample_rate)
    differences, folders = [], {}
    for path in tqdm(paths, desc="reading audio", unit="clip", disable=not progress):
        try:
            wave, _ = read_audio(path, mel.sample_rate)
            clip = Clip(path.stem, sixteen_bit(wave.numpy()))
            if mels is not None:
                relative = path.relative_to(folder)
                clip.samples, clip.mel, difference = mels.pair(relative, clip.samples)
                differences.append(difference)
        except InputError as error:
            corpus.rejected.append(str(error))
            continue
        folders[id(clip)] = str(path.parent)
        corpus.add(clip, path, matches(path.name, config.validation), shortest)
    if bands:
        clips = corpus.train + corpus.validation
        signs = polarities([(folders[id(clip)], clip.samples) for clip in clips], mel.sample_rate)
        bar = tqdm(signs, "finding pulses", unit="clip", disable=not progress)
        for clip, sign in zip(clips, bar, strict=True):
            clip.polarity = sign
            clip.source = analyse(clip.samples, sign, mel.sample_rate, bands)
    corpus.notes += length_notes(differences)
    return corpus, f"{len(paths)} audio files"


def _mapped(
    config: DataConfig, mel: MelConfig, shortest: int, bands: tuple[float, ...]
) -> tuple[Corpus, str]:
    """A prepared corpus, and what there was, in words."""
    prepared = open_prepared(Path(config.folder))
    paired = any(entry.mel_shard >= 0 for entry in prepared.entries)
    if prepared.mel.sample_rate != mel.sample_rate:
        wrong = f"at {prepared.mel.sample_rate} Hz, but the mels are of {mel.sample_rate} Hz"
    elif paired and prepared.mel != mel:
        wrong = f"with mels of the convention {prepared.mel.name!r}, not {mel.name!r}"
    elif config.mel_folder and not paired:
        wrong = "without mels; there must be a data.mel_folder"
    elif bands and prepared.source_bands != bands:
        wrong = "without the source that is to be trained; these settings and --force are needed"
    else:
        wrong = ""
    if wrong:
        raise InputError(f"{config.folder} was prepared {wrong}; prepare it again.")
    corpus = Corpus([], [], [], mel.sample_rate)
    for entry in prepared.entries:
        clip = prepared.clip(entry)
        anew = bool(config.validation)
        held_out = matches(entry.file, config.validation) if anew else entry.split == VALIDATION
        corpus.add(clip, clip.name, held_out, shortest)
    return corpus, f"{len(prepared.entries)} clips"

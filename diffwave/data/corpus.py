"""The clips of a corpus: of a folder of audio, read into memory, or of a prepared one, mapped."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from diffwave.base.audio import AUDIO_SUFFIXES, read_audio
from diffwave.base.errors import InputError
from diffwave.base.files import find_files
from diffwave.data.config import DataConfig
from diffwave.data.crops import Clip, Framing
from diffwave.data.prepared import VALIDATION, is_prepared, matches, open_prepared
from diffwave.data.source import analyse, polarities
from diffwave.mel import MelConfig, check_one
from diffwave.mel.files import MEL_SUFFIXES, read_mel


@dataclass
class Corpus:
    """Training and validation clips, and the files that could not be used, with the reason."""

    sample_rate: int
    train: list[Clip] = field(default_factory=list)
    validation: list[Clip] = field(default_factory=list)
    rejected: list[str] = field(default_factory=list)
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


def load_corpus(config: DataConfig, framing: Framing, progress: bool = True) -> Corpus:
    """The clips of `config.folder`: every audio file below it, or what was prepared in it.

    Audio is resampled and kept in memory as 16-bit samples; a prepared corpus is mapped, so that
    memory does not grow with it. Clips get the mels of `config.mel_folder`, or of the prepared
    corpus, and their source if the model has one. Without validation patterns a prepared corpus is
    split as it was prepared, and all of a folder of audio is for training.

    InputError where there is nothing to train on, or a corpus prepared for another model.
    """
    if not config.folder:  # which as a path would be the current folder
        raise InputError("There is no folder to train on; set data.folder.")
    folder = Path(config.folder)
    if not folder.is_dir():
        raise InputError(f"There is no folder {str(folder)!r} to train on; set data.folder.")
    corpus = Corpus(framing.frontend.config.sample_rate)
    fill = _map_clips if is_prepared(folder) else _read_clips
    count = fill(corpus, folder, config, framing, progress)
    if not corpus.train:
        why = f"; for example: {corpus.rejected[0]}" if corpus.rejected else "; all are validation."
        raise InputError(f"None of the {count} below {folder} can be trained on{why}")
    return corpus


def sixteen_bit(wave: NDArray[np.float32]) -> NDArray[np.int16]:
    """Samples -1 .. 1, what lies beyond clipped, as 16-bit integers."""
    return np.clip(np.rint(wave * 32768), -32768, 32767).astype(np.int16)


def _read_clips(
    corpus: Corpus, folder: Path, config: DataConfig, framing: Framing, progress: bool
) -> str:
    """Fill the corpus with a folder of audio; returns what there was, in words."""
    mel, shortest = framing.frontend.config, framing.samples(config.crop_frames)
    mels = MelFolder(config.mel_folder, mel, config.mel_tolerance) if config.mel_folder else None
    paths = find_files(folder, AUDIO_SUFFIXES, kind="audio")
    differences, folders = [], {}
    for path in tqdm(paths, desc="reading audio", unit="clip", disable=not progress):
        try:
            wave, _ = read_audio(path, mel.sample_rate)
            clip = Clip(path.stem, sixteen_bit(wave.numpy()))
            if mels is not None:
                clip.samples, clip.mel, difference = mels.pair(
                    path.relative_to(folder), clip.samples
                )
                differences.append(difference)
        except InputError as error:
            corpus.rejected.append(str(error))
            continue
        folders[id(clip)] = str(path.parent)
        corpus.add(clip, path, matches(path.name, config.validation), shortest)
    if framing.bands:
        clips = corpus.train + corpus.validation
        signs = polarities([(folders[id(clip)], clip.samples) for clip in clips], mel.sample_rate)
        bar = tqdm(signs, "finding pulses", unit="clip", disable=not progress)
        for clip, clip.polarity in zip(clips, bar, strict=True):
            clip.source = analyse(clip.samples, clip.polarity, mel.sample_rate, framing.bands)
    corpus.notes += length_notes(differences)
    return f"{len(paths)} audio files"


def _map_clips(
    corpus: Corpus, folder: Path, config: DataConfig, framing: Framing, progress: bool
) -> str:
    """Fill the corpus with a prepared one; returns what there was, in words."""
    prepared, mel = open_prepared(folder), framing.frontend.config
    paired = any(entry.mel_shard >= 0 for entry in prepared.entries)
    wrong = ""
    if prepared.mel.sample_rate != mel.sample_rate:
        wrong = f"at {prepared.mel.sample_rate} Hz, but the mels are of {mel.sample_rate} Hz"
    elif paired and prepared.mel != mel:
        wrong = f"with mels of the convention {prepared.mel.name!r}, not {mel.name!r}"
    elif config.mel_folder and not paired:
        wrong = "without mels; there must be a data.mel_folder"
    elif framing.bands and prepared.source_bands != framing.bands:
        wrong = "without the source that is to be trained; these settings and --force are needed"
    if wrong:
        raise InputError(f"{folder} was prepared {wrong}; prepare it again.")
    for entry in prepared.entries:
        held_out = entry.split == VALIDATION
        if config.validation:
            held_out = matches(entry.file, config.validation)
        clip = prepared.clip(entry)
        if not framing.bands:  # prepared for a model with a source as well
            clip.source, clip.polarity = None, 1
        corpus.add(clip, clip.name, held_out, framing.samples(config.crop_frames))
    return f"{len(prepared.entries)} clips"


class MelFolder:
    """The mels below a folder, all in one convention, for recordings of the same names.

    A vocoder is fine-tuned on such pairs (ground-truth-aligned mels). A mel may be `tolerance`
    frames longer or shorter than its recording. Raises InputError if there is no such folder, or no
    mel in it or its subfolders.
    """

    def __init__(self, folder: str, config: MelConfig, tolerance: int) -> None:
        self.folder, self.config, self.tolerance = Path(folder), config, tolerance
        if not self.folder.is_dir():
            raise InputError(f"There is no folder {folder!r} of mels; set data.mel_folder.")
        self.paths: dict[Path, list[Path]] = {}
        for path in find_files(self.folder, MEL_SUFFIXES, kind="mel"):
            stem = path.relative_to(self.folder).with_suffix("")
            for key in {stem, Path(stem.name)}:
                self.paths.setdefault(key, []).append(path)

    def path_of(self, recording: Path) -> Path:
        """The mel of a recording, whose path is relative to the folder of the audio.

        The mel has the same path but for the suffix, or the same name in whatever subfolder.
        InputError if there is none, or more than one.
        """
        stem = recording.with_suffix("")
        found = self.paths.get(stem) or self.paths.get(Path(stem.name))
        if not found:
            raise InputError(f"{recording} has no mel of its name below {self.folder}.")
        if len(found) > 1:
            raise InputError(f"{recording} has several mels, such as {found[0]} and {found[1]}.")
        return found[0]

    def pair(
        self, recording: Path, samples: NDArray[np.int16]
    ) -> tuple[NDArray[np.int16], NDArray[np.float32], int]:
        """A recording [L], at the convention's sample rate, and its mel, cut to what both have.

        Returns:
            samples [T * hop_length] and mel [n_mels, T], frame t of which is the frontend's frame t
            of those samples; and how many frames the mel had more (or, below 0, fewer) than the
            frontend makes of the recording. InputError for no mel, or one that does not fit.
        """
        path = self.path_of(recording)
        found = read_mel(path)
        try:
            mel = check_one(found, self.config, "it").numpy()
        except InputError as error:
            raise InputError(f"{path}: {error}") from None
        frames = self.config.frames(len(samples))
        difference = mel.shape[1] - frames
        if abs(difference) > self.tolerance:
            raise InputError(
                f"{path} has {mel.shape[1]} frames, but {recording} has {frames}: more than "
                f"data.mel_tolerance = {self.tolerance} apart."
            )
        # A frontend that centres its frames makes one that begins where the samples end.
        hop = self.config.hop_length
        common = min(mel.shape[1], len(samples) // hop)
        if not common:
            raise InputError(f"{recording} is shorter than one frame.")
        return samples[: common * hop], np.ascontiguousarray(mel[:, :common]), difference


def length_notes(differences: list[int]) -> list[str]:
    """A note on mels that were not as long as their recordings, if there are any."""
    if not (uneven := [difference for difference in differences if difference]):
        return []
    return [
        f"{len(uneven)} of {len(differences)} mels differ in length from their recordings, by "
        f"{min(uneven):+d} to {max(uneven):+d} frames; both were cut at the end to what they share."
    ]

"""A folder of recordings to a prepared corpus: judged, resampled, cut, split, on disk, reported."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import itertools
import json
import multiprocessing
import os
import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from diffwave.base.audio import AUDIO_SUFFIXES
from diffwave.base.errors import InputError
from diffwave.base.files import atomic_folder, find_files, in_order, json_text, make_folder
from diffwave.data.config import DataConfig
from diffwave.data.corpus import MelFolder, length_notes
from diffwave.data.crops import Crops, Framing
from diffwave.data.envelope import envelope_path, fitted_space, save_envelope
from diffwave.data.prepared import (
    INDEX,
    TRAIN,
    VALIDATION,
    Entry,
    Prepared,
    ShardWriter,
    is_prepared,
    open_prepared,
    split,
    stored_file,
)
from diffwave.data.recording import Recording, Remark, take
from diffwave.data.source import analyse, polarities
from diffwave.model import ModelConfig
from diffwave.spaces import SPACES

LARGE = 1 << 24
"""Bytes from which on a file is worked on by one thread at a time: an hour takes 2 GB of memory."""
EXAMPLES = 10
"""Remarks of one kind that the readable report gives in full."""


@dataclass
class CorpusReport:
    """Counts and hours, and every file about which there is something to say."""

    sample_rate: int
    files: int = 0
    """Audio files that were found."""
    hours_found: float = 0.0
    """Of those that could be read."""
    clips: dict[str, int] = field(default_factory=dict)
    """By split, "train" and "validation"."""
    hours: dict[str, float] = field(default_factory=dict)
    """By split."""
    rejected: dict[str, Remark] = field(default_factory=dict)
    """By file, relative to the folder of the audio."""
    remarks: dict[str, list[Remark]] = field(default_factory=dict)
    """Of files that were used; by file."""
    notes: list[str] = field(default_factory=list)
    """About the corpus as a whole."""
    settings: dict[str, Any] = field(default_factory=dict)
    """`data.prepare`."""

    def add(self, recording: Recording) -> None:
        """Take in a file."""
        self.files += 1
        self.hours_found += recording.seconds / 3600
        if recording.rejected is not None:
            self.rejected[recording.file] = recording.rejected
        elif recording.remarks:
            self.remarks[recording.file] = recording.remarks

    def count_clips(self, entries: Sequence[Entry]) -> None:
        """Take in the finished clips."""
        for part in (TRAIN, VALIDATION):
            lengths = [entry.length for entry in entries if entry.split == part]
            self.clips[part] = len(lengths)
            self.hours[part] = sum(lengths) / self.sample_rate / 3600

    def summary(self) -> list[str]:
        """The report in a few lines."""
        lines = [f"{self.files} files, {self.hours_found:.2f} hours"]
        lines += [f"{s}: {n} clips, {self.hours[s]:.2f} hours" for s, n in self.clips.items()]
        kinds = f" ({_counted(self.rejected.values())})" if self.rejected else ""
        lines.append(f"rejected: {len(self.rejected)} files{kinds}")
        if self.remarks:
            lines.append(f"used, but: {_counted(itertools.chain(*self.remarks.values()))}")
        return lines + self.notes

    def save(self, folder: Path) -> None:
        """Write report.json, and report.md, which names every rejected file."""
        (folder / "report.json").write_text(json_text(self), encoding="utf-8")
        lines = ["# Prepared corpus", "", f"Samples at {self.sample_rate} Hz, 16 bit, mono.", ""]
        lines += [f"- {line}" for line in self.summary()]
        if self.rejected:
            lines += ["", "## Rejected", ""]
            lines += [f"- {it.kind}: {it.sentence}" for it in self.rejected.values()]
        by_kind: dict[str, list[str]] = {}
        for remark in itertools.chain(*self.remarks.values()):
            by_kind.setdefault(remark.kind, []).append(remark.sentence)
        for kind, sentences in by_kind.items():
            lines += ["", f"## Used, but {kind}", ""]
            lines += [f"- {sentence}" for sentence in sentences[:EXAMPLES]]
            if len(sentences) > EXAMPLES:
                lines.append(f"- and {len(sentences) - EXAMPLES} more, in report.json")
        (folder / "report.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _counted(remarks: Iterable[Remark]) -> str:
    counts = Counter(remark.kind for remark in remarks)
    return ", ".join(f"{count} {kind}" for kind, count in counts.most_common())


def prepare(
    audio: Path,
    target: Path,
    data: DataConfig,
    model: ModelConfig,
    jobs: int = 1,
    force: bool = False,
    progress: bool = True,
) -> CorpusReport | None:
    """Make a prepared corpus of a folder of audio; whole, or not at all.

    A file that cannot be used is left out and named in the report. The result depends on the files
    and the settings, and not on `jobs`, the number of files that are worked on at a time.

    Returns what became of the files, or None if the folder holds the same already. InputError for
    no audio that can be trained on, or a target that holds something else (a corpus of other audio
    or settings is replaced with `force`).
    """
    paths = find_files(audio, AUDIO_SUFFIXES, kind="audio")
    mel, framing = model.mel, Framing(model)
    mels = MelFolder(data.mel_folder, mel, data.mel_tolerance) if data.mel_folder else None
    source = _digest(audio, paths, mels, data, framing)
    if _is_there(target, source, force):
        return None
    report = CorpusReport(mel.sample_rate, settings=dataclasses.asdict(data.prepare))
    make_folder(target.parent)
    with atomic_folder(target) as folder:
        (folder / "data").mkdir()
        large = threading.Lock()

        def work(path: Path) -> Recording:
            file, size, _ = _file_state(path, audio)
            with large if size > LARGE else nullcontext():
                return take(path, file, mel.sample_rate, data.prepare, mels)

        # Threads serve: decoding and resampling, which take the time, run outside Python's lock.
        with tqdm(total=len(paths), desc="preparing", unit="file", disable=not progress) as bar:
            done = in_order(ThreadPoolExecutor(jobs), work, paths, jobs)
            prepared = Prepared(folder, mel, source, *_write(folder, done, report, bar))
        if not prepared.entries:
            example = next(iter(report.rejected.values())).sentence
            raise InputError(
                f"None of the {len(paths)} audio files below {audio} can be used "
                f"({_counted(report.rejected.values())}); for example: {example}"
            )
        prepared.entries = split(prepared.entries, data)
        shortest = framing.samples(data.crop_frames)
        _check_lengths(prepared, shortest, report)
        if framing.bands:
            _store_sources(prepared, framing.bands, jobs, progress)
        if SPACES[model.space.kind][1].needs_fit:
            # As a run with these settings would fit it.
            used = [e for e in prepared.entries if e.split == TRAIN and e.length >= shortest]
            crops = Crops([prepared.clip(entry) for entry in used], model, data, seed=0)
            path = envelope_path(folder)
            save_envelope(path, fitted_space(model, crops))
            prepared.files[path.name] = stored_file(path)
        prepared.save()
        report.count_clips(prepared.entries)
        report.save(folder)
    return report


def _digest(
    audio: Path, paths: list[Path], mels: MelFolder | None, data: DataConfig, framing: Framing
) -> str:
    """Of everything that the clips depend on; files count by name, size and time of change."""
    mel = framing.frontend.config
    made_from: dict[str, Any] = {
        "sample_rate": mel.sample_rate,
        "prepare": dataclasses.asdict(data.prepare),
        "validation": data.validation,
        "audio": [_file_state(path, audio) for path in paths],
    }
    if mels is not None:
        found = sorted({path for alike in mels.paths.values() for path in alike})
        made_from["mels"] = [_file_state(path, mels.folder) for path in found]
        made_from |= {"mel": dataclasses.asdict(mel), "tolerance": mels.tolerance}
    if framing.bands:
        made_from["source_bands"] = framing.bands
    return hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()


def _file_state(path: Path, folder: Path) -> tuple[str, int, int]:
    name = path.relative_to(folder).as_posix()
    try:
        state = path.stat()
    except OSError:  # a link to nothing; reading it says so
        return name, 0, 0
    return name, state.st_size, state.st_mtime_ns


def _is_there(target: Path, source: str, force: bool) -> bool:
    """Whether the target holds the corpus already; InputError if it holds something else."""
    if is_prepared(target):
        if force or open_prepared(target).source == source:
            return not force
        raise InputError(
            f"{target} holds a corpus of other audio, or with other settings; --force replaces it."
        )
    if target.is_dir() and any(target.iterdir()):
        raise InputError(f"{target} is not empty, and holds no prepared corpus ({INDEX}).")
    return False


def _write(
    folder: Path, recordings: Iterable[Recording], report: CorpusReport, bar: tqdm
) -> tuple[dict[str, Any], list[Entry]]:
    """Write the clips; returns the shards and where each clip is, all of them for training yet."""
    entries, differences = [], []
    with (
        ShardWriter(folder / "data", "samples") as samples,
        ShardWriter(folder / "data", "mels") as mels,
    ):
        for recording in recordings:
            report.add(recording)
            stem = os.path.splitext(recording.file)[0]
            for number, clip in enumerate(recording.clips, 1):
                name = stem if len(recording.clips) == 1 else f"{stem}_{number:04d}"
                place: list[int] = [*samples.append(clip), len(clip)]
                if recording.mel is not None:
                    place += mels.append(recording.mel.T)
                    differences.append(recording.mel_difference)
                entries.append(Entry(name, recording.file, TRAIN, *place))
            bar.set_postfix_str(f"{len(report.rejected)} rejected", refresh=False)
            bar.update()
    report.notes += length_notes(differences)
    return samples.files | mels.files, entries


def _check_lengths(prepared: Prepared, shortest: int, report: CorpusReport) -> None:
    """Note the training clips shorter than a crop; InputError if all are."""
    lengths = [entry.length for entry in prepared.entries if entry.split == TRAIN]
    short = sum(length < shortest for length in lengths)
    crop = f"a crop of data.crop_frames ({shortest / prepared.mel.sample_rate:.2f} s)"
    if short == len(lengths):
        why = f"all {short} clips are shorter than {crop}" if short else "all are validation"
        raise InputError(f"There is nothing to train on: {why}.")
    if short:
        report.notes.append(f"{short} of the training clips are shorter than {crop}, and unused")


def _store_sources(prepared: Prepared, bands: tuple[float, ...], jobs: int, progress: bool) -> None:
    """Find what excites every clip, in `jobs` processes, and add it to the corpus."""
    rate, count = prepared.mel.sample_rate, len(prepared.entries)
    samples = [prepared.clip(entry).samples for entry in prepared.entries]
    folders = [os.path.dirname(entry.file) for entry in prepared.entries]
    signs = polarities(list(zip(folders, samples, strict=True)), rate)
    # Spawned: a fork would inherit the locks of PyTorch's threads.
    context, jobs = multiprocessing.get_context("spawn"), min(jobs, count // 16)
    with (
        ProcessPoolExecutor(jobs, context) if jobs > 1 else nullcontext() as pool,
        ShardWriter(prepared.folder / "data", "sources") as writer,
    ):
        run = map if pool is None else functools.partial(pool.map, chunksize=8)
        tracks = run(analyse, samples, signs, [rate] * count, [bands] * count)
        bar = tqdm(tracks, "finding pulses", count, unit="clip", disable=not progress)
        prepared.entries = [
            dataclasses.replace(entry, source_shard=shard, source_start=start, polarity=sign)
            for entry, sign, (shard, start) in zip(
                prepared.entries, signs, map(writer.append, bar), strict=True
            )
        ]
    prepared.files |= writer.files
    prepared.source_bands = bands

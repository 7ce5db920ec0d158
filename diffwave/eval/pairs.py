"""The utterances of an evaluation: recordings, and what was generated for them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from torch import Tensor

from diffwave.audio import AUDIO_SUFFIXES, read_audio, write_audio
from diffwave.errors import InputError
from diffwave.files import find_files
from diffwave.text import printable

NAMED = 5  # utterances that a note lists by name


@dataclass(frozen=True)
class Pair:
    """One utterance: the recording and what is to be judged, [L] each, at one sample rate (Hz)."""

    name: str
    reference: Tensor
    generated: Tensor
    sample_rate: int
    reference_file: Path | None = None  # where they can be listened to
    generated_file: Path | None = None


def resynthesis_pairs(
    files: Iterable[str | os.PathLike[str]],
    resynthesise: Callable[[Tensor], Tensor],
    sample_rate: int,
    folder: str | os.PathLike[str] | None = None,
) -> Iterator[Pair]:
    """Read each recording at `sample_rate` and pair it with what `resynthesise` makes of it.

    For a vocoder: ``resynthesis_pairs(files, lambda wave: vocoder(vocoder.mel(wave)), rate)``. The
    lengths need not agree. If a folder is given, what was generated is also written there, as
    16-bit wav.
    """
    for file in files:
        reference, _ = read_audio(file, sample_rate)
        generated, place = resynthesise(reference), None
        if folder is not None:
            place = Path(folder) / f"{Path(file).stem}.wav"
            write_audio(place, generated, sample_rate)
        name = printable(Path(file).stem)
        yield Pair(name, reference, generated, sample_rate, Path(file), place)


def folder_pairs(
    reference: str | os.PathLike[str], generated: str | os.PathLike[str], only: str = "*"
) -> tuple[Iterator[Pair], list[str], list[str]]:
    """Pair the audio files of two folders by name, whatever their suffix.

    Generated audio of another sample rate is resampled to the recording's. `only` is a pattern of
    the file names of the recordings to take.

    Returns:
        The pairs, read as they are consumed; their names; and the names of the recordings that
        nothing was generated for.

    Raises:
        InputError: a folder is missing or holds no audio, two files share a name, or a generated
            file has no recording.
    """
    recordings, copies = audio_files(reference), audio_files(generated)
    for name in copies:
        if name not in recordings:
            raise InputError(
                f"{copies[name]} has no recording of that name in {os.fspath(reference)}."
            )
    wanted = audio_files(reference, only)
    names = [name for name in copies if name in wanted]

    def read() -> Iterator[Pair]:
        for name in names:
            wave, rate = read_audio(wanted[name])
            copy, _ = read_audio(copies[name], rate)
            yield Pair(name, wave, copy, rate, wanted[name], copies[name])

    return read(), names, [name for name in wanted if name not in copies]


def audio_files(folder: str | os.PathLike[str], only: str = "*") -> dict[str, Path]:
    """{name without suffix: path} of the audio files whose name matches the pattern, sorted.

    Raises InputError if there is no such folder or file, or two of one name.
    """
    if not Path(folder).is_dir():
        raise InputError(f"There is no folder {os.fspath(folder)}.")
    files: dict[str, Path] = {}
    for file in find_files(Path(folder), AUDIO_SUFFIXES, deep=False):
        name = printable(file.stem)
        if name in files:
            raise InputError(f"{file} and {files[name]} have the same name.")
        files[name] = file
    if not files:
        raise InputError(f"{os.fspath(folder)} holds no audio ({', '.join(AUDIO_SUFFIXES)}).")
    chosen = {name: file for name, file in files.items() if fnmatch(file.name, only)}
    if not chosen:
        raise InputError(f"No recording in {os.fspath(folder)} matches {only!r}.")
    return chosen


def transcripts(folder: str | os.PathLike[str]) -> dict[str, str]:
    """{name: text} of the metadata.csv of a corpus, as LJSpeech has it: lines of "name|...|text".

    The file is looked for in the folder of recordings and in the one above. Nothing is required of
    it: without it, or where a line is of another kind, there are no texts.
    """
    for place in (Path(folder), Path(folder).absolute().parent):
        try:
            lines = (place / "metadata.csv").read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError):
            continue
        cells = [line.split("|") for line in lines]
        return {Path(first).stem: rest[-1] for first, *rest in cells if rest}
    return {}


def listed(names: list[str]) -> str:
    """The first names and how many more there are: "a, b, c, d, e and 13095 more"."""
    rest = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {rest} more" if rest > 0 else "")

"""What every command takes: a dataclass each, whose fields and their docstrings are the options.

Imports nothing heavy, so that --help and a wrong argument do not wait for PyTorch. A module of
`diffwave.commands` with the command's name runs it.
"""

# ruff: noqa: RUF009

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta

from diffwave.commands.jobs import (
    check_exists,
    check_folders_of,
    check_places,
    check_settings,
    check_suffix,
)
from diffwave.errors import InputError
from diffwave.schema import AtLeastOne, Threads

AUDIO_OUTPUTS = (".wav", ".flac", ".ogg", ".opus", ".mp3")
"""Suffixes that a result may have; whether libsndfile writes them here is known later."""


def argument(default: Any = dataclasses.MISSING, *flags: str, **settings: Any) -> Any:
    """A field with settings for argparse: other names, `metavar`, `nargs`, `positional`."""
    metadata = {"flags": flags, **settings}
    if isinstance(default, list):
        return dataclasses.field(default_factory=list, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(kw_only=True)
class Options:
    """Of any command."""

    def check(self) -> None:
        """Raise InputError for what can be known to be wrong before PyTorch is loaded."""


@dataclass(kw_only=True)
class Generation(Options):
    """How speech is generated with a checkpoint."""

    checkpoint: str | None = argument(None, metavar="NAME")
    """Bundled name, folder or hub id (default: the bundled voice)."""
    steps: Annotated[int, Meta(ge=1, le=10_000)] | None = None
    """Network calls (default: the checkpoint's; the bundled voice is tuned for 1, 2, 4 and 8)."""
    n_iter: Annotated[int, Meta(ge=0, le=10_000)] | None = None
    """Mel-consistency (Griffin-Lim) iterations after the last step (default: the checkpoint's)."""
    sampler: Literal["ddim", "dpm-solver++", "ancestral"] | None = None
    """Solver of the reverse process (default: the checkpoint's)."""
    seed: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] = 0
    """Same seed, same wave."""
    enhance: bool = True
    """Run the mel enhancer, if the checkpoint has one, on mels that a model predicted or smoothed;
    those of recordings pass unchanged."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:N or mps."""
    threads: Threads = 0
    """CPU threads; 0: as many as PyTorch chooses."""


@dataclass(kw_only=True)
class Synthesize(Generation):
    """Turn mel-spectrograms into speech."""

    input: str = argument(positional=True)
    """A mel-spectrogram (.npy, .npz, .pt, .safetensors), a recording to analyse and resynthesise
    (.wav, .flac, .ogg, .opus, .mp3), a folder of either, or - for a .npy on standard input."""
    output: str = argument(positional=True)
    """An audio file (.wav, .flac, .ogg, .opus, .mp3); a folder if the input is one; - for a wav on
    standard output."""
    bits: Literal["16", "24", "float"] = "16"
    """Sample format of .wav and .flac."""
    f0: str | None = argument(None, metavar="FILE")
    """Pitch in place of the predicted one: a .npy, or a .txt of one number a line, of Hz for each
    frame, 0 where there is no voice; a folder of them, named as the mels are, if the input is one.
    Of checkpoints that have a source."""
    transpose: Annotated[float, Meta(ge=-24, le=24)] = argument(0.0, metavar="SEMITONES")
    """Raise the pitch, or lower it where negative. Of checkpoints that have a source."""
    chunk: Annotated[int, Meta(ge=1, le=2**31)] = argument(1024, metavar="FRAMES")
    """Frames generated at a time; bounds memory, does not change the result."""

    def check(self) -> None:
        source = None if self.input == "-" else Path(self.input)
        if self.f0 is not None:
            check_exists(Path(self.f0))
            if Path(self.f0).is_dir() != (source is not None and source.is_dir()):
                raise InputError(f"--f0 {self.f0} must be a folder if the input is one.")
        if self.output != "-":
            check_places(source, Path(self.output))
            if source is None or not source.is_dir():
                check_suffix(self.output, AUDIO_OUTPUTS)
        elif source is not None and source.is_dir():
            raise InputError(f"{source} is a folder, so the output must be one too.")
        elif source is not None:
            check_exists(source)


@dataclass(kw_only=True)
class Mel(Options):
    """Make mel-spectrograms of recordings."""

    input: str | None = argument(None, positional=True)
    """A recording, or a folder of them."""
    output: str | None = argument(None, positional=True)
    """A .npy file; a folder if the input is one."""
    preset: str = "hifigan"
    """Mel convention, one of those that --list shows."""
    list: bool = False
    """Print the mel conventions and their settings."""

    def check(self) -> None:
        if self.list:
            return
        if self.input is None or self.output is None:
            raise InputError("Give a recording and a .npy file to make of it, or --list.")
        check_places(Path(self.input), Path(self.output))
        if not Path(self.input).is_dir():
            check_suffix(self.output, (".npy",))


@dataclass(kw_only=True)
class Info(Options):
    """Describe a checkpoint."""

    checkpoint: str | None = argument(None, positional=True)
    """Bundled name, folder or hub id (default: list the bundled ones)."""
    json: bool = False
    """Print every setting as JSON."""


@dataclass(kw_only=True)
class Evaluate(Generation):
    """Score generated audio, or a checkpoint, against recordings."""

    reference: str = argument(positional=True)
    """Folder of original recordings."""
    generated: list[str] = argument([], positional=True, metavar="[NAME=]DIR")
    """Folders of generated audio of the same file names, one for each system; without any, or
    beside them, a checkpoint: see --checkpoint."""
    only: str = argument("*", metavar="PATTERN")
    """Recordings to take, by file name."""
    metrics: str | None = None
    """Comma-separated (default: all); --metrics=-NAME leaves one out (periodicity_rmse and
    distillmos take longest)."""
    save: list[str] = argument([], "--json", metavar="FILE")
    """Write the scores: .json, .csv or .md; repeatable."""
    html: str | None = argument(None, metavar="DIR")
    """Write a page to listen, look and compare."""
    jobs: Annotated[int, Meta(ge=1, le=1024)] = argument(1, metavar="N")
    """Processes to score with."""

    def check(self) -> None:
        if not Path(self.reference).is_dir():
            raise InputError(f"There is no folder {self.reference}.")
        for path in self.save:
            if Path(path).suffix.lower() not in (".json", ".csv", ".md"):
                raise InputError(f"Cannot write {path}: a report ends in .json, .csv or .md.")
        check_folders_of([*self.save, self.html])
        if self.html and Path(self.html).is_file():
            raise InputError(f"Cannot write {self.html}: it exists and is not a folder.")


@dataclass(kw_only=True)
class Prepare(Options):
    """Make a corpus to train on of a folder of recordings."""

    audio: str = argument(positional=True, metavar="audio_folder")
    """Folder of recordings (.wav, .flac, .ogg, .opus, .mp3)."""
    prepared: str | None = argument(None, positional=True, metavar="prepared_folder")
    """Folder to make, for data.folder."""
    config: list[str] = argument([], metavar="FILE")
    """YAML file, as of train; repeatable."""
    set: list[str] = argument([], metavar="KEY=VALUE")
    """Override a setting, e.g. --set data.prepare.level=keep or --data.prepare.level keep;
    repeatable."""
    jobs: Annotated[int, Meta(ge=0, le=1024)] = argument(0, metavar="N")
    """Files at a time; 0: one per CPU."""
    force: bool = False
    """Replace a corpus that was prepared differently."""
    verify: bool = False
    """Make nothing; check the checksums of the one folder given, a prepared one."""

    def check(self) -> None:
        if self.verify and self.prepared is not None:
            raise InputError("--verify takes the prepared folder alone.")
        if not self.verify and self.prepared is None:
            raise InputError("Where should the prepared corpus be written? Give a second folder.")
        check_settings(self.config, self.set)


@dataclass(kw_only=True)
class Train(Options):
    """Train a vocoder, or go on training one."""

    config: list[str] = argument([], positional=True)
    """YAML files; a later one changes what an earlier one has set."""
    set: list[str] = argument([], metavar="KEY=VALUE")
    """Override a setting, e.g. --set optim.lr=1e-4 or --optim.lr 1e-4; repeatable."""
    profile: AtLeastOne | None = argument(None, nargs="?", const=20, metavar="STEPS")
    """Only measure what each phase of a step costs, and write nothing (without a number: 20
    steps)."""
    help_settings: bool = False
    """Print every setting with its default and what it means."""

    def check(self) -> None:
        check_settings(self.config, self.set)


@dataclass(kw_only=True)
class Export(Options):
    """Make a checkpoint with a model card of a run, or graphs for ONNX Runtime of a voice."""

    run: str = argument(positional=True)
    """Folder of a run; with --onnx a checkpoint as well (bundled name, folder or hub id)."""
    output: str = argument(positional=True)
    """Folder to make."""
    onnx: bool = False
    """Write ONNX graphs, which diffwave.onnx runs without PyTorch, in place of a checkpoint."""
    after: list[str] = argument([], metavar="RUN")
    """Run that this one's weights came from, for its card; repeatable, first one first."""
    scores: str | None = argument(None, metavar="FILE")
    """What evaluate saved as .json, for the model card."""
    best: bool = False
    """The weights that validated best instead of the newest."""
    title: str | None = None
    """Of the model card (default: the folder's name)."""
    data: str | None = argument(None, metavar="TEXT")
    """What it was trained on, for the model card."""
    speaker: str | None = argument(None, metavar="NAME")
    """Whose voice it is, for the model card."""
    license: str | None = argument(None, metavar="ID")
    """Licence of the weights, such as cc-by-4.0, for the model card."""
    half: bool = True
    """Store the network in half precision."""


@dataclass(kw_only=True)
class Bench(Options):
    """Measure what vocoders cost on this machine, ours and others."""

    quick: bool = argument(False, exclusive=True)
    """Half a minute, to see that it works."""
    full: bool = argument(False, exclusive=True)
    """Every combination; takes hours."""
    result: str | None = argument(None, "--from", metavar="FILE.json", exclusive=True)
    """Measure nothing: tables and plot of an earlier --json."""
    systems: str | None = argument(None, metavar="NAMES")
    """Comma-separated (default: all)."""
    checkpoint: str | None = argument(None, metavar="NAME")
    """Of ours (default: the bundled voice)."""
    json: str | None = argument(None, metavar="FILE")
    """Write everything that was measured."""
    plot: str | None = argument(None, metavar="FILE.png")
    """Draw quality against cost."""
    scores: list[str] = argument([], metavar="NAME=REPORT.json")
    """Quality of a system, from a report of `diffwave evaluate`; repeatable."""

    def check(self) -> None:
        check_folders_of([self.json, self.plot])


COMMANDS: dict[str, type[Options]] = {
    cls.__name__.lower(): cls
    for cls in (Synthesize, Mel, Info, Evaluate, Prepare, Train, Export, Bench)
}
RENAMED = {"--rounds": "--n-iter", "--restore": "--enhance", "--no-restore": "--no-enhance"}
"""Options of earlier versions, and what they are called now."""

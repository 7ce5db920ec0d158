"""What every command takes: a dataclass each, whose fields and their docstrings are the options.

Imports nothing heavy, so that --help and a wrong argument do not wait for PyTorch. A module of
`diffwave.commands` with the command's name runs it.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta

from diffwave.base.errors import InputError
from diffwave.base.schema import AtLeastOne, Threads
from diffwave.commands.jobs import (
    check_exists,
    check_folders_of,
    check_places,
    check_settings,
    check_suffix,
)

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
class Voice(Options):
    """Which checkpoint."""

    checkpoint: str | None = argument(None, metavar="NAME")
    """Bundled name, folder or hub id (default: universal-22k)."""


@dataclass(kw_only=True)
class Computation(Voice):
    """How something is computed with it."""

    seed: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] = 0
    """Same seed, same result."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:N or mps."""
    threads: Threads = 0
    """CPU threads; 0: as many as PyTorch chooses."""


@dataclass(kw_only=True)
class Generation(Computation):
    """How speech is generated with it."""

    steps: Annotated[int, Meta(ge=1, le=10_000)] | None = None
    """Network calls (default: the checkpoint's; the bundled voices are tuned for 1, 2 and 4)."""
    n_iter: Annotated[int, Meta(ge=0, le=10_000)] | None = None
    """Mel-consistency (Griffin-Lim) iterations after the last step (default: the checkpoint's)."""
    sampler: (
        Literal["ddim", "ddim-0.25", "ddim-0.5", "ddim-0.75", "dpm-solver++", "ancestral"] | None
    ) = None
    """Solver of the reverse process; ddim-ETA adds ETA of the ancestral sampler's noise (default:
    the checkpoint's)."""
    enhance: bool = True
    """Run the mel enhancer, if the checkpoint has one, on mels that a model predicted or smoothed;
    those of recordings pass unchanged."""
    precision: Literal["float32", "bfloat16", "int8"] = "float32"
    """Of the network's matrix products: int8 (CPU) is faster on most processors, bfloat16 on those
    that have it; both change the wave a little."""


@dataclass(kw_only=True)
class Selection(Options):
    """Which recordings of a folder."""

    only: str = argument("*", metavar="PATTERN")
    """Recordings to take, by file name."""


@dataclass(kw_only=True)
class Card(Options):
    """What only people know of a voice."""

    title: str | None = None
    """Of the model card (default: the folder's name)."""
    data: str | None = argument(None, metavar="TEXT")
    """What it was trained on, for the model card."""
    speaker: str | None = argument(None, metavar="NAME")
    """Whose voice it is, for the model card."""
    license: str | None = argument(None, metavar="ID")
    """Licence of the weights, such as cc-by-4.0, for the model card."""

    def about(self) -> dict[str, str]:
        """The same as arguments of `diffwave.card.About`."""
        words = {"title": self.title, "data": self.data, "speaker": self.speaker}
        return {name: word or "" for name, word in {**words, "licence": self.license}.items()}


@dataclass(kw_only=True)
class Synthesize(Generation):
    """Turn mel-spectrograms into speech."""

    input: str = argument(positional=True)
    """A mel-spectrogram (.npy, .npz, .pt, .safetensors), a recording to analyse and resynthesise
    (.wav, .flac, .ogg, .opus, .mp3), a folder of either, or - for a .npy on standard input (see
    --raw)."""
    output: str = argument(positional=True)
    """An audio file (.wav, .flac, .ogg, .opus, .mp3); a folder if the input is one; - for a wav on
    standard output (see --raw)."""
    bits: Literal["16", "24", "float"] = "16"
    """Sample format of .wav and .flac."""
    f0: str | None = argument(None, metavar="FILE")
    """Pitch in place of the predicted one: a .npy, or a .txt of one number a line, of Hz for each
    frame, 0 where there is no voice; a folder of them, named as the mels are, if the input is one.
    Of checkpoints that have a source."""
    transpose: Annotated[float, Meta(ge=-24, le=24)] = argument(0.0, metavar="SEMITONES")
    """Raise the pitch, or lower it where negative. Of checkpoints that have a source."""
    chunk: Annotated[int, Meta(ge=1, le=2**31)] | None = argument(None, metavar="FRAMES")
    """Frames generated at a time; bounds memory, does not change the result (default: 1024, or 64
    of those that come with --raw)."""
    low_latency: bool = False
    """Wait at most 80 ms for later frames before a frame is generated: a little worse."""
    raw: bool = False
    """Of - and -: frames of the mel, 32-bit floats (little-endian), as they come on standard input,
    and samples without a header, as soon as they are there, on standard output."""
    convention: str | None = argument(None, "--from", metavar="NAME")
    """Convention of the mels, as of convert-mel (default: what the file says, or else the
    checkpoint's): without --checkpoint a bundled voice of that convention speaks them, if there is
    one; otherwise they are converted."""
    stats: str | None = argument(None, metavar="FILE")
    """Mean and deviation that the mels were normalised by, as of convert-mel; with --from."""
    trace: str | None = argument(None, metavar="DIR")
    """Write what the reverse chain goes through: the state and the estimate of x_0 at every step,
    and the result, as wav and picture in a folder each, and an animation of the steps (.gif)."""

    def check(self) -> None:
        if self.trace is not None and (self.raw or self.low_latency):
            raise InputError("A trace (--trace) is of whole mels, without --raw and --low-latency.")
        if self.stats is not None and self.convention is None:
            raise InputError("--stats goes with --from: name the convention of the mels, or auto.")
        if self.raw and (self.input, self.output) != ("-", "-"):
            raise InputError("--raw is of standard input and output, as in synthesize - - --raw.")
        if self.raw and self.convention is not None:
            raise InputError("--raw takes mels of the checkpoint's own convention, without --from.")
        if self.low_latency and self.chunk is not None:
            raise InputError("--low-latency has its own number of frames at a time, so no --chunk.")
        if (self.raw or self.low_latency) and self.f0 is not None:
            raise InputError("A pitch (--f0) goes with neither --raw nor --low-latency.")
        check_folders_of([self.trace])
        if self.trace is not None and Path(self.trace).is_file():
            raise InputError(f"Cannot write {self.trace}: it exists and is not a folder.")
        source = None if self.input == "-" else Path(self.input)
        inputs = source.resolve() if source is not None and source.is_dir() else None
        if self.trace is not None and inputs and Path(self.trace).resolve().is_relative_to(inputs):
            raise InputError(f"--trace {self.trace} lies in the input; give another folder.")
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
class ConvertMel(Options):
    """Convert mel-spectrograms from one convention to another."""

    input: str | None = argument(None, positional=True)
    """A mel-spectrogram (.npy, .npz, .pt, .safetensors), or a folder of them."""
    output: str | None = argument(None, positional=True)
    """A mel file (.npy; .npz and .safetensors keep the convention's name); a folder if the input is
    one."""
    source: str = argument("auto", "--from", metavar="NAME")
    """Convention that it is of, one of those that --list shows; NAME,KEY=VALUE,... for one that
    differs, such as hifigan,hop_length=200; auto for what the file says, or what it looks like."""
    to: str = argument("hifigan", metavar="NAME")
    """Convention to make; likewise."""
    stats: str | None = argument(None, metavar="FILE")
    """Mean and deviation that it was normalised by: .h5, .npy, .npz, .json, .safetensors, or two
    numbers as MEAN,DEVIATION."""
    list: bool = False
    """Print the conventions."""

    def check(self) -> None:
        if self.list:
            return
        if self.input is None or self.output is None:
            raise InputError("Give a mel-spectrogram and a file to make of it, or --list.")
        check_places(Path(self.input), Path(self.output))


@dataclass(kw_only=True)
class Inspect(Options):
    """Say what a mel-spectrogram is, and what to do with it."""

    input: str = argument(positional=True)
    """A mel-spectrogram (.npy, .npz, .pt, .safetensors)."""
    checkpoint: str | None = argument(None, metavar="NAME")
    """That it shall fit: bundled name, folder or hub id (default: the bundled voice of its
    convention, or else universal-22k)."""
    convention: str | None = argument(None, "--from", metavar="NAME")
    """Convention that it is of, where it is known (default: recognise it)."""
    stats: str | None = argument(None, metavar="FILE")
    """Mean and deviation that it was normalised by, as of convert-mel."""
    json: bool = False
    """Print as JSON, without the picture."""

    def check(self) -> None:
        check_exists(Path(self.input))


@dataclass(kw_only=True)
class Info(Options):
    """Describe a checkpoint."""

    checkpoint: str | None = argument(None, positional=True)
    """Bundled name, folder or hub id (default: list the bundled ones)."""
    json: bool = False
    """Print every setting as JSON."""


@dataclass(kw_only=True)
class Evaluate(Generation, Selection):
    """Score generated audio, or a checkpoint, against recordings."""

    reference: str = argument(positional=True)
    """Folder of original recordings."""
    generated: list[str] = argument([], positional=True, metavar="[NAME=]DIR")
    """Folders of generated audio of the same file names, one for each system; without any, or
    beside them, a checkpoint: see --checkpoint."""
    rate: Annotated[int, Meta(ge=8000, le=192_000)] | None = argument(None, metavar="HZ")
    """Resample recordings and generated audio to this rate before they are compared (default: the
    recordings' for folders, the checkpoint's for a checkpoint)."""
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
class Likelihood(Computation, Selection):
    """Bound the code length of recordings under a checkpoint, term by term."""

    recordings: list[str] = argument([], positional=True, metavar="[NAME=]DIR")
    """Recordings, or folders of them; each further set is compared with the first (ROC)."""
    mels: list[str] = argument([], metavar="[NAME=]DIR")
    """Mels of the recordings of a set, by file name, in place of their own; repeatable."""
    limit: AtLeastOne | None = argument(None, metavar="N")
    """Take the first N recordings of every folder (default: all)."""
    seconds: Annotated[float, Meta(ge=0.2, le=1e6)] | None = None
    """Take so much of the beginning of every recording (default: all)."""
    steps: Annotated[int, Meta(ge=1, le=10_000)] | None = None
    """Steps of the chain, as sampling visits them (default: the whole chain that was trained; 25
    where every level was)."""
    draws: Annotated[int, Meta(ge=1, le=1000)] = 2
    """Independent estimates, from which the error of the noise is known."""
    json: str | None = argument(None, metavar="FILE")
    """Write every term, and the total of every recording."""
    per_frame: str | None = argument(None, metavar="FILE.csv")
    """Write the bound of every frame: how unusual the sound is there."""
    plot: str | None = argument(None, metavar="FILE.png")
    """Draw the terms by step, the bound by frame, and the ROC of several sets."""

    def check(self) -> None:
        if not self.recordings:
            raise InputError("Give a recording, or a folder of them.")
        check_folders_of([self.json, self.per_frame, self.plot])


@dataclass(kw_only=True)
class Schedule(Selection):
    """Say where a chain ends, how long it must be and what its betas cost."""

    schedules: list[str] = argument([], positional=True, metavar="[NAME=]BETAS")
    """A published schedule by name (--published), betas separated by commas, linear:FIRST:LAST:T,
    cosine:T, angle:T, or snr:FIRST:LAST:T in equal steps of dB; several are compared. None: that of
    --checkpoint, or diffwave-base."""
    published: bool = False
    """Print the published schedules."""
    corpus: str | None = argument(None, metavar="DIR")
    """Recordings whose mean and power spectrum are the data's (default: white data, see --rms)."""
    checkpoint: str | None = argument(None, metavar="NAME")
    """The data are the states that this checkpoint makes of the corpus."""
    limit: AtLeastOne = argument(64, metavar="N")
    """Recordings of the corpus to take at most."""
    mean: Annotated[float, Meta(ge=-1e6, le=1e6)] = 0.0
    """Of the data, without a corpus."""
    rms: Annotated[float, Meta(gt=0, le=1e6)] = 1.0
    """Standard deviation of the data, without a corpus; read speech has about 0.07."""
    start_mean: Annotated[float, Meta(ge=-1e6, le=1e6)] = 0.0
    """Of the Gaussian that sampling starts from."""
    start_deviation: Annotated[float, Meta(gt=0, le=1e6)] = 1.0
    """Of the same."""
    threshold: Annotated[float, Meta(gt=0, le=1e6)] = 1e-5
    """Bits per sample that the prior term is to be below; the default is that of Ho et al. 2020."""
    rescale: bool = False
    """Compare with the same schedules rescaled to zero terminal SNR (Lin et al. 2023)."""
    json: str | None = argument(None, metavar="FILE")
    """Write all figures, of every step."""
    plot: str | None = argument(None, metavar="FILE.png")
    """Draw betas, signal-to-noise ratio, distance from the start and cost of every step."""

    def check(self) -> None:
        if self.corpus is not None and not Path(self.corpus).is_dir():
            raise InputError(f"There is no folder {self.corpus}.")
        if self.checkpoint is not None and self.corpus is None:
            raise InputError("The states of --checkpoint are made of a --corpus; give one.")
        check_folders_of([self.json, self.plot])


@dataclass(kw_only=True)
class Settings(Options):
    """Of training."""

    config: list[str] = argument([], metavar="FILE")
    """YAML file; a later one changes what an earlier one has set; repeatable."""
    set: list[str] = argument([], metavar="KEY=VALUE")
    """Override a setting, e.g. --set optim.lr=1e-4 or --optim.lr 1e-4; repeatable."""

    def check(self) -> None:
        check_settings(self.config, self.set)


@dataclass(kw_only=True)
class Prepare(Settings):
    """Make a corpus to train on of a folder of recordings."""

    audio: str = argument(positional=True, metavar="audio_folder")
    """Folder of recordings (.wav, .flac, .ogg, .opus, .mp3)."""
    prepared: str | None = argument(None, positional=True, metavar="prepared_folder")
    """Folder to make, for data.folder."""
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
        super().check()


@dataclass(kw_only=True)
class Train(Settings):
    """Train a vocoder, or go on training one."""

    config: list[str] = argument([], positional=True)
    """YAML files; a later one changes what an earlier one has set."""
    profile: AtLeastOne | None = argument(None, nargs="?", const=20, metavar="STEPS")
    """Only measure what each phase of a step costs, and write nothing (without a number: 20
    steps)."""
    help_settings: bool = False
    """Print every setting with its default and what it means."""


@dataclass(kw_only=True)
class Export(Card):
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
    half: bool = True
    """Store the network in half precision."""


@dataclass(kw_only=True)
class Import(Card):
    """Make a checkpoint of another project's DiffWave."""

    project: Literal["lmnt", "philsyn", "speechbrain"] = argument(positional=True)
    """Whose file it is: lmnt-com/diffwave (weights-N.pt), philsyn/DiffWave-Vocoder (N.pkl) or
    SpeechBrain (diffwave.ckpt)."""
    file: str = argument(positional=True)
    """Its checkpoint; only tensors and plain settings are read."""
    output: str = argument(positional=True)
    """Checkpoint folder to make."""
    schedule: str | None = argument(None, metavar="NAME")
    """Noise schedule of its training, such as diffwave-base or diffwave-large (default: what the
    file says, or that of the paper for its size)."""
    mel: str | None = argument(None, metavar="PRESET")
    """Mel convention of its training (default: the project's)."""
    dilation_cycle: Annotated[int, Meta(ge=1, le=20)] | None = argument(None, metavar="N")
    """Layers after which the dilation is 1 again (default: what the file says, or 10)."""


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
    """Of ours (default: universal-22k)."""
    json: str | None = argument(None, metavar="FILE")
    """Write everything that was measured."""
    plot: str | None = argument(None, metavar="FILE.png")
    """Draw quality against cost."""
    scores: list[str] = argument([], metavar="NAME=REPORT.json")
    """Quality of a system, from a report of `diffwave evaluate`; repeatable."""

    def check(self) -> None:
        check_folders_of([self.json, self.plot])


@dataclass(kw_only=True)
class Serve(Voice):
    """Speak over HTTP: mel-spectrograms are posted, speech comes back."""

    host: str = "127.0.0.1"
    """Address to listen at; 0.0.0.0 for all."""
    port: Annotated[int, Meta(ge=0, le=65535)] = 8000
    """Port; 0: any that is free."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:N or mps."""
    workers: Annotated[int, Meta(ge=1, le=256)] | None = argument(None, metavar="N")
    """Utterances generated at a time (default: one for each core, on a GPU one)."""
    threads: Annotated[int, Meta(ge=1, le=256)] = argument(1, metavar="N")
    """CPU threads of each."""
    max_batch: Annotated[int, Meta(ge=1, le=256)] | None = argument(None, metavar="N")
    """Stretches of the same length generated in one batch at most (default: 1, on a GPU 16; on a
    CPU a batch takes as long as its items)."""
    max_requests: Annotated[int, Meta(ge=1, le=1000)] = 64
    """Requests at a time, waiting ones included; further ones are refused with 503."""
    max_frames: Annotated[int, Meta(ge=2, le=10_000_000)] = 10_000
    """Frames of a mel."""
    max_body: Annotated[int, Meta(ge=1, le=1 << 20)] = argument(8, metavar="MIB")
    """MiB of a request."""
    timeout: Annotated[float, Meta(gt=0, le=1e6)] = argument(60.0, metavar="SECONDS")
    """For the whole speech, or the first of it where it is streamed."""
    upload_timeout: Annotated[float, Meta(gt=0, le=1e6)] = argument(15.0, metavar="SECONDS")
    """For the body of a request."""
    access_log: bool = False
    """Print a line for each request."""


COMMANDS: dict[str, type[Options]] = {
    "convert-mel" if cls is ConvertMel else cls.__name__.lower(): cls
    for cls in (
        Synthesize,
        Mel,
        ConvertMel,
        Inspect,
        Info,
        Evaluate,
        Likelihood,
        Schedule,
        Prepare,
        Train,
        Export,
        Import,
        Bench,
        Serve,
    )
}
RENAMED = {"--rounds": "--n-iter", "--restore": "--enhance", "--no-restore": "--no-enhance"}
"""Options of earlier versions, and what they are called now."""

"""`diffwave synthesize`: a mel or recording, or a folder of them, to audio."""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from pathlib import Path
from types import ModuleType

from torch import Tensor
from tqdm import tqdm

from diffwave.base.audio import AUDIO_SUFFIXES, read_audio, write_audio
from diffwave.base.errors import InputError
from diffwave.base.files import make_folder
from diffwave.base.libraries import needed_for
from diffwave.base.text import counted, notice, printable
from diffwave.commands.common import check_all_done, each, generation
from diffwave.commands.jobs import Job, file_jobs
from diffwave.commands.options import Synthesize
from diffwave.commands.raw import run_raw
from diffwave.commands.voices import Voices
from diffwave.mel.files import F0_SUFFIXES, MEL_SUFFIXES, read_f0
from diffwave.vocoder import Vocoder


def run(options: Synthesize) -> int:
    """A mel or recording, or a folder of them, to audio; prints duration and real-time factor.

    "-" for the input is a .npy (or a wav) on standard input; for the output, a wav on standard
    output, and what is printed goes to standard error. With --raw both are streams.
    """
    if options.raw:
        return run_raw(options)
    with tempfile.TemporaryDirectory(prefix="diffwave-") as place:
        source, target = Path(options.input), Path(options.output)
        if options.input == "-":
            source = _standard_input(Path(place))
        if options.output == "-":
            target = Path(place) / "output.wav"
        try:
            _synthesize(source, target, options)
        except InputError as error:
            if options.input != "-":
                raise
            raise InputError(str(error).replace(str(source), "standard input")) from None
        if options.output == "-":
            with target.open("rb") as file:
                shutil.copyfileobj(file, sys.stdout.buffer)
    return 0


def _standard_input(folder: Path) -> Path:
    data = sys.stdin.buffer.read()
    path = folder / ("input.wav" if data[:4] == b"RIFF" else "input.npy")
    path.write_bytes(data)
    return path


def _synthesize(source: Path, target: Path, options: Synthesize) -> None:
    known = (*MEL_SUFFIXES, *AUDIO_SUFFIXES)
    jobs = file_jobs(source, target, known, AUDIO_SUFFIXES, "mel or recording")
    drawn = None if options.trace is None else _trace()
    voices = Voices(options)
    if options.f0 is not None or options.transpose:
        voices.first.model.source_predictor()  # known before anything is made
    made, spent = 0.0, 0.0

    def generate(job: Job) -> None:
        nonlocal made, spent
        file, out = job
        vocoder, mel = _mel_of(voices, file)
        f0 = None if options.f0 is None else read_f0(_f0_file(Path(options.f0), source, file))
        make_folder(out.parent)
        bar.reset(mel.shape[-1])
        start = time.perf_counter()
        trace, watch = None, None
        if drawn is not None:
            sampling = vocoder.model.sampling(options.steps, options.sampler, options.n_iter)
            drawn.check_size(sampling.steps, mel.shape[-1] * vocoder.hop_length)
            trace = drawn.Trace(vocoder.sample_rate, sampling.n_iter)
            watch = trace.watch
        wave = vocoder.stream(
            mel,
            **generation(options),
            f0=f0,
            transpose=options.transpose,
            chunk_frames=options.chunk,
            low_latency=options.low_latency,
            watch=watch,
            progress=bar.update,
        )
        if trace is not None:
            wave = trace.kept(wave)
        clipped = write_audio(out, wave, vocoder.sample_rate, options.bits)
        spent += time.perf_counter() - start
        made += mel.shape[-1] * vocoder.hop_length / vocoder.sample_rate
        if drawn is not None:
            place = Path(options.trace or "")
            make_folder(place)
            name = file.relative_to(source) if source.is_dir() else Path(file.name)
            drawn.save(trace, place, str(name.with_suffix("")))
        if clipped:
            with tqdm.external_write_mode(sys.stderr):
                notice(f"{out}: {clipped} samples were clipped at full scale.")

    folder = source.is_dir()
    with tqdm(total=0, unit="frame", disable=folder or None, leave=False) as bar:
        done = each(jobs, generate, folder)
    what = f"{counted(done, 'file')} in {target}" if folder else options.output
    factor = f", real-time factor {spent / made:.3f}" if made else ""
    line = f"{what}: {made:.2f} s of speech in {spent:.2f} s{factor}"
    print(printable(line), file=sys.stderr if options.output == "-" else sys.stdout)
    check_all_done(done, jobs)


def _trace() -> ModuleType:
    """What draws a trace, whose libraries not every installation has."""
    with needed_for("A trace"):
        from diffwave.analysis import trace
    trace.check_trace()
    return trace


def _f0_file(place: Path, source: Path, mel: Path) -> Path:
    """The file of the pitch of a mel: `place`, or the one in this folder that is named as it is."""
    if not place.is_dir():
        return place
    stem = place / mel.relative_to(source)
    for suffix in F0_SUFFIXES:
        if (path := stem.with_suffix(suffix)).is_file():
            return path
    raise InputError(f"There is no {stem.with_suffix('')}{' or '.join(F0_SUFFIXES)} of its pitch.")


def _mel_of(voices: Voices, source: Path) -> tuple[Vocoder, Tensor]:
    """The checked mel [n_mels, T] of a mel file, or of a recording, and the vocoder for it."""
    if source.suffix.lower() not in AUDIO_SUFFIXES:
        return voices.read(source)
    wave, _ = read_audio(source, voices.first.sample_rate)
    return voices.first, voices.first.mel(wave)

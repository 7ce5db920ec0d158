"""`diffwave convert-mel`: mels of one convention as mels of another."""

from __future__ import annotations

import sys
from pathlib import Path

from tqdm import tqdm

from diffwave.base.files import make_folder
from diffwave.base.text import counted, notice, printable
from diffwave.commands.common import check_all_done, each, table
from diffwave.commands.jobs import Job, file_jobs
from diffwave.commands.options import ConvertMel
from diffwave.mel.conventions import ALIASES, CONVENTIONS, convention_of
from diffwave.mel.files import MEL_SUFFIXES, OUTPUTS, write_mel
from diffwave.mel.incoming import AUTO, read_incoming
from diffwave.mel.statistics import read_statistics


def run(options: ConvertMel) -> int:
    """Mel files to mel files of another convention, and what was done; or a table of them."""
    if options.list:
        print(_conventions())
        return 0
    assert options.input is not None and options.output is not None  # checked beforehand
    target = convention_of(options.to)
    if options.source != AUTO:
        convention_of(options.source)  # a wrong name is one error, not one of every file
    if options.stats is not None:
        read_statistics(options.stats)
    source, place = Path(options.input), Path(options.output)
    jobs = file_jobs(source, place, MEL_SUFFIXES, OUTPUTS, "mel-spectrogram")
    lines: list[str] = []

    def work(job: Job) -> None:
        incoming = read_incoming(job[0], options.source, options.stats)
        incoming.check()
        mel = incoming.to(target)
        warn(job[0], incoming.doubt)
        make_folder(job[1].parent)
        write_mel(job[1], mel, target.name)
        lines.append(f"{list(mel.shape)}, {incoming.described(target)}")

    done = each(jobs, work, source.is_dir())
    kinds = sorted({line.partition("], ")[2] for line in lines})
    what = "; ".join([f"{counted(done, 'file')} in {place}", *kinds])
    print(printable(what if source.is_dir() else f"{place}: {lines[0]}"))
    check_all_done(done, jobs)
    return 0


def warn(path: Path, doubt: str | None) -> None:
    """Say a doubt about a file, if there is one, on standard error beside any bar."""
    if doubt is not None:
        with tqdm.external_write_mode(sys.stderr):
            notice(f"{path}: {doubt}")


def _conventions() -> str:
    header = ("convention", "Hz", "bands", "hop", "window", "FFT", "from Hz", "to Hz", "log", "of")
    rows = []
    for name, convention in CONVENTIONS.items():
        mel = convention.mel
        log = "none" if convention.linear else f"{mel.log} of power" * (convention.power == 2)
        low, high = (round(edge * convention.stretch) for edge in (mel.fmin, mel.fmax))
        rows.append(
            (name, mel.sample_rate, mel.n_mels, mel.hop_length, mel.win_length, mel.n_fft, low,
             high, log or mel.log, convention.used_by)
        )  # fmt: skip
    others = ", ".join(f"{alias} ({name})" for alias, name in ALIASES.items())
    return f"{table([header, *rows])}\n\nAlso known as: {others}"

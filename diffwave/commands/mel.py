"""`diffwave mel`: the mel-spectrogram of a recording, or of a folder of them."""

from __future__ import annotations

from pathlib import Path

from diffwave.base.audio import AUDIO_SUFFIXES, read_audio
from diffwave.base.files import make_folder
from diffwave.base.text import counted, printable
from diffwave.commands.common import check_all_done, each, table
from diffwave.commands.jobs import Job, file_jobs
from diffwave.commands.options import Mel
from diffwave.mel import PRESETS, MelSpectrogram, preset
from diffwave.mel.files import write_mel


def run(options: Mel) -> int:
    """Recordings to .npy mels of a preset; or a table of the presets."""
    if options.list:
        print(_presets())
        return 0
    assert options.input is not None and options.output is not None  # checked beforehand
    config = preset(options.preset)
    frontend = MelSpectrogram(config)
    source, target = Path(options.input), Path(options.output)
    jobs = file_jobs(source, target, AUDIO_SUFFIXES, (".npy",), "recording")
    shape: list[int] = []

    def analyse(job: Job) -> None:
        wave, _ = read_audio(job[0], config.sample_rate)
        mel = frontend(wave)
        make_folder(job[1].parent)
        write_mel(job[1], mel)
        shape[:] = mel.shape

    done = each(jobs, analyse, source.is_dir())
    what = f"{counted(done, 'file')} in {target}" if source.is_dir() else f"{target}: {shape}"
    print(printable(f"{what}, {config.name} convention"))
    check_all_done(done, jobs)
    return 0


def _presets() -> str:
    header = ("preset", "Hz", "bands", "hop", "FFT", "from Hz", "to Hz", "scale", "log")
    rows = [
        (name, c.sample_rate, c.n_mels, c.hop_length, c.n_fft, c.fmin, c.fmax, c.mel_scale, c.log)
        for name, c in PRESETS.items()
    ]
    return table([header, *rows])

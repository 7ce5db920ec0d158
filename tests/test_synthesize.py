"""`synthesize.py` as people start it: its own process, its output, exit status and files.

Starting PyTorch is what takes the time. So what is only another bad array goes through one process,
in a folder, and most of the rest through children of a process that has PyTorch (`warm.py`).
"""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file, save_file
from signals import speech_like
from tiny import HOP, enhancing_config, random_model, speech_mel

from diffwave.checkpoint import save_checkpoint
from diffwave.mel import MelSpectrogram, preset
from diffwave.vocoder import Vocoder

ROOT = Path(__file__).parent.parent
SCRIPT = str(ROOT / "synthesize.py")
TIMEOUT = 300  # seconds; far more than a busy machine needs
# No device but the CPU, wherever the tests run.
ENVIRONMENT = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
OLD = b"the result of an earlier run"

MEL = speech_mel(2.0).numpy()


def run(
    *arguments: object, program: tuple[str, ...] = (SCRIPT,), cwd: Path = ROOT, path: str = ""
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *program, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        env={**ENVIRONMENT, "PYTHONPATH": path},
        cwd=cwd,
    )


def files(folder: Path) -> dict[str, bytes]:
    """Everything in a folder, hidden files as well."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


class Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.path,)


# --- arrays and files that are no mel, each by the name of its file, and what has to be said of it

BAD_FILES: dict[str, tuple[str, ...]] = {
    "rank1.npy": ("shape", "[80, frames]", "[172]"),
    "rank4.npy": ("shape", "[1, 1, 80, 172]"),
    "scalar.npy": ("shape",),
    "bands100.npy": ("100 mel bands", "has 80"),
    "bands79.npy": ("79 mel bands", "has 80"),
    "transposed.npy": ("transposed", "80 mel bands are on axis 1", "belong on axis 0", "mel.T"),
    "transposed3.npy": ("transposed", "on axis 2", "belong on axis 1", "swapaxes"),
    "nan.npy": ("NaN or infinity",),
    "infinity.npy": ("NaN or infinity",),
    "minusinfinity.npy": ("NaN or infinity",),
    "integer.npy": ("floating point", "int64"),
    "boolean.npy": ("floating point", "bool"),
    "complex.npy": ("array of numbers",),
    "text.npy": ("array of numbers",),
    "empty.npy": ("[80, 0] is empty",),
    "oneframe.npy": ("single frame", "at least 2"),
    "batch2.npy": ("holds 2 mel-spectrograms",),
    "log10.npy": ("do not fit the 'hifigan'", "look like", "espnet"),
    "decibels.npy": ("do not fit the 'hifigan'", "look like", "decibels"),
    "lmnt.npy": ("do not fit the 'hifigan'", "look like", "lmnt"),
    "nothing.npy": ("Cannot read", "truncated"),
    "garbage.npy": ("Cannot read", "not a .npy file"),
    "cut.npy": ("Cannot read", "truncated"),
    "cutz.npz": ("Cannot read", "truncated"),
    "cutpt.pt": ("Cannot read", "truncated"),
    "cutst.safetensors": ("Cannot read", "truncated"),
    "cutwav.wav": ("Cannot read", "cut short"),
    "cutflac.flac": ("Cannot read", "cut short"),
    "garbagewav.wav": ("Cannot read", "not a sound file"),
    "nothingwav.wav": ("Cannot read", "empty"),
    "shortwav.wav": ("100 samples is too short",),
    "nanwav.wav": ("Cannot read", "not finite"),
    "pickle.npy": ("objects, which are not loaded",),
    "picklez.npz": ("objects, which are not loaded",),
    "picklept.pt": ("objects, which are not loaded",),
    "pickleold.pt": ("objects, which are not loaded",),
    "rawpickle.npy": ("not a .npy file",),
    "two.npz": ("holds a, b", "'mel'"),
    "list.pt": ("array of numbers",),
}


def write_bad_files(folder: Path, marker: Path) -> None:
    """All of `BAD_FILES`; those with a bomb in them make `marker` if they are executed."""
    mel, bomb = MEL, Bomb(marker)
    decibels = dataclasses.replace(preset("hifigan"), log="db")
    wave = speech_like(2.0)
    holed = mel.copy()
    holed[3, 5] = np.nan
    peaked, troughed = mel.copy(), mel.copy()
    peaked[3, 5], troughed[3, 5] = np.inf, -np.inf
    arrays = {
        "rank1": mel[0],
        "rank4": mel[None, None],
        "scalar": np.float32(1),
        "bands100": np.concatenate([mel, mel[:20]]),
        "bands79": mel[:79],
        "transposed": mel.T,
        "transposed3": mel.T[None],
        "nan": holed,
        "infinity": peaked,
        "minusinfinity": troughed,
        "integer": mel.astype(np.int64),
        "boolean": mel > -5,
        "complex": mel + 1j,
        "text": np.array(["x"]),
        "empty": mel[:, :0],
        "oneframe": mel[:, :1],
        "batch2": np.stack([mel, mel]),
        "log10": speech_mel(2.0, "espnet").numpy(),
        "lmnt": speech_mel(2.0, "lmnt").numpy(),
        "decibels": MelSpectrogram(decibels)(torch.from_numpy(wave)).numpy(),
    }
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    np.savez(folder / "two.npz", a=mel, b=mel)
    torch.save([torch.from_numpy(mel)], folder / "list.pt")
    np.save(folder / "pickle.npy", np.array([bomb], dtype=object))
    np.savez(folder / "picklez.npz", mel=np.array([bomb], dtype=object))
    torch.save({"mel": torch.from_numpy(mel), "more": bomb}, folder / "picklept.pt")
    torch.save(bomb, folder / "pickleold.pt", _use_new_zipfile_serialization=False)
    (folder / "rawpickle.npy").write_bytes(pickle.dumps(bomb))
    np.save(folder / "cut.npy", mel)
    np.savez(folder / "cutz.npz", mel=mel)
    torch.save(torch.from_numpy(mel), folder / "cutpt.pt")
    save_file({"mel": torch.from_numpy(mel)}, folder / "cutst.safetensors")
    soundfile.write(folder / "cutwav.wav", wave, 22050)
    soundfile.write(folder / "cutflac.flac", wave, 22050)
    for path in folder.glob("cut*"):
        path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    soundfile.write(folder / "shortwav.wav", wave[:100], 22050)
    soundfile.write(folder / "nanwav.wav", np.full(9999, np.nan), 22050, subtype="FLOAT")
    (folder / "nothing.npy").write_bytes(b"")
    (folder / "nothingwav.wav").write_bytes(b"")
    (folder / "garbage.npy").write_bytes(bytes(range(256)) * 9)
    (folder / "garbagewav.wav").write_bytes(bytes(range(256)) * 9)


@dataclass(frozen=True)
class FolderRun:
    """One run over all bad files and a good one."""

    source: Path
    target: Path
    marker: Path
    result: Any


@pytest.fixture(scope="module")
def bad_folder(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The bad files, and what the bombs in them would make; for reading only."""
    folder = tmp_path_factory.mktemp("bad")
    marker = tmp_path_factory.mktemp("marker") / "executed"
    write_bad_files(folder, marker)
    return folder, marker


@pytest.fixture(scope="module")
def folder_run(
    tmp_path_factory: pytest.TempPathFactory, bad_folder: tuple[Path, Path], tiny_checkpoint: Path
) -> FolderRun:
    source, target = (tmp_path_factory.mktemp("folder") / name for name in ("in", "out"))
    shutil.copytree(bad_folder[0], source)
    np.save(source / "good.npy", MEL)
    target.mkdir()
    for name in sorted(BAD_FILES)[::2]:  # every other had a result before
        (target / name).with_suffix(".wav").write_bytes(OLD)
    result = run(source, target, "--checkpoint", tiny_checkpoint, "--steps", 1)
    return FolderRun(source, target, bad_folder[1], result)


def test_every_bad_file_is_written_and_the_bombs_are_live(
    bad_folder: tuple[Path, Path], tmp_path: Path
) -> None:
    assert set(files(bad_folder[0])) == set(BAD_FILES)
    pickle.loads(pickle.dumps(Bomb(tmp_path / "executed")))
    assert (tmp_path / "executed").exists()


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_file_in_a_folder_gets_one_sentence(folder_run: FolderRun, name: str) -> None:
    about = f"{folder_run.source / name}: "
    lines = [line for line in folder_run.result.stderr.splitlines() if line.startswith(about)]
    assert len(lines) == 1
    assert lines[0].endswith(".")
    for words in BAD_FILES[name]:
        assert words in lines[0]


def test_a_folder_of_bad_files_leaves_the_rest_alone(folder_run: FolderRun) -> None:
    result = folder_run.result
    assert result.returncode == 2
    lines = result.stderr.splitlines()
    assert len(lines) == len(BAD_FILES) + 1  # and nothing else: no warning, no traceback
    count = len(BAD_FILES)
    assert lines[-1] == f"synthesize.py: {count} of {count + 1} files could not be used."
    found = files(folder_run.target)
    assert found.pop("good.wav")[:4] == b"RIFF"
    assert found == {str(Path(name).with_suffix(".wav")): OLD for name in sorted(BAD_FILES)[::2]}
    assert not folder_run.marker.exists()
    assert result.stdout.startswith("1 files in ")


# --- one process for one bad input


def damage(folder: Path, kind: str) -> None:
    config, weights = folder / "config.json", folder / "model.safetensors"
    if kind == "noconfig":
        config.unlink()
    elif kind == "badjson":
        config.write_text(config.read_text()[:-20])
    elif kind == "badkey":
        config.write_text(json.dumps({**json.loads(config.read_text()), "extra": 1}))
    elif kind == "cutweights":
        weights.write_bytes(weights.read_bytes()[:-1000])
    elif kind == "noweights":
        weights.unlink()
    elif kind == "badshape":
        tensors = load_file(weights)
        save_file({**tensors, "denoiser.network.filter.bias": torch.zeros(3)}, weights)


# Options of the command line, and words of the sentence. {bad} is the folder of bad files, {out} a
# result of an earlier run, {tmp} the folder that it is in. The checkpoint is a small one unless
# another is named.
SINGLE: dict[str, tuple[str, tuple[str, ...]]] = {
    "array": ("{bad}/transposed.npy {out}", ("transposed", "axis 1", "mel.T")),
    "array, nothing there before": ("{bad}/nan.npy {tmp}/new.wav", ("NaN",)),
    "values": ("{bad}/log10.npy {out}", ("espnet",)),
    "cut": ("{bad}/cut.npy {out}", ("Cannot read", "cut.npy", "truncated")),
    "pickle": ("{bad}/picklept.pt {out}", ("picklept.pt", "not loaded")),
    "recording": ("{bad}/cutwav.wav {out}", ("cutwav.wav", "cut short")),
    "missing": ("{tmp}/missing.npy {out}", ("no file or folder", "missing.npy")),
    "suffix": ("{tmp}/mel.txt {out}", ("mel.txt", ".npy, .npz, .pt, .safetensors")),
    "output suffix": ("{mel} {tmp}/out.aac", ("out.aac", ".wav, .flac")),
    "output folder missing": ("{mel} {tmp}/no/out.wav", ("Cannot write", "no folder")),
    "output below a file": ("{mel} {out}/out.wav", ("Cannot write", "no folder")),
    "output is a folder": ("{mel} {tmp}/folder.wav", ("not a regular file",)),
    "output where nobody may write": ("{mel} /proc/out.wav", ("Cannot write /proc/out.wav",)),
    "name too long": ("{tmp}/" + 300 * "x" + ".npy {out}", ("File name too long",)),
    "output name too long": ("{mel} {tmp}/" + 300 * "x" + ".wav", ("too long",)),
    "output of a folder": ("{bad} {out}", ("must be one too",)),
    "folder of nothing": ("{tmp}/folder.wav {tmp}/new", ("no mel or recording",)),
    "checkpoint unknown": ("{mel} {out} --checkpoint nonsense", ("'nonsense'", "ljspeech-22k")),
    "checkpoint without config": ("{mel} {out} --checkpoint {tmp}/noconfig", ("config.json",)),
    "checkpoint of bad JSON": ("{mel} {out} --checkpoint {tmp}/badjson", ("valid JSON",)),
    "checkpoint of bad keys": ("{mel} {out} --checkpoint {tmp}/badkey", ("extra",)),
    "checkpoint cut": ("{mel} {out} --checkpoint {tmp}/cutweights", ("damaged",)),
    "checkpoint without weights": (
        "{mel} {out} --checkpoint {tmp}/noweights",
        ("no model.safetensors",),
    ),
    "checkpoint of other shapes": (
        "{mel} {out} --checkpoint {tmp}/badshape",
        ("denoiser.network.filter.bias", "[3]"),
    ),
    "steps 0": ("{mel} {out} --steps 0", ("--steps", "at least 1, not '0'")),
    "steps -1": ("{mel} {out} --steps -1", ("--steps", "at least 1, not '-1'")),
    "sampler": ("{mel} {out} --sampler euler", ("'euler'", "'ancestral'", "'dpm-solver++'")),
    "device absent": ("{mel} {out} --device cuda", ("no device 'cuda'",)),
    "device unknown": ("{mel} {out} --device nonsense", ("no device 'nonsense'",)),
    "threads": ("{mel} {out} --threads -2", ("--threads", "not '-2'")),
    "chunk": ("{mel} {out} --chunk 0", ("--chunk", "at least 1, not '0'")),
    "bits": ("{mel} {out} --bits 8", ("--bits", "'8'")),
    "seed": ("{mel} {out} --seed x", ("--seed", "'x'")),
    "option": ("{mel} {out} --loud", ("--loud",)),
    "the input itself": ("{out} {tmp}/../{name}/out.wav", ("is the input",)),
    "empty names": ("'' ''", ("input", "must not be empty")),
    "empty checkpoint": ("{mel} {out} --checkpoint ''", ("--checkpoint", "must not be empty")),
    "threads beyond all": ("{mel} {out} --threads 1000000000", ("--threads", "at most 1024")),
    "nothing": ("", ("input, output",)),
}


# Those that are started from nothing, one of a kind; and those that end before PyTorch is loaded.
COLD = ("array", "pickle", "missing", "checkpoint cut")
INSTANT = ("steps 0", "threads", "bits", "option", "nothing", "the input itself", "empty names")

Start = Callable[[list[str], Path], subprocess.CompletedProcess[str]]


def cold(arguments: list[str], cwd: Path) -> subprocess.CompletedProcess[str]:
    return run(*arguments, cwd=cwd)


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Starts `synthesize.py` with arguments in a folder, in a process that has PyTorch already."""
    if not hasattr(os, "fork"):
        yield cold
        return
    outputs = tmp_path_factory.mktemp("outputs")
    server = subprocess.Popen(
        [sys.executable, str(ROOT / "tests" / "warm.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**ENVIRONMENT, "PYTHONPATH": str(ROOT)},
    )

    def start(arguments: list[str], cwd: Path) -> subprocess.CompletedProcess[str]:
        assert server.stdin is not None
        assert server.stdout is not None
        job = {"arguments": arguments, "cwd": str(cwd)}
        for name in ("stdout", "stderr"):
            job[name] = str(outputs / name)
            (outputs / name).unlink(missing_ok=True)
        print(json.dumps(job), file=server.stdin, flush=True)
        status = int(server.stdout.readline())
        texts = [(outputs / name).read_text() for name in ("stdout", "stderr")]
        return subprocess.CompletedProcess(arguments, status, *texts)

    yield start
    server.communicate(timeout=TIMEOUT)


@pytest.mark.parametrize("single", SINGLE)
def test_a_bad_input_is_one_sentence_and_status_2(
    single: str,
    warm: Start,
    bad_folder: tuple[Path, Path],
    tiny_checkpoint: Path,
    tmp_path: Path,
) -> None:
    arguments, words = SINGLE[single]
    (tmp_path / "out.wav").write_bytes(OLD)
    (tmp_path / "mel.txt").write_text("x")
    (tmp_path / "folder.wav").mkdir()
    np.save(tmp_path / "mel.npy", MEL[:, :20])
    if damaged := re.search(r"--checkpoint \{tmp\}/(\w+)", arguments):
        shutil.copytree(tiny_checkpoint, tmp_path / damaged[1])
        damage(tmp_path / damaged[1], damaged[1])
    elif arguments and "--checkpoint" not in arguments:
        arguments += " --checkpoint {tiny}"
    places = {
        "bad": bad_folder[0],
        "tmp": tmp_path,
        "out": tmp_path / "out.wav",
        "mel": tmp_path / "mel.npy",
        "tiny": tiny_checkpoint,
        "name": tmp_path.name,
    }
    before = files(tmp_path)
    command = [word.format(**places) for word in shlex.split(arguments)]
    start = cold if single in COLD + INSTANT else warm
    result = start(command, tmp_path)
    assert result.stderr.count("\n") == 1, result.stderr
    assert result.stderr.startswith("synthesize.py: ")
    for word in words:
        assert word in result.stderr
    assert result.returncode == 2
    assert result.stdout == ""
    assert files(tmp_path) == before


@pytest.mark.skipif(os.name != "posix", reason="POSIX limits")
def test_a_full_disk_leaves_what_was_there(tmp_path: Path, tiny_checkpoint: Path) -> None:
    """The shell's limit on the size of files stands in for the disk."""
    np.save(tmp_path / "mel.npy", MEL)
    (tmp_path / "out.wav").write_bytes(OLD)
    before = files(tmp_path)
    script = 'ulimit -f 20; exec "$@"'  # of 512 or 1024 bytes; the wave has 88 kB
    words = [SCRIPT, tmp_path / "mel.npy", tmp_path / "out.wav", "--checkpoint", tiny_checkpoint]
    result = subprocess.run(
        ["sh", "-c", script, "sh", sys.executable, *map(str, words)],
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        env=ENVIRONMENT,
    )
    assert result.stderr.count("\n") == 1, result.stderr
    assert f"Cannot write {tmp_path / 'out.wav'}" in result.stderr
    assert result.returncode == 2
    assert files(tmp_path) == before


@pytest.mark.usefixtures("as_anybody")
@pytest.mark.parametrize("kind", ["folder", "file"])
def test_a_place_that_is_read_only(tmp_path: Path, tiny_checkpoint: Path, kind: str) -> None:
    np.save(tmp_path / "mel.npy", MEL)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.wav").write_bytes(OLD)
    locked = tmp_path / "out" if kind == "folder" else tmp_path / "out" / "a.wav"
    locked.chmod(0o555 if kind == "folder" else 0o444)
    target = tmp_path / "out" / "a.wav"
    result = run(tmp_path / "mel.npy", target, "--checkpoint", tiny_checkpoint)
    locked.chmod(0o755)
    assert result.stderr.count("\n") == 1, result.stderr
    assert f"Cannot write {target}" in result.stderr
    assert result.returncode == 2
    assert files(tmp_path / "out") == {"a.wav": OLD}


def interrupted(folder: Path, *arguments: object) -> tuple[int, str]:
    """Start, wait until the output has been begun, press Ctrl-C; exit status and stderr."""
    before = set(folder.rglob("*"))
    process = subprocess.Popen(
        [sys.executable, SCRIPT, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    )
    try:
        deadline = time.monotonic() + TIMEOUT
        while set(folder.rglob("*")) == before and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=TIMEOUT)
    finally:
        process.kill()
    return process.returncode, error


@pytest.mark.skipif(os.name != "posix", reason="POSIX signals")
def test_ctrl_c_leaves_what_was_there(tmp_path: Path, tiny_checkpoint: Path) -> None:
    np.save(tmp_path / "mel.npy", MEL)
    (tmp_path / "out.wav").write_bytes(OLD)
    before = files(tmp_path)
    # More steps than anybody would wait for.
    options = ("--checkpoint", tiny_checkpoint, "--steps", 10_000)
    status, error = interrupted(tmp_path, tmp_path / "mel.npy", tmp_path / "out.wav", *options)
    assert status == 130
    assert error.endswith("\nsynthesize.py: stopped.\n")  # after a word on so many steps
    assert files(tmp_path) == before


# --- good inputs


@dataclass(frozen=True)
class Good:
    """One run over a folder of good files."""

    folder: Path
    result: Any


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint: Path) -> Good:
    folder = tmp_path_factory.mktemp("good")
    source = folder / "in"
    (source / "more").mkdir(parents=True)
    mel = torch.from_numpy(MEL)
    np.save(source / "a.npy", MEL)
    np.savez(source / "b.npz", mel=MEL)
    torch.save(mel, source / "c.pt")
    save_file({"mel": mel}, source / "more" / "d.safetensors")
    soundfile.write(source / "e.wav", speech_like(2.0), 22050, subtype="FLOAT")
    soundfile.write(source / "f.flac", speech_like(1.0, 16000), 16000)
    result = run(source, folder / "out", "--checkpoint", tiny_checkpoint)
    return Good(folder, result)


def test_a_folder_of_mels_and_recordings(good: Good) -> None:
    assert good.result.returncode == 0
    assert good.result.stderr == ""
    names = {"a.wav", "b.wav", "c.wav", "more/d.wav", "e.wav", "f.wav"}
    assert set(files(good.folder / "out")) == names
    seconds = sum(soundfile.info(good.folder / "out" / name).duration for name in names)
    pattern = r"6 files in .*out: (\S+) s of speech in \d+\.\d\d s, real-time factor \d+\.\d{3}\n"
    match = re.fullmatch(pattern, good.result.stdout)
    assert match
    assert float(match[1]) == pytest.approx(seconds, abs=0.006)


def test_every_mel_format_gives_the_same_bytes(good: Good) -> None:
    found = files(good.folder / "out")
    assert found["a.wav"] == found["b.wav"] == found["c.wav"] == found["more/d.wav"]
    assert found["a.wav"] == found["e.wav"]  # the recording that the mel is of
    info = soundfile.info(good.folder / "out" / "a.wav")
    assert (info.samplerate, info.channels, info.subtype) == (22050, 1, "PCM_16")
    assert info.frames == MEL.shape[1] * HOP
    assert soundfile.info(good.folder / "out" / "f.wav").frames == 22050 // HOP * HOP


def test_the_script_and_the_command_and_the_library_agree(
    good: Good, tmp_path: Path, tiny_checkpoint: Path, vocoder: Vocoder
) -> None:
    """And a file that was there is replaced by the whole new one."""
    (tmp_path / "out.wav").write_bytes(1_000_000 * b"long")
    arguments = (good.folder / "in" / "a.npy", "out.wav", "--checkpoint", tiny_checkpoint)
    command = ("-m", "diffwave.cli", "synthesize")
    result = run(*arguments, program=command, cwd=tmp_path, path=str(ROOT))
    assert (result.returncode, result.stderr) == (0, "")
    pattern = r"out\.wav: 2\.00 s of speech in \d+\.\d\d s, real-time factor \d+\.\d{3}\n"
    assert re.fullmatch(pattern, result.stdout)
    assert files(tmp_path) == {"out.wav": (good.folder / "out" / "a.wav").read_bytes()}
    samples = soundfile.read(tmp_path / "out.wav", dtype="float32")[0]
    np.testing.assert_allclose(samples, vocoder(MEL).numpy(), atol=1.01 / 2**15)


@pytest.mark.parametrize("bits", ["24", "float"])
def test_same_seed_same_bytes(
    bits: str, warm: Start, good: Good, tmp_path: Path, tiny_checkpoint: Path
) -> None:
    mel = str(good.folder / "in" / "a.npy")
    options = ["--checkpoint", str(tiny_checkpoint), "--sampler", "ancestral", "--bits", bits]
    more = {
        "one.wav": ["--seed", "7"],
        "two.wav": ["--seed", "7", "--threads", "1"],
        "other.wav": ["--seed", "8"],
    }
    for name, seed in more.items():
        result = warm([mel, name, *options, *seed], tmp_path)
        assert (result.returncode, result.stderr) == (0, "")
        if name == "one.wav" and bits == "float":
            time.sleep(1.1)  # such a file can hold the second in which it was written
    found = files(tmp_path)
    assert found["one.wav"] == found["two.wav"]
    one, other = (soundfile.read(tmp_path / name)[0] for name in ("one.wav", "other.wav"))
    assert np.abs(one - other).max() > 1e-3
    subtype = {"24": "PCM_24", "float": "FLOAT"}[bits]
    assert soundfile.info(tmp_path / "one.wav").subtype == subtype


def test_the_bundled_vocoder_from_anywhere(tmp_path: Path) -> None:
    np.save(tmp_path / "mel.npy", MEL[:, :40])
    result = run("mel.npy", "out.flac", cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    wave, rate = soundfile.read(tmp_path / "out.flac")
    assert rate == 22050
    assert wave.shape == (40 * HOP,)
    assert 1e-3 < wave.std() < 1


def test_help() -> None:
    result = run("--help")
    assert (result.returncode, result.stderr) == (0, "")
    for words in ("usage: synthesize.py", "--checkpoint", "--steps", "--seed", ".safetensors"):
        assert words in result.stdout


def test_the_enhancer_can_be_left_out(tmp_path: Path) -> None:
    model = random_model(enhancing_config())
    save_checkpoint(model, tmp_path / "model", half=False)
    np.save(tmp_path / "a.npy", MEL)
    options = ("--checkpoint", tmp_path / "model", "--device", "cpu", "--steps", "1")
    options += ("--bits", "float", "--no-enhance")
    done = run(tmp_path / "a.npy", tmp_path / "a.wav", *options)
    assert done.returncode == 0, done.stderr
    found = soundfile.read(tmp_path / "a.wav", dtype="float32")[0]
    plain, restored = (
        Vocoder(model, "cpu")(MEL, steps=1, enhance=enhance).numpy() for enhance in (False, True)
    )
    np.testing.assert_allclose(found, plain, rtol=0, atol=1e-5)
    assert np.abs(restored - plain).max() > 1e-3


def test_standard_input_and_output(good: Good, tmp_path: Path, tiny_checkpoint: Path) -> None:
    """And a recording in the place of a mel; what is printed does not get into the wave."""
    options = ["--checkpoint", tiny_checkpoint, "--device", "cpu"]
    for name in ("a.npy", "e.wav"):
        with (good.folder / "in" / name).open("rb") as file:
            result = subprocess.run(
                [sys.executable, SCRIPT, "-", "-", *map(str, options)],
                stdin=file, capture_output=True, timeout=TIMEOUT, env=ENVIRONMENT, cwd=tmp_path,
            )  # fmt: skip
        assert result.returncode == 0, result.stderr
        assert result.stdout == (good.folder / "out" / "a.wav").read_bytes()
        assert result.stderr.startswith(b"-: 2.00 s of speech")
    assert files(tmp_path) == {}


def test_standard_input_that_is_no_mel(tmp_path: Path, tiny_checkpoint: Path) -> None:
    """It is called what it is, not by the name of a temporary file."""
    result = subprocess.run(
        [sys.executable, SCRIPT, "-", "a.wav", "--checkpoint", str(tiny_checkpoint)],
        input=b"no mel", capture_output=True, timeout=TIMEOUT, env=ENVIRONMENT, cwd=tmp_path,
    )  # fmt: skip
    assert result.returncode == 2
    assert result.stderr.startswith(b"synthesize.py: Cannot read standard input: ")
    assert result.stderr.count(b"\n") == 1
    assert files(tmp_path) == {}


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams(closed: str, good: Good, tmp_path: Path, tiny_checkpoint: Path) -> None:
    words = [sys.executable, SCRIPT, good.folder / "in" / "a.npy", tmp_path / "a.wav"]
    words += ["--checkpoint", tiny_checkpoint]
    command = ["sh", "-c", f'"$@" {closed}', "sh", *map(str, words)]
    result = subprocess.run(command, capture_output=True, timeout=TIMEOUT, env=ENVIRONMENT)
    assert (result.returncode, result.stderr) == (0, b"")
    assert files(tmp_path) == {"a.wav": (good.folder / "out" / "a.wav").read_bytes()}


def test_a_name_that_the_terminal_cannot_show(tmp_path: Path, tiny_checkpoint: Path) -> None:
    np.save(tmp_path / "mel.npy", MEL[:, :20])
    result = subprocess.run(
        [sys.executable, SCRIPT, "mel.npy", "größe.wav", "--checkpoint", str(tiny_checkpoint)],
        capture_output=True, timeout=TIMEOUT, cwd=tmp_path,
        env={**ENVIRONMENT, "PYTHONIOENCODING": "ascii"},
    )  # fmt: skip
    assert (result.returncode, result.stderr) == (0, b"")
    assert result.stdout.startswith(rb"gr\xf6\xdfe.wav: ")

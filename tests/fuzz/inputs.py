"""Input files and command lines of each kind: good ones, and what mutation makes of them."""

from __future__ import annotations

import functools
import io
import json
import random
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
import yaml
from safetensors.torch import save
from signals import speech_like
from tiny import random_model, spectral_config, speech_mel, waveform_config

from diffwave.base.audio import AUDIO_SUFFIXES
from diffwave.checkpoint import save_checkpoint
from diffwave.commands.options import COMMANDS
from diffwave.commands.parser import add_options

from . import ROOT
from .mutate import NAMES, mutated_bytes, mutated_tree, nasty_value

Arguments = list[str]
FAST = ["--steps", "1", "--threads", "1"]


@functools.cache
def checkpoint(kind: str = "spectral") -> dict[str, bytes]:
    """The files of a small checkpoint."""
    config = spectral_config() if kind == "spectral" else waveform_config()
    with tempfile.TemporaryDirectory() as folder:
        save_checkpoint(random_model(config), Path(folder) / "c")
        return {path.name: path.read_bytes() for path in (Path(folder) / "c").iterdir()}


@functools.cache
def good_mel() -> torch.Tensor:
    """A mel [80, 43]."""
    return speech_mel(0.5)


@functools.cache
def good_settings() -> list[Any]:
    """The settings of the recipes."""
    found = [yaml.safe_load(path.read_text()) for path in sorted(ROOT.glob("recipes/**/*.yaml"))]
    return [settings for settings in found if isinstance(settings, dict)]


def write_checkpoint(folder: Path, files: dict[str, bytes]) -> None:
    """A checkpoint folder of these files."""
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)


def name_of(rng: random.Random) -> str:
    """The stem of a file name, mostly a plain one."""
    return rng.choice(NAMES) if rng.random() < 0.1 else "a"


# Mels


def _array(rng: random.Random) -> np.ndarray:
    mel = good_mel().numpy()
    shape = [rng.choice([0, 1, 2, 3, 79, 80, 81, 200]) for _ in range(rng.randint(0, 4))]
    makers: list[Callable[[], np.ndarray]] = [
        lambda: mel,
        lambda: mel[None],
        lambda: mel.T,
        lambda: np.zeros(shape if np.prod(shape) < 1e6 else [80, 3], np.float32),
        lambda: mel[:, : rng.randint(0, 5)],
        lambda: mel.astype(rng.choice(["f2", "f8", ">f4", "i1", "u8", "c8", "?", "O", "U3"])),
        lambda: mel * rng.choice([np.nan, np.inf, 0.0, -1.0, 1e30, 10.0, 0.43]),
        lambda: np.where(mel == mel.flat[rng.randrange(mel.size)], np.nan, mel),
        lambda: np.asfortranarray(mel),
    ]
    return rng.choice(makers)()


def _npy(rng: random.Random) -> bytes:
    stream = io.BytesIO()
    np.save(stream, _array(rng), allow_pickle=True)
    data = stream.getvalue()
    if rng.random() < 0.2:  # a header that promises something else
        header = repr(
            {
                "descr": rng.choice(["<f4", "|O", "<f16", "V8", "", "<f99", [("a", "<f4")]]),
                "fortran_order": rng.choice([True, False, 3]),
                "shape": rng.choice([(), (-1,), (80, 10**12), (2**63, 2), (80, 43), ("a",), 5]),
            }
        ).encode()
        header = header.ljust(117) + b"\n"
        data = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data[128:]
    return data


def _npz(rng: random.Random) -> bytes:
    stream = io.BytesIO()
    keys = ["mel", *NAMES, "\x1b[2J", ""]
    arrays: dict[str, Any] = {
        rng.choice(keys).encode("utf-8", "replace").decode(): _array(rng) for _ in range(2)
    }
    rng.choice([np.savez, np.savez_compressed])(stream, **arrays)
    return stream.getvalue()


def _torch(rng: random.Random) -> Any:
    mel = good_mel()
    choices = [
        mel, mel.half(), mel.to_sparse(), mel.to("meta"), {"mel": mel}, {"a": mel, "b": mel}, [mel],
        {"mel": {"mel": mel}}, {1: mel}, mel[:, ::2], mel.bfloat16(), mel.int(), mel + 1j,
        torch.nn.Parameter(mel), 5, None, {}, mel.to(torch.float8_e5m2), torch.nn.Linear(2, 2),
        mel[:, :1].expand(80, 2000), b"x", np.float32(3),
    ]  # fmt: skip
    return rng.choice(choices)


def _pt(rng: random.Random) -> bytes:
    stream = io.BytesIO()
    torch.save(_torch(rng), stream, _use_new_zipfile_serialization=rng.random() < 0.8)
    return stream.getvalue()


def _safetensors(rng: random.Random) -> bytes:
    keys = ["mel", "a", "\x1b[2Jb", "", "é"]
    tensors = {rng.choice(keys): good_mel() + i for i in range(rng.randint(0, 2))}
    data = save(tensors)
    if rng.random() < 0.3:
        header = mutated_tree(rng, json.loads(data[8 : 8 + struct.unpack("<Q", data[:8])[0]]))
        text = json.dumps(header).encode()
        data = struct.pack("<Q", len(text)) + text + data[-good_mel().numel() * 4 :]
    return data


MELS: dict[str, Callable[[random.Random], bytes]] = {
    ".npy": _npy,
    ".npz": _npz,
    ".pt": _pt,
    ".safetensors": _safetensors,
}


def mel_case(rng: random.Random, folder: Path) -> Arguments:
    """A mel file, or a folder of two, to audio."""
    write_checkpoint(folder / "in" / "checkpoint", checkpoint())
    several = rng.random() < 0.1
    for number in range(2 if several else 1):
        suffix = rng.choice(list(MELS))
        data = MELS[suffix](rng)
        if rng.random() < 0.6:
            data = mutated_bytes(rng, data)
        path = folder / "in" / "mels" / f"{name_of(rng)}{number}{suffix}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
    source, target = ("in/mels", "out") if several else (f"in/mels/{path.name}", "out/a.wav")
    return ["synthesize", "--checkpoint", "in/checkpoint", *FAST, "--", source, target]


# Recordings


@functools.cache
def _encodings() -> list[tuple[str, str]]:
    """Every container and encoding that the installed libsndfile writes to one file."""
    return [
        (container, subtype)
        for container in soundfile.available_formats()
        if container != "SD2"  # whose header goes to a file of its own, here one called "._"
        for subtype in soundfile.available_subtypes(container)
    ]


def _encoded(rng: random.Random) -> bytes:
    """A recording in any container, at an odd rate or length, with one channel or more."""
    for _ in range(20):  # not every encoding takes every rate and number of channels
        container, subtype = rng.choice(_encodings())
        rate = rng.choice([8000, 11025, 16000, 22050, 24000, 44100, 48000, rng.randint(1, 200_000)])
        channels = rng.choice([1, 1, 1, 2, 6])
        length = rng.choice([0, 1, 2, 100, 4000, rng.randint(0, 20_000)])
        wave = rng.choice([0.0, 0.5, 1.0, 20.0]) * np.resize(speech_like(0.5), length)
        if subtype in ("FLOAT", "DOUBLE") and rng.random() < 0.3 and length:
            wave[rng.randrange(length)] = rng.choice([np.nan, np.inf, 1e30])
        stream = io.BytesIO()
        try:
            soundfile.write(
                stream, np.stack([wave] * channels, 1), rate, format=container, subtype=subtype
            )
        except (soundfile.LibsndfileError, ValueError, AssertionError):
            continue
        return stream.getvalue()
    return b""


def recording_case(rng: random.Random, folder: Path) -> Arguments:
    """A recording to a mel, audio, scores or a corpus."""
    suffix = rng.choice([*AUDIO_SUFFIXES, ".wav", ".wav"])
    data = _encoded(rng)
    if rng.random() < 0.5:
        data = mutated_bytes(rng, data)
    if rng.random() < 0.1 and data[:4] == b"RIFF":
        rate = rng.choice([0, 1, 2, 100, 4000, 10**6, 2**31 - 1, 2**32 - 1])
        data = data[:24] + struct.pack("<I", rate) + data[28:]
    path = folder / "in" / "audio" / f"{name_of(rng)}{suffix}"
    path.parent.mkdir()
    path.write_bytes(data)
    source = f"in/audio/{path.name}"
    choice = rng.random()
    if choice < 0.7:
        return ["mel", "--", source, "out/a.npy"]
    if choice < 0.9:
        write_checkpoint(folder / "in" / "checkpoint", checkpoint())
        target = rng.choice(["out/a.wav", "out/a.flac", "out/a.ogg", "out/a.opus", "out/a.mp3"])
        return ["synthesize", "--checkpoint", "in/checkpoint", *FAST, "--", source, target]
    (folder / "in" / "audio" / "good.flac").write_bytes(_good_recording())
    if choice < 0.97:
        return ["prepare", "in/audio", "out/corpus", "--set", "network=waveform"]
    copies = folder / "in" / "copies"
    copies.mkdir()
    (copies / path.name).write_bytes(mutated_bytes(rng, data))
    (copies / "good.flac").write_bytes(_good_recording())
    return ["evaluate", "in/audio", "in/copies", "--metrics=mr_stft", "--save", "out/scores.csv"]


@functools.cache
def _good_recording() -> bytes:
    stream = io.BytesIO()
    soundfile.write(stream, speech_like(2.0), 22050, format="FLAC")
    return stream.getvalue()


# Checkpoints


def checkpoint_case(rng: random.Random, folder: Path) -> Arguments:
    """A damaged checkpoint, described or used."""
    files = dict(checkpoint(rng.choice(["spectral", "waveform"])))
    config = "config.json"
    choice = rng.random()
    if choice < 0.6:
        files[config] = json.dumps(mutated_tree(rng, json.loads(files[config]))).encode()
    elif choice < 0.7:
        files[config] = mutated_bytes(rng, files[config])
    elif choice < 0.73:
        files[config] = b"[" * 100_000
    elif choice < 0.97:
        (name,) = (name for name in files if name.endswith(".safetensors"))
        files[name] = mutated_bytes(rng, files[name])
    else:
        del files[rng.choice(list(files))]
    write_checkpoint(folder / "in" / "checkpoint", files)
    np.save(folder / "in" / "a.npy", good_mel().numpy())
    if rng.random() < 0.5:
        return ["info", "in/checkpoint"]
    steps = FAST if rng.random() < 0.5 else FAST[2:]
    return ["synthesize", "--checkpoint", "in/checkpoint", *steps, "in/a.npy", "out/a.wav"]


# Settings


def yaml_case(rng: random.Random, folder: Path) -> Arguments:
    """Settings for a command that reads them all; the folder that training needs is missing."""
    settings = rng.choice(good_settings())
    choice = rng.random()
    if choice < 0.6:
        settings = mutated_tree(rng, settings)
    text = yaml.dump(settings, allow_unicode=rng.random() < 0.5)
    data = text.encode("utf-8", "surrogatepass")
    if 0.6 <= choice < 0.9:
        data = mutated_bytes(rng, data)
    elif choice >= 0.97:
        laughs = [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
        data = "\n".join(["a0: &a0 [x]", *laughs]).encode()
    elif choice >= 0.94:
        data = b"run: " + b"[" * rng.choice([100, 3000, 100_000])
    (folder / "in" / "a.yaml").write_bytes(data)
    overrides = []
    if choice >= 0.9:
        section = rng.choice(list(settings))
        inner = settings[section]
        name = f"{section}.{rng.choice(list(inner))}" if isinstance(inner, dict) else section
        value = str(nasty_value(rng))[:5000].replace("\0", "")
        overrides = ["--set", f"{name}={value}"]
    if rng.random() < 0.7:
        last = ["--set", "data.folder=in/none", "--set", "run.folder=out/run"]
        return ["train", "in/a.yaml", *overrides, *last]
    (folder / "in" / "audio").mkdir()
    for i in range(2):
        (folder / "in" / "audio" / f"{i}.flac").write_bytes(_good_recording())
    return ["prepare", "in/audio", "out/corpus", "--config", "in/a.yaml", *overrides]


# Command lines


@functools.cache
def _options() -> dict[str, list[str]]:
    """The options of every command, as its help names them."""
    import argparse

    found = {}
    for command, options in COMMANDS.items():
        parser = argparse.ArgumentParser(add_help=False)
        add_options(parser, options)
        found[command] = sorted(parser._option_string_actions)
    return found


def command_case(rng: random.Random, folder: Path) -> Arguments:
    """A command with options and values drawn at random, some of which fit."""
    write_checkpoint(folder / "in" / "checkpoint", checkpoint())
    np.save(folder / "in" / "a.npy", good_mel().numpy())
    for place in ("a.wav", "audio/a.wav", "copies/a.wav"):
        (folder / "in" / place).parent.mkdir(exist_ok=True)
        soundfile.write(folder / "in" / place, speech_like(0.5), 22050)
    (folder / "in" / "a.yaml").write_text("run: {folder: out/run}\ndata: {folder: in/none}\n")
    (folder / "in" / "link.wav").symlink_to("a.wav")
    places = [
        "in/a.npy", "in/a.wav", "in/link.wav", "in/audio", "in/copies", "in/checkpoint", "in",
        "in/a.yaml", "in/none", "out/a.wav", "out/a.ogg", "out/a.npy", "out", "out/new",
    ]  # fmt: skip
    values = [
        *places, *NAMES, "", ".", "/dev/null", "in/a.npy/x", "0", "1", "-1", "1.5", "1e30",
        "9" * 400, "nan", "auto", "cpu", "cuda:99", "float", "ddim", "out/\0", "hifigan",
        "run.seed=1", "=", "a=b", "a" * 5000,
    ]  # fmt: skip
    # `bench` measures for minutes, so it only ever reads.
    command = rng.choice([name for name in _options() if name != "bench"] + ["nothing", "bench"])
    words = [command]
    if command == "bench":
        words += ["--from", rng.choice(values)]
    likely: dict[str, Callable[[], Arguments]] = {
        "synthesize": lambda: [rng.choice(places[:4]), rng.choice(places[6:])],
        "mel": lambda: [rng.choice(places), rng.choice(places)],
        "info": lambda: [rng.choice(places)],
        "evaluate": lambda: ["in/audio", rng.choice(places)],
        "prepare": lambda: [rng.choice(places), rng.choice(places)],
        "train": lambda: ["in/a.yaml"],
        "export": lambda: [rng.choice(places), rng.choice(places)],
    }
    if rng.random() < 0.7 and command in likely:
        words += likely[command]()
    else:
        words += [rng.choice(values) for _ in range(rng.randint(0, 3))]
    if command in ("synthesize", "evaluate"):
        words += ["--checkpoint", "in/checkpoint", *FAST]
    for _ in range(rng.choice([0, 0, 1, 1, 2, 3])):
        options = _options().get(command, ["--help"])
        option = rng.choice(options) if options else "--help"
        # Training is for other tests: here its data are always missing.
        if option in ("--steps", "--n-iter", "--html", "--jobs") and rng.random() < 0.8:
            continue
        value = rng.choice(values)
        words += [option] if rng.random() < 0.2 else [option, value]
    if command == "evaluate":
        words += ["--metrics=mr_stft"]  # all take half a minute
    if command == "train":
        words += ["--set", "data.folder=in/none"]
    if command == "serve":
        words += ["--checkpoint", "in/none"]  # with one it would not end
    return words


KINDS: dict[str, Callable[[random.Random, Path], Arguments]] = {
    "mel": mel_case,
    "recording": recording_case,
    "checkpoint": checkpoint_case,
    "yaml": yaml_case,
    "command": command_case,
}

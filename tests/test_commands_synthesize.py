"""What `synthesize` does with files and folders, called as the command line calls it."""

from __future__ import annotations

import io
import json
import re
import shlex
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import save_file
from signals import speech_like
from tiny import HOP, enhancing_config, random_model, source_config, speech_mel
from told import Refuses, everything, one_line

from diffwave import cli
from diffwave.checkpoint import save_checkpoint
from diffwave.mel.conventions import CONVENTIONS
from diffwave.vocoder import Vocoder

MEL = speech_mel(0.3).numpy()
F0 = np.where(np.arange(MEL.shape[1]) % 9 < 6, 180.0, 0.0)
Synthesize = Callable[..., int]


@pytest.fixture
def mels(here: Path) -> Path:
    """Folder a/ of a.npy, deep/er/b.npy and a file of another kind; the current one is above it."""
    folder = here / "a"
    (folder / "deep" / "er").mkdir(parents=True)
    np.save(folder / "a.npy", MEL)
    np.save(folder / "deep" / "er" / "b.npy", MEL[:, :10])
    (folder / "notes.txt").write_text("not a mel")
    return folder


@pytest.fixture
def synthesize(tiny_checkpoint: Path, mels: Path) -> Synthesize:
    """Runs the command beside the folder `mels`."""

    def run(*words: object, checkpoint: object = tiny_checkpoint) -> int:
        model = ["--checkpoint", str(checkpoint), "--device", "cpu", "--steps", "2"]
        return cli.main(["synthesize", *model, *map(str, words)])

    return run


def samples(path: object) -> np.ndarray:
    return soundfile.read(path, dtype="float32")[0]


# --- what is made


def test_a_folder_keeps_its_structure(
    synthesize: Synthesize, capsys: pytest.CaptureFixture[str]
) -> None:
    assert synthesize("a", "out") == 0
    assert set(everything(Path("out"))) == {"a.wav", "deep/er/b.wav"}
    assert len(samples("out/deep/er/b.wav")) == 10 * HOP
    seconds = (MEL.shape[1] + 10) * HOP / 22050
    pattern = rf"2 files in out: {seconds:.2f} s of speech in .* s, real-time factor \d+\.\d{{3}}\n"
    captured = capsys.readouterr()
    assert re.fullmatch(pattern, captured.out) and captured.err == ""
    assert synthesize("a/a.npy", "alone.wav") == 0
    assert Path("alone.wav").read_bytes() == Path("out/a.wav").read_bytes()


def test_every_mel_format_gives_the_same_bytes(mels: Path, synthesize: Synthesize) -> None:
    np.save(mels / "batch.npy", MEL[None])
    np.savez(mels / "zip.npz", mel=MEL)
    torch.save(torch.from_numpy(MEL), mels / "torch.pt")
    save_file({"mel": torch.from_numpy(MEL)}, mels / "safe.safetensors")
    soundfile.write(mels / "recording.wav", speech_like(0.3), 22050, subtype="FLOAT")
    assert synthesize("a", "out") == 0
    found = everything(Path("out"))
    assert len(found) == 7
    for name in ("batch", "zip", "torch", "safe", "recording"):
        assert found[f"{name}.wav"] == found["a.wav"]


@pytest.mark.parametrize(
    ("options", "arguments"),
    [
        ("--seed 3", {"seed": 3}),
        ("--sampler ancestral --chunk 10", {"sampler": "ancestral", "chunk_frames": 10}),
        ("--steps 3 --n-iter 2", {"steps": 3, "n_iter": 2}),
        ("--no-enhance", {"enhance": False}),
    ],
)
def test_options_reach_the_vocoder(
    options: str, arguments: dict[str, Any], synthesize: Synthesize, tmp_path: Path
) -> None:
    model = random_model(enhancing_config())
    save_checkpoint(model, tmp_path / "model", half=False)
    words = ("a/a.npy", "a.wav", "--bits", "float", *options.split())
    assert synthesize(*words, checkpoint="model") == 0
    vocoder = Vocoder(model, "cpu")
    np.testing.assert_array_equal(samples("a.wav"), vocoder(MEL, **{"steps": 2, **arguments}))
    assert not torch.equal(vocoder(MEL, steps=2), vocoder(MEL, **{"steps": 2, **arguments}))


@pytest.mark.parametrize(
    ("name", "bits", "subtype"),
    [
        ("b.WAV", "16", "PCM_16"),
        ("b.wav", "24", "PCM_24"),
        ("b.wav", "float", "FLOAT"),
        ("b.flac", "24", "PCM_24"),
        ("b.ogg", "16", "VORBIS"),
    ],
)
def test_sample_formats_and_the_same_bytes_for_the_same_seed(
    name: str, bits: str, subtype: str, synthesize: Synthesize
) -> None:
    assert synthesize("a/a.npy", name, "--bits", bits, "--seed", 7) == 0
    info, before = soundfile.info(name), Path(name).read_bytes()
    assert (info.subtype, info.channels, info.samplerate) == (subtype, 1, 22050)
    assert info.frames == MEL.shape[1] * HOP
    if bits == "float":
        time.sleep(1.1)  # such a file can hold the second in which it was written
    assert synthesize("a/a.npy", name, "--bits", bits, "--seed", 7) == 0
    assert name.endswith("ogg") or Path(name).read_bytes() == before


def test_recordings_are_resampled_and_resynthesised(
    mels: Path, synthesize: Synthesize, vocoder: Vocoder
) -> None:
    soundfile.write(mels / "b.WAV", speech_like(0.5, 48000), 48000)
    soundfile.write(mels / "c.flac", speech_like(0.5), 22050, subtype="PCM_16")
    assert synthesize("a", "out", "--bits", "float") == 0
    assert len(samples("out/b.wav")) == round(0.5 * 22050) // HOP * HOP
    expected = vocoder(vocoder.mel(torch.from_numpy(samples("a/c.flac"))), steps=2)
    np.testing.assert_array_equal(samples("out/c.wav"), expected.numpy())


@pytest.mark.parametrize("content", ["npy", "wav"])
def test_a_recording_or_mel_on_standard_input(
    content: str, mels: Path, synthesize: Synthesize, monkeypatch: pytest.MonkeyPatch
) -> None:
    soundfile.write(mels / "a.wav", speech_like(0.3), 22050, subtype="FLOAT")
    stream = io.TextIOWrapper(io.BytesIO((mels / f"a.{content}").read_bytes()))
    monkeypatch.setattr(sys, "stdin", stream)
    assert synthesize("-", "in.wav") == 0
    assert synthesize("a/a.npy", "a.wav") == 0
    assert Path("in.wav").read_bytes() == Path("a.wav").read_bytes()


def test_clipping_is_told(
    mels: Path, synthesize: Synthesize, capsys: pytest.CaptureFixture[str], vocoder: Vocoder
) -> None:
    loud = MEL + 4  # 35 dB up
    count = int((vocoder(loud, steps=2).abs() > 1).sum())
    assert count > 0
    np.save(mels / "loud.npy", loud)
    assert synthesize("a/loud.npy", "loud.wav") == 0
    assert capsys.readouterr().err == f"loud.wav: {count} samples were clipped at full scale.\n"


def test_threads(synthesize: Synthesize) -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        assert synthesize("a/a.npy", "a.wav", "--threads", "2") == 0
        assert torch.get_num_threads() == 2
        assert synthesize("a/a.npy", "a.wav") == 0
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


# --- folders in which something is wrong


@pytest.mark.parametrize("out", ["a/out", "a/deep/../out", "link/out"])
def test_results_inside_the_input_folder_are_no_input(
    out: str, mels: Path, synthesize: Synthesize
) -> None:
    Path("link").symlink_to(mels)
    for _ in range(2):
        assert synthesize("a", out) == 0
        assert set(everything(mels / "out")) == {"a.wav", "deep/er/b.wav"}


def test_what_can_be_used_is_used(
    mels: Path,
    synthesize: Synthesize,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stream = Vocoder.stream

    def scarce(self: Vocoder, mel: torch.Tensor, **options: Any) -> Iterator[torch.Tensor]:
        if mel.shape[-1] == 20:
            raise MemoryError
        return stream(self, mel, **options)

    monkeypatch.setattr(Vocoder, "stream", scarce)
    np.save(mels / "broken.npy", MEL.T)
    np.save(mels / "long.npy", MEL[:, :20])
    (mels / "._a.wav").write_bytes(b"of macOS")
    (mels / ".cache").mkdir()
    np.save(mels / ".cache" / "c.npy", MEL)
    (mels / "gone.npy").symlink_to("nothing")
    Path("out").mkdir()
    Path("out/deep").write_text("a file in the way")
    assert synthesize("a", "out") == 2
    assert set(everything(Path("out"))) == {"a.wav", "deep"}
    told = capsys.readouterr()
    for line, words in zip(
        told.err.splitlines(),
        (
            "a/broken.npy: .*transposed",
            "a/deep/er/b.npy: Cannot write out/deep/er",
            "a/gone.npy: There is no file a/gone.npy",
            "a/long.npy: there is not enough memory",
            "diffwave: 4 of 5 files could not be used.",
        ),
        strict=True,
    ):
        assert re.match(words, line)
    assert told.out.startswith("1 file ")


def test_a_mel_that_looks_like_anothers_is_spoken_with_a_warning(
    synthesize: Synthesize, mels: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = CONVENTIONS["hifigan-16k"].analyse(torch.from_numpy(speech_like(2.0, 16000, 1)))
    for name, mel in (("other", other), ("fitting", speech_mel(2.0))):
        np.save(mels / f"{name}.npy", mel.numpy())
        assert synthesize(f"a/{name}.npy", "out.wav", "--n-iter", 0) == 0
    one_line(capsys, "a/other.npy: it looks like", "'hifigan-16k'", "add --from hifigan-16k.")


def test_no_file_can_be_used(
    mels: Path, synthesize: Synthesize, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a.npy", "deep/er/b.npy"):
        np.save(mels / name, MEL[0])
    assert synthesize("a", "out") == 2
    captured = capsys.readouterr()
    assert "2 of 2 files" in captured.err
    assert "real-time factor" not in captured.out  # of nothing
    assert not Path("out").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="names that are no text")
def test_a_name_that_is_no_text(
    mels: Path, synthesize: Synthesize, capsys: pytest.CaptureFixture[str]
) -> None:
    (mels / "\udcff.npy").write_bytes((mels / "a.npy").read_bytes())
    np.save(mels / "b\udcff.npy", MEL[0])
    assert synthesize("a", "out") == 2
    assert set(everything(Path("out"))) == {"a.wav", "deep/er/b.wav", "\udcff.wav"}
    one_line_each = capsys.readouterr().err.splitlines()
    assert len(one_line_each) == 2 and one_line_each[0].startswith(r"a/b\udcff.npy: ")


# --- what is refused before any work


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("missing.npy out.wav", "no file or folder missing.npy"),
        ("missing out", "no file or folder"),
        ("a/notes.txt out.wav", "is not a mel or recording (.npy, .npz, .pt, .safetensors"),
        ("a/a.npy out.aac", "must end in .wav, .flac"),
        ("a/a.npy a", "must end in"),
        ("a/a.npy folder.wav", "not a regular file"),
        ("a/a.npy missing/out.wav", "Cannot write missing/out.wav: there is no folder"),
        ("a/a.npy out.wav/out.wav", "no folder"),
        (f"a/a.npy {300 * 'x'}.wav", "too long"),
        (f"{300 * 'x'}.npy out.wav", "File name too long"),
        ("a/a.npy out.flac --bits float", "16 or 24 bits, not float"),
        ("a out.wav", "must be one too"),
        ("a -", "must be one too"),
        ("a out/of/reach", "no folder"),
        ("a a", "a is the input"),
        ("a a/../a", "is the input"),
        ("a link", "is the input"),
        ("a/a.npy soft.wav", "is the input"),
        ("a/a.npy hard.wav", "is the input"),
        ("c/c c", "c/b.wav is the input c/c/hard.wav"),
        ("d out", "d/a.npy and d/a.npz would both become"),
        ("folder.wav new", "no mel or recording"),
        ("a/a.npy out.wav --f0 missing.npy", "no file or folder missing.npy"),
        ("a/a.npy out.wav --f0 a", "must be a folder if the input is one"),
        ("a/a.npy out.wav --f0 f0.npy", "This checkpoint has no source"),
        ("a out --transpose 2", "This checkpoint has no source"),
        ("a/a.npy out.wav --checkpoint nonsense", "'nonsense': neither"),
        ("a/a.npy out.wav --checkpoint damaged", "model.safetensors is damaged"),
        ("a/a.npy out.wav --device nonsense", "no device 'nonsense'"),
        ("a/a.npy out.wav --sampler euler", "'euler' (choose from 'ddim', 'ddim-0.25'"),
        ("a/a.npy out.wav --transpose 25", "--transpose: must be a number of at most 24"),
    ],
)
def test_what_is_wrong_is_one_sentence_and_nothing_changes(
    arguments: str, words: str, mels: Path, tiny_checkpoint: Path, refuses: Refuses
) -> None:
    Path("folder.wav").mkdir()
    Path("out.wav").write_bytes(b"the result of an earlier run")
    Path("link").symlink_to(mels)
    Path("soft.wav").symlink_to("a/a.npy")
    Path("hard.wav").hardlink_to("a/a.npy")
    Path("c/c").mkdir(parents=True)
    for name in ("c/c/b.wav", "c/c/hard.wav"):
        soundfile.write(name, speech_like(0.5), 22050)
    Path("c/b.wav").hardlink_to("c/c/hard.wav")
    Path("d").mkdir()
    np.save("d/a.npy", MEL)
    np.savez("d/a.npz", mel=MEL)
    np.save("f0.npy", F0)
    shutil.copytree(tiny_checkpoint, "damaged")
    Path("damaged/model.safetensors").write_bytes(b"")
    model = ["--checkpoint", tiny_checkpoint, "--device", "cpu", "--steps", 2]
    refuses(["synthesize", *model, *shlex.split(arguments)], "diffwave", words)


# --- pitch


@pytest.fixture
def with_source(synthesize: Synthesize) -> Synthesize:
    """The same with a checkpoint that has a pulse source."""
    save_checkpoint(random_model(source_config()), "model")
    return lambda *words: synthesize(*words, "--bits", "float", checkpoint="model")


def test_pitch_is_followed_and_transposed(with_source: Synthesize) -> None:
    np.save("f0.npy", F0)
    Path("f0.TXT").write_text("".join(f"{hz:g}\n" for hz in F0))
    vocoder = Vocoder.from_pretrained("model", "cpu")
    for options, arguments in (
        ("", {}),
        ("--f0 f0.npy", {"f0": F0}),
        ("--f0 f0.TXT", {"f0": F0}),
        ("--transpose -3.5", {"transpose": -3.5}),
        ("--f0 f0.npy --transpose 4", {"f0": F0, "transpose": 4}),
    ):
        assert with_source("a/a.npy", "a.wav", *options.split()) == 0
        np.testing.assert_array_equal(samples("a.wav"), vocoder(MEL, steps=2, **arguments))


def test_pitch_of_a_folder_lies_in_files_of_the_same_names(
    with_source: Synthesize, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("f0/deep/er").mkdir(parents=True)
    np.save("f0/a.npy", F0)
    assert with_source("a", "out", "--f0", "f0") == 2  # the other one's is missing
    missing, last = capsys.readouterr().err.splitlines()
    assert "There is no f0/deep/er/b.npy or .txt of its pitch." in missing
    assert last == "diffwave: 1 of 2 files could not be used."
    assert set(everything(Path("out"))) == {"a.wav"}
    np.savetxt("f0/deep/er/b.txt", F0[:10])
    assert with_source("a", "out", "--f0", "f0") == 0
    expected = Vocoder.from_pretrained("model", "cpu")(MEL[:, :10], steps=2, f0=F0[:10])
    np.testing.assert_array_equal(samples("out/deep/er/b.wav"), expected)


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        (
            "f0.npy",
            F0[:-1],
            f"one value for each of {len(F0)} frames of the mel, not {len(F0) - 1} values.",
        ),
        ("f0.npy", F0 + 1, "or be 0 where there is no voice"),
        ("f0.npy", np.stack([F0, F0]), "one number for each frame"),
        ("f0.npy", F0 * np.nan, "from 50 to 600 Hz"),
        ("f0.npy", F0.astype(str), "does not hold an array of numbers"),
        ("f0.txt", "180\nhigh\n", "not a .txt file"),
        ("f0.csv", "180\n", "must end in .npy, .txt"),
    ],
)
def test_a_pitch_that_cannot_be_used(
    file: str,
    content: np.ndarray | str,
    words: str,
    with_source: Synthesize,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if isinstance(content, str):
        Path(file).write_text(content)
    else:
        np.save(file, content)
    assert with_source("a/a.npy", "out.wav", "--f0", file) == 2
    one_line(capsys, words)
    assert not Path("out.wav").exists()


def test_a_checkpoint_scores_as_the_folder_that_it_would_make(
    synthesize: Synthesize, tiny_checkpoint: Path
) -> None:
    pytest.importorskip("auraloss")
    Path("ref").mkdir()
    for seed in range(2):
        wave = speech_like(1.0, seed=seed)
        soundfile.write(f"ref/{seed}.wav", wave, 22050, subtype="FLOAT")
    assert synthesize("ref", "gen", "--bits", "float") == 0
    of_model = ["--checkpoint", str(tiny_checkpoint), "--device", "cpu", "--steps", "2"]
    found = []
    for words in (["gen"], of_model):
        words += ["--metrics", "mr_stft", "--save", "scores.json"]
        assert cli.main(["evaluate", "ref", *words]) == 0
        found.append(json.loads(Path("scores.json").read_text())["metrics"]["mr_stft"]["mean"])
    assert found[0] == pytest.approx(found[1], rel=1e-3)

"""`diffwave export --onnx`, and the runtime that speaks from it without PyTorch."""

from __future__ import annotations

import json
import shutil
import tomllib
import wave
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny import enhancing_config, random_model, source_config, speech_mel
from told import one_line, script

from diffwave import InputError, cli
from diffwave.checkpoint import save_checkpoint
from diffwave.vocoder import DEFAULT, Vocoder

for package in ("onnxscript", "onnxruntime"):
    pytest.importorskip(package, reason=f"{package} is not installed")
onnx = pytest.importorskip("onnx", reason="onnx is not installed")

from diffwave.onnx import Vocoder as OnnxVocoder  # noqa: E402
from diffwave.onnx import __main__ as runtime  # noqa: E402
from diffwave.onnx.layout import OPSET  # noqa: E402

ROOT = Path(__file__).parents[1]
MEL = speech_mel(0.8).numpy()
SCALE = 1e-3
"""Of full scale, which is 1."""

RUN = """
import sys
sys.modules["torch"] = None  # an import of it fails
from diffwave.onnx.__main__ import main
status = main(sys.argv[1:])
files = {name.partition(".")[0]: getattr(m, "__file__", "") for name, m in sys.modules.items()}
found = {name for name, file in files.items() if "-packages" in str(file)}
print(*sorted(found), sep=",")
print(*sorted(name for name in sys.modules if name.partition(".")[0] == "diffwave"), sep=",")
sys.exit(status)
"""


@pytest.fixture(scope="module")
def voices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a checkpoint with enhancer and source, and of the graphs made of it."""
    folder = tmp_path_factory.mktemp("onnx")
    config = replace(source_config(), enhancer=enhancing_config().enhancer)
    save_checkpoint(random_model(config), folder / "checkpoint")
    command = ["export", str(folder / "checkpoint"), str(folder / "graphs"), "--onnx"]
    assert cli.main(command) == 0
    return folder


@pytest.fixture(scope="module")
def ours(voices: Path) -> OnnxVocoder:
    return OnnxVocoder(voices / "graphs", threads=1)


@pytest.mark.parametrize(
    "options",
    [
        {"n_iter": 0},
        {"steps": 2, "n_iter": 3, "seed": -5},
        {"steps": 3, "sampler": "ancestral", "n_iter": 2},
        {"steps": 3, "sampler": "dpm-solver++", "n_iter": 2, "enhance": False},
        {"n_iter": 2, "transpose": 4.0},
        {"n_iter": 2, "f0": np.full(MEL.shape[1], 150.0)},
    ],
    ids=str,
)
def test_same_seed_same_samples_as_pytorch(
    options: dict[str, object], voices: Path, ours: OnnxVocoder
) -> None:
    theirs = Vocoder.from_pretrained(voices / "checkpoint", "cpu")(MEL, **options).numpy()
    found = ours(MEL, **options)
    assert found.dtype == np.float32
    assert found.shape == theirs.shape
    assert np.abs(theirs).max() > 30 * SCALE
    assert np.abs(found - theirs).max() < SCALE


@pytest.mark.slow
def test_the_bundled_voice_has_the_same_samples(tmp_path: Path) -> None:
    assert cli.main(["export", DEFAULT, str(tmp_path / "voice"), "--onnx"]) == 0
    vocoder = Vocoder.from_pretrained(device="cpu")
    mel = np.load(ROOT / "egs" / "mel.npy")[:, :100]
    ours = OnnxVocoder(tmp_path / "voice", 1)
    for steps in (1, 2):
        theirs = vocoder(mel, steps=steps, seed=steps).numpy()
        assert np.abs(theirs).max() > 0.1
        assert np.abs(ours(mel, steps=steps, seed=steps) - theirs).max() < SCALE
    stored = sum(path.stat().st_size for path in (tmp_path / "voice").iterdir())
    assert stored < 1.1 * 16_645_262  # float16, as the checkpoint


def test_chunks_do_not_change_the_result(ours: OnnxVocoder) -> None:
    whole = ours(MEL, steps=2, n_iter=2)
    for size in (7, 32):
        pieces = list(ours.stream(MEL, steps=2, n_iter=2, chunk_frames=size))
        assert len(pieces) == -(-MEL.shape[1] // size)
        np.testing.assert_allclose(np.concatenate(pieces), whole, atol=1e-4)


def test_what_the_graphs_are(voices: Path) -> None:
    about = json.loads((voices / "graphs" / "onnx.json").read_text())
    space = about["model"]["space"]
    assert (space.pop("n_fft"), space.pop("pad_left")) == (1024, 384)  # which follow from the mel
    assert about["model"] == json.loads((voices / "checkpoint" / "config.json").read_text())
    for path in (voices / "graphs").glob("*.onnx"):
        graph = onnx.load(path)
        opsets = {entry.domain: entry.version for entry in graph.opset_import}
        assert opsets[""] == about["opset"] == OPSET
    assert {path.name for path in (voices / "graphs").iterdir()} == {
        *("condition.onnx", "step.onnx", "source.onnx", "enhancer.onnx"),
        *("constants.npz", "onnx.json"),
    }


def test_a_process_that_speaks_needs_numpy_and_onnxruntime_alone(
    voices: Path, tmp_path: Path
) -> None:
    np.save(tmp_path / "mel.npy", MEL)
    arguments = [voices / "graphs", tmp_path / "mel.npy", tmp_path / "a.wav", "--steps", "2"]
    process = script("-c", RUN, *arguments)
    assert process.returncode == 0, process.stderr
    _, packages, modules = process.stdout.strip().splitlines()
    assert set(packages.split(",")) <= {"numpy", "onnxruntime", "_distutils_hack"}
    with wave.open(str(tmp_path / "a.wav")) as file:
        assert file.getframerate() == 22050
        assert file.getnframes() == MEL.shape[1] * 256
    # The light distribution has what was imported, and asks for nothing else.
    light = tomllib.loads((ROOT / "light" / "pyproject.toml").read_text())
    files = light["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    packed = {
        path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")
        for file in files.values()
        for path in ([ROOT / file] if file.endswith(".py") else (ROOT / file).glob("*.py"))
    }
    assert set(modules.split(",")) <= {name.removesuffix(".__init__") for name in packed}
    assert all((ROOT / "light" / file).exists() for file in files)
    names = {line.partition(">")[0] for line in light["project"]["dependencies"]}
    assert names == {"numpy", "onnxruntime"}


@pytest.mark.parametrize(
    ("mel", "words"),
    [
        (MEL.T, "[80, frames]"),
        (MEL[:, :1], "2 frames"),
        (MEL.astype(np.int64), "floating point"),
        (np.full_like(MEL, np.nan), "NaN"),
    ],
)
def test_a_mel_that_is_none(
    mel: np.ndarray, words: str, voices: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "mel.npy", mel)
    out = tmp_path / "out.wav"
    assert runtime.main([str(voices / "graphs"), str(tmp_path / "mel.npy"), str(out)]) == 2
    one_line(capsys, words)
    assert not out.exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"steps": 0}, "steps"),
        ({"n_iter": -1}, "iterations"),
        ({"sampler": "euler"}, "euler"),
        ({"transpose": 30}, "semitones"),
        ({"f0": np.zeros(3)}, "one value"),
        ({"f0": np.full(MEL.shape[1], 9000)}, "600 Hz"),
        ({"chunk_frames": 0}, "frame"),
    ],
    ids=str,
)
def test_options_out_of_bounds(options: dict[str, object], words: str, ours: OnnxVocoder) -> None:
    with pytest.raises(InputError, match=words):
        ours(MEL, **options)


@pytest.mark.parametrize("damaged", ["onnx.json", "constants.npz", "step.onnx", "source.onnx"])
@pytest.mark.parametrize("content", [None, b"", b"{}"])
def test_a_damaged_voice(
    damaged: str,
    content: bytes | None,
    voices: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "voice"
    shutil.copytree(voices / "graphs", folder)
    (folder / damaged).unlink()
    if content is not None:
        (folder / damaged).write_bytes(content)
    np.save(tmp_path / "mel.npy", MEL)
    out = tmp_path / "out.wav"
    assert runtime.main([str(folder), str(tmp_path / "mel.npy"), str(out)]) == 2
    error = capfd.readouterr().err
    assert len(error.strip().splitlines()) == 1, error
    assert not out.exists()


def test_a_graph_of_another_voice(voices: Path, tmp_path: Path) -> None:
    shutil.copytree(voices / "graphs", tmp_path / "voice")
    shutil.copy(voices / "graphs" / "enhancer.onnx", tmp_path / "voice" / "step.onnx")
    with pytest.raises(InputError, match="does not fit the voice"):
        OnnxVocoder(tmp_path / "voice", 1)(MEL)


def test_a_chain_on_samples_is_refused(
    tiny_waveform_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert cli.main(["export", str(tiny_waveform_checkpoint), str(out), "--onnx"]) == 2
    one_line(capsys, "spectral")
    assert not out.exists()

"""The recipe of the acoustic model (recipes/tts): every stage, on signals made here."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from patience import PATIENCE
from signals import speech_like
from tiny import enhancing_config, random_model
from told import ENVIRONMENT, ROOT, script

from diffwave.base.audio import read_audio
from diffwave.checkpoint import load_checkpoint, save_checkpoint

for package in ("transformers", "espeakng_loader", "phonemizer", "pyworld", "scipy"):
    pytest.importorskip(package)

RECIPE = ROOT / "recipes" / "tts"
TEXTS = {"u1": "Hello, world.", "u2": "This is a test.", "u3": "Say it again."}
SMALL = [
    "hidden_size=16", "encoder_layers=1", "decoder_layers=1", "encoder_linear_units=16",
    "decoder_linear_units=16", "speech_decoder_postnet_layers=2", "speech_decoder_postnet_units=8",
]  # fmt: skip


def run(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return script(RECIPE / name, *arguments)


def training(corpora: Path, labels: Path, out: Path, *more: object) -> list[object]:
    sizes = [part for size in SMALL for part in ("--set", size)]
    return ["train.py", corpora, labels, "--out", out, "--device", "cpu", *sizes, *more]


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpora")
    wavs = folder / "somebody" / "wavs"
    wavs.mkdir(parents=True)
    for seed, name in enumerate(TEXTS):
        soundfile.write(wavs / f"{name}.wav", 0.3 * speech_like(2.0, 22050, seed), 22050)
    lines = [f"{name}|{text}|{text}" for name, text in TEXTS.items()]
    (folder / "somebody" / "metadata.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="module")
def aligned(corpora: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    work = tmp_path_factory.mktemp("work")
    prepared = run("prepare.py", corpora, work, "--speaker", "somebody", "--held-out", "u3")
    assert prepared.returncode == 0, prepared.stderr
    assert "2 utterances for training" in prepared.stdout
    found = run("align.py", work)
    assert found.returncode == 0, found.stderr
    return work


def labels_of(work: Path) -> dict[str, Any]:
    return json.loads((work / "labels.json").read_text(encoding="utf-8"))


def test_every_frame_belongs_to_a_phoneme(corpora: Path, aligned: Path) -> None:
    labels = labels_of(aligned)
    for utterance in labels["utterances"]:
        count = len(utterance["tokens"])
        frames = (utterance["end"] - utterance["start"]) // 256
        assert sum(utterance["durations"]) == frames
        assert all(len(utterance[name]) == count for name in ("durations", "pitch", "energy"))
        silent = {labels["symbols"].index(symbol) for symbol in " ,.!?"}
        for token, duration in zip(utterance["tokens"], utterance["durations"], strict=True):
            assert duration >= (0 if token in silent else 1)
    pitch, deviation = labels["statistics"]["somebody"]["pitch"]
    assert 110 < np.exp(pitch) < 260 and deviation > 0  # the made voice has 120 to 250 Hz
    assert [u["held_out"] for u in labels["utterances"]] == [False, False, True]


def test_training_lowers_the_loss_goes_on_and_predicts(
    corpora: Path, aligned: Path, tmp_path: Path
) -> None:
    labels, out, state = aligned / "labels.json", tmp_path / "model", tmp_path / "state.pt"
    more = ["--rate", 1e-2, "--every", 0, "--state", state]
    first = run(*training(corpora, labels, out, "--steps", 60, *more))
    assert first.returncode == 0, first.stderr
    lines = [line for line in first.stdout.splitlines() if " coarse " in line]
    losses = [float(line.split(" coarse ")[1].split()[0]) for line in lines]
    assert len(losses) == 60 and losses[-1] < 0.85 * losses[0]
    assert sorted(path.name for path in out.iterdir()) == [
        "model.safetensors", "network.json", "tts.json",
    ]  # fmt: skip
    again = run(*training(corpora, labels, out, "--steps", 61, *more, "--resume"))
    assert "step 60" in again.stdout and "done after 61 steps" in again.stdout, again.stderr
    predicted = run("mels.py", corpora, labels, out, tmp_path / "mels", "--split", "all")
    assert predicted.returncode == 0, predicted.stderr
    for name in TEXTS:
        recorded, forced, free = (
            np.load(tmp_path / "mels" / kind / f"{name}.npy")
            for kind in ("recordings", "forced", "free")
        )
        assert recorded.shape == forced.shape and free.shape[0] == 80
        wave, _ = soundfile.read(tmp_path / "mels" / "wavs" / f"{name}.wav")
        assert len(wave) // 256 == forced.shape[1]
        level = np.sqrt(np.mean(wave[np.abs(wave) > 0.01] ** 2))
        assert 0.04 < level < 0.2  # brought to -22 dB
    # Of what was trained on, the predicted mel is nearer to the recording than a mean would be.
    recorded, forced = (np.load(tmp_path / "mels" / k / "u1.npy") for k in ("recordings", "forced"))
    assert np.abs(recorded - forced).mean() < np.abs(recorded - recorded.mean()).mean()


def test_a_signal_ends_training_well(corpora: Path, aligned: Path, tmp_path: Path) -> None:
    out = tmp_path / "model"
    arguments = training(corpora, aligned / "labels.json", out, "--every", 0)
    process = subprocess.Popen(
        [sys.executable, str(RECIPE / str(arguments[0])), *map(str, arguments[1:])],
        stdout=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("step 3 "):
            process.send_signal(signal.SIGTERM)
            break
    rest, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0 and "stopped by a signal" in rest
    assert (out / "model.safetensors").is_file()


def test_bad_input_is_one_sentence(corpora: Path, aligned: Path, tmp_path: Path) -> None:
    broken = tmp_path / "labels.json"
    broken.write_text("{}")
    for name, arguments, message in [
        ("prepare.py", [corpora, tmp_path, "--speaker", "nobody"], "Cannot read"),
        ("align.py", [tmp_path], "Cannot read the labels"),
        ("train.py", [corpora, broken, "--out", tmp_path / "m"], "Cannot read the labels"),
        ("train.py", [tmp_path, aligned / "labels.json", "--out", tmp_path / "m"], "nothing to"),
        ("intelligibility.py", [tmp_path / "none.txt", tmp_path], "Cannot read"),
    ]:
        refused = run(name, *arguments)
        assert refused.returncode == 2, refused.stderr
        assert refused.stderr.count("\n") == 1 and message in refused.stderr, refused.stderr
    assert not (tmp_path / "m").exists()


def test_the_script_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    script = str(RECIPE / "run.sh")
    for arguments, message in [
        (["--none"], "no option"),
        ([str(tmp_path)], "at least one speaker"),
        ([str(tmp_path / "none"), "a"], "no folder"),
        ([str(tmp_path), "a", "--stage", "5"], "from 1 to 4"),
    ]:
        refused = subprocess.run(["bash", script, *arguments], capture_output=True, text=True)
        assert refused.returncode == 2 and message in refused.stderr
    shown = subprocess.run(["bash", script, "--help"], capture_output=True, text=True)
    assert shown.returncode == 0 and "--held-out" in shown.stdout


def test_only_the_enhancer_is_trained(corpora: Path, tmp_path: Path) -> None:
    model = random_model(enhancing_config())
    save_checkpoint(model, tmp_path / "voice", half=False)
    wavs, mels = tmp_path / "wavs", tmp_path / "mels"
    wavs.mkdir()
    mels.mkdir()
    for name in TEXTS:
        wave, rate = read_audio(corpora / "somebody" / "wavs" / f"{name}.wav")
        soundfile.write(wavs / f"{name}.wav", wave.numpy(), rate)
        mel = model.mel(wave).numpy()
        np.save(mels / f"{name}.npy", mel[:, : mel.shape[1] // 2].repeat(2, axis=1))  # smoother
    arguments = [wavs, mels, tmp_path / "tuned", "--checkpoint", tmp_path / "voice"]
    tuned = run("enhance.py", *arguments, "--batches", 30, "--smoother", 0.3, "--device", "cpu")
    assert tuned.returncode == 0, tuned.stderr
    # Nine batches are the smoother's, but for three of blurs.
    assert "3 recordings, 24 steps of 16" in tuned.stdout
    before, after = (load_checkpoint(tmp_path / name).state_dict() for name in ("voice", "tuned"))
    for name, value in before.items():
        changed = not torch.allclose(value, after[name], atol=1e-3, rtol=1e-3)
        assert changed is False or name.startswith("enhancer."), name
    assert not torch.equal(before["enhancer.output.weight"], after["enhancer.output.weight"])
    arguments[2] = tmp_path / "mixed"
    run("enhance.py", *arguments, "--batches", 2, "--mix", 0, "--device", "cpu")
    mixed = load_checkpoint(tmp_path / "mixed").state_dict()
    for name, value in before.items():
        torch.testing.assert_close(mixed[name], value, atol=1e-3, rtol=1e-3)  # stored in half
    refused = run("enhance.py", wavs, mels, tmp_path / "no", "--checkpoint", tmp_path / "none")
    assert refused.returncode == 2 and refused.stderr.count("\n") == 1


def test_scores_and_their_table(corpora: Path, tmp_path: Path) -> None:
    for package in ("pesq", "distillmos"):
        pytest.importorskip(package)
    wavs, quiet, short = corpora / "somebody" / "wavs", tmp_path / "quiet", tmp_path / "short"
    quiet.mkdir()
    short.mkdir()
    for name in ("u1", "u2"):
        wave, rate = soundfile.read(wavs / f"{name}.wav")
        soundfile.write(quiet / f"{name}.wav", 0.5 * wave, rate)
        soundfile.write(short / f"{name}.wav", wave[: -rate // 4], rate)
    arguments = [wavs, f"quiet={quiet}", f"short={short}", "--against", "quiet"]
    found = run("scores.py", *arguments, "--json", tmp_path / "scores.json")
    assert found.returncode == 0, found.stderr
    rows = [line for line in found.stdout.splitlines() if line.startswith("| ")]
    assert [row.split()[1] for row in rows if "---" not in row] == ["speech", "quiet", "short"]
    table = json.loads((tmp_path / "scores.json").read_text())
    assert (
        table["quiet"]["u1"]["pesq"] > 4.5 and abs(table["quiet"]["u1"]["pulse_sharpness"]) < 0.05
    )
    assert np.isnan(table["short"]["u1"]["pesq"])  # of another length: there is nothing to align
    refused = run("scores.py", wavs, tmp_path / "none")
    assert refused.returncode == 2 and "no folder" in refused.stderr


def test_character_errors() -> None:
    code = (
        "from intelligibility import distance, plain\n"
        "assert plain('It\\u2019s caf\\u00e9-time, 42!') == 'its cafe time'\n"
        "assert [distance('kitten', x) for x in ('kitten', 'sitting', '')] == [0, 3, 6]\n"
        "assert distance('', 'ab') == 2\n"
    )
    path = os.pathsep.join([str(RECIPE), str(ROOT)])
    done = script("-c", code, environment={"PYTHONPATH": path})
    assert done.returncode == 0, done.stderr

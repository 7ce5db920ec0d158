"""`diffwave prepare` as it is called: a process, its output, its exit status."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from patience import PATIENCE
from signals import speech_like

from diffwave import cli

SETTINGS = ["--set", "data.crop_frames=16", "--set", "network=waveform"]  # no envelope to fit


@pytest.fixture
def audio(tmp_path: Path) -> Path:
    folder = tmp_path / "audio"
    folder.mkdir()
    for i in range(4):
        soundfile.write(folder / f"{i}.wav", speech_like(0.6, 22050, i), 22050)
    return folder


def test_a_folder_is_prepared(audio: Path, tmp_path: Path) -> None:
    for i in range(12):
        soundfile.write(audio / f"silent{i}.wav", np.zeros(20000), 22050)
    (tmp_path / "settings.yaml").write_text("data: {prepare: {level: keep}}\n")
    target = tmp_path / "new" / "corpus"
    command = [sys.executable, "-m", "diffwave.cli", "prepare", str(audio), str(target), *SETTINGS]
    result = subprocess.run(
        [*command, "--config", str(tmp_path / "settings.yaml"), "--jobs", "2"],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == [
        "16 files, 0.00 hours",
        "train: 3 clips, 0.00 hours",
        "validation: 1 clips, 0.00 hours",
        "rejected: 12 files (12 silent)",
        f"prepared {target}; the report is {target / 'report.md'}",
    ]
    told = result.stderr.splitlines()
    assert told[0] == f"rejected: {audio / 'silent0.wav'} is silent."
    assert told[10:] == ["rejected: 2 more, see the report"]


def test_again_verified_and_damaged(
    audio: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "corpus"
    command = ["prepare", str(audio), str(target), *SETTINGS]
    assert cli.main(command) == 0
    capsys.readouterr()
    assert cli.main(command) == 0
    assert capsys.readouterr().out == f"{target} is up to date; --force prepares it again.\n"
    assert cli.main(["prepare", str(target), "--verify"]) == 0
    assert capsys.readouterr().out == f"{target}: 4 clips in 1 files, all as written\n"
    shard = target / "data" / "samples-00000.raw"
    shard.write_bytes(b"\1" + shard.read_bytes()[1:])
    assert cli.main(["prepare", str(target), "--verify"]) == 2
    assert "the checksum of samples-00000.raw is wrong." in capsys.readouterr().err
    assert cli.main([*command, "--force"]) == 0
    assert cli.main(["prepare", str(target), "--verify"]) == 0


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["{audio}"], "Where should the prepared corpus be written? Give a second folder."),
        (["{audio}/none", "{out}"], "There is no folder {audio}/none."),
        (["{empty}", "{out}"], "There is no audio (.wav, .flac, .ogg, .opus, .mp3) below {empty}."),
        (["{audio}", "{audio}"], "{audio} is not empty, and holds no prepared corpus"),
        (["{audio}", "{audio}/0.wav"], "it exists and is not a folder"),
        (["{audio}", "{out}", "--set", "data.prepare.levle=keep"], "did you mean data.prepare"),
        (["{audio}", "{out}", "--verify"], "--verify takes the prepared folder alone."),
        (["{audio}", "--verify"], "{audio} holds no prepared corpus."),
        (["{audio}", "{out}", "--set", "data.mel_folder={empty}"], "There is no mel (.npy, "),
        (["{audio}", "{out}", "--jobs", "-1"], "of at least 0, not '-1'"),
    ],
)
def test_bad_input_is_one_sentence(
    audio: Path,
    tmp_path: Path,
    arguments: list[str],
    sentence: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    places = {"audio": audio, "empty": tmp_path / "empty", "out": tmp_path / "out"}
    places["empty"].mkdir()
    try:
        status = cli.main(["prepare", *(word.format(**places) for word in arguments)])
    except SystemExit as stopped:  # argparse's own
        status = int(str(stopped.code))
    assert status == 2
    error = capsys.readouterr().err
    assert sentence.format(**places) in error
    assert error.count("\n") == 1
    assert not places["out"].exists()

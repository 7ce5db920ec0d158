"""`diffwave evaluate`, several systems at once."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
from signals import RMS, speech_like
from told import one_line

from diffwave import cli
from diffwave.audio import read_audio, write_audio
from diffwave.eval.scores import Scores
from diffwave.listening import page

RATE = 22050
OURS = ["--metrics", "mel_l1,pause_level_db"]  # need no library


def squeezed(page: str) -> str:
    """A page without the blanks that make its tables line up."""
    return re.sub(" +", " ", page)


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """ref with six sentences; good and bad, nested, generated for five and six of them."""
    torch.manual_seed(0)
    for folder in ("ref", "one/wavs", "two/wavs"):
        (tmp_path / folder).mkdir(parents=True)
    for i in range(6):
        wave = torch.from_numpy(speech_like(0.5, RATE, i))
        write_audio(tmp_path / "ref" / f"s{i}.flac", wave, RATE)
        if i:
            write_audio(tmp_path / "one/wavs" / f"s{i}.wav", 0.9 * wave, RATE)
        noise = 0.1 * RMS * torch.randn(len(wave))
        write_audio(tmp_path / "two/wavs" / f"s{i}.wav", wave + noise, RATE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def evaluate(*arguments: str) -> int:
    return cli.main(["evaluate", "ref", *arguments])


def test_systems_side_by_side(places: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["good=one/wavs", "two/wavs", *OURS, "--json", "a.json", "--save", "a.csv"]
    assert evaluate(*arguments) == 0
    page = squeezed(capsys.readouterr().out)
    assert "# Evaluation of 2 systems on 5 common utterances" in page
    assert "| metric | better | good | wavs |" in page
    assert "good lacks s0" in page
    document = json.loads(Path("a.json").read_text())
    systems = document["metrics"]["mel_l1"]["systems"]
    assert systems["good"]["mean"] < systems["wavs"]["mean"]
    assert document["common_sentences"] == ["s1", "s2", "s3", "s4", "s5"]
    assert [test["first"] for test in document["tests"]] == ["good", "good"]
    assert len(Path("a.csv").read_text().splitlines()) == 1 + 5 + 6


def test_one_system_is_reported_alone(places: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate("one/wavs", *OURS, "--json", "a.json") == 0
    page = squeezed(capsys.readouterr().out)
    assert "# Evaluation of 5 utterances, 2.5 s" in page
    assert "- nothing was generated for s0" in page
    assert "tests" not in json.loads(Path("a.json").read_text())


def test_a_checkpoint_beside_folders(
    places: Path, tiny_checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = ["--checkpoint", f"ours={tiny_checkpoint}", "--steps", "1", "--device", "cpu"]
    before = set(places.rglob("*"))
    assert evaluate("one/wavs", *model, *OURS, "--only", "s[12].*") == 0
    page = squeezed(capsys.readouterr().out)
    assert "| metric | better | wavs | ours |" in page
    assert "on 2 common utterances" in page
    assert f"- ours: checkpoint {tiny_checkpoint}, 1 steps of ddim, 0 mel-consistency it" in page
    assert set(places.rglob("*")) == before  # what was generated to be scored is gone


def test_the_listening_page_gets_audio_and_scores(
    places: Path,
    tiny_checkpoint: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: dict[str, Any] = {}

    def write_page(
        folder: str, title: str, scores: Scores, notes: list[str], texts: object
    ) -> Path:
        seen.update(scores=scores, notes=notes, texts=texts)
        for files in [scores.references, *scores.generated.values()]:
            for file in files.values():
                assert read_audio(file)[1] == RATE
        return Path(folder) / "index.html"

    monkeypatch.setattr(page, "write_page", write_page)
    (places / "metadata.csv").write_text("s1|raw|One.\ns2|raw|Two.\nodd\n")
    model = ["--checkpoint", str(tiny_checkpoint), "--steps", "1", "--device", "cpu"]
    assert evaluate("one/wavs", "b=two/wavs", *model, *OURS, "--html", "page") == 0
    assert f"Listening page: {Path('page/index.html')}" in capsys.readouterr().out
    scores = seen["scores"]
    assert sorted(scores.references) == [f"s{i}" for i in range(6)]
    assert list(scores.generated) == ["wavs", "b", tiny_checkpoint.name]
    assert list(scores.generated["wavs"]) == ["s1", "s2", "s3", "s4", "s5"]
    assert scores.generated["b"]["s0"] == Path("two/wavs/s0.wav")
    assert scores.wide["pause_level_db"]["b", "s0"] > 10
    assert any("aligned" in note for note in seen["notes"])
    assert seen["texts"] == {"s1": "One.", "s2": "Two."}


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_page_never_takes_the_place_of_anything_else(
    places: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (places / "corpus").mkdir()
    os.rename("ref", "corpus/audio")
    before = contents(places)
    for folder in ("corpus", "corpus/audio", "one", "."):
        assert cli.main(["evaluate", "corpus/audio", "one/wavs", *OURS, "--html", folder]) == 2
        one_line(capsys, f"Cannot write {folder}: it exists and is not an earlier listening page")
    assert contents(places) == before
    (places / "empty").mkdir()
    for _ in range(2):  # the second replaces the first
        assert cli.main(["evaluate", "corpus/audio", "one/wavs", *OURS, "--html", "empty"]) == 0
    assert before.items() <= contents(places).items()


def test_file_names_that_are_not_utf_8(places: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for folder, suffix in (("ref", "flac"), ("one/wavs", "wav")):
        os.rename(f"{folder}/s1.{suffix}", os.fsencode(f"{folder}/s") + b"\xff." + suffix.encode())
    os.rename("one", b"\xfe")
    arguments = [os.fsdecode(b"\xfe/wavs"), *OURS, "--json", "a.json", "--html", "page"]
    assert evaluate(*arguments) == 0
    names = {row["sentence"] for row in json.loads(Path("a.json").read_text())["sentences"]}
    assert r"s\udcff" in names
    assert r"| s\\udcff |" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["one/wavs", "two/wavs"], "called 'wavs', one/wavs and two/wavs: name one"),
        (["a=one/wavs", "a=two/wavs"], "called 'a'"),
        (["one/wavs", "nowhere"], "There is no folder nowhere."),
        (["one/wavs", "b=nowhere"], "There is no folder nowhere."),
        (["x=one/wavs", "y=two/wavs", "--only", "z*"], "No recording in ref matches 'z*'"),
        (["x=one/wavs", "y=two/wavs", "--only", "s0*"], "No utterance is common to x, y"),
        (["one/wavs", "--json", "no/a.json"], "Cannot write no/a.json: there is no folder no."),
        (["one/wavs", "--html", "no/page"], "Cannot write no/page: there is no folder no."),
        (["one/wavs", "--html", "ref/s0.flac"], "it exists and is not a folder"),
        (["one/wavs", "--html", "ref"], "not an earlier listening page"),
        (["one/wavs", "--metrics", "beauty"], "no metric 'beauty'"),
    ],
)
def test_refusals_come_before_any_work(
    places: Path, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = set(places.rglob("*"))
    assert evaluate(*arguments) == 2
    output = capsys.readouterr()
    assert words in output.err
    assert output.err.count("\n") == 1
    assert output.out == ""
    assert set(places.rglob("*")) == before


def test_folders_with_an_equals_sign_are_folders(
    places: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.rename("one/wavs", "lr=0.1")
    assert evaluate("lr=0.1", "two/wavs", *OURS) == 0
    assert "| metric | better | lr=0.1 | wavs |" in squeezed(capsys.readouterr().out)


@pytest.mark.slow
def test_the_command_with_several_processes(places: Path) -> None:
    command = [sys.executable, "-m", "diffwave.cli", "evaluate", "ref", "a=one/wavs", "b=two/wavs"]
    done = subprocess.run(
        [*command, *OURS, "--jobs", "2", "--json", "a.json"],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)},
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert len(json.loads(Path("a.json").read_text())["sentences"]) == 11


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["missing", "--checkpoint", "{tiny}"], "missing"),
        (["{refs}", "--checkpoint", "{refs}"], "not a checkpoint"),
        (["{refs}", "{refs}", "x={refs}", "{refs}"], "Two systems would be called 'refs'"),
        (["{refs}", "{refs}", "--save", "report.pdf"], "report.pdf"),
        (["{refs}", "{refs}", "--metrics", "beauty"], "beauty"),
    ],
)
def test_evaluate_refuses(
    arguments: list[str],
    words: str,
    tmp_path: Path,
    tiny_checkpoint: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "refs").mkdir()
    soundfile.write(tmp_path / "refs" / "a.wav", speech_like(0.5), 22050)
    places = {"refs": tmp_path / "refs", "tiny": tiny_checkpoint}
    assert cli.main(["evaluate", *(word.format(**places) for word in arguments)]) == 2
    one_line(capsys, words)

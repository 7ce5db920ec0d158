"""`diffwave evaluate`, several systems at once."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
import torch
from signals import RMS, speech_like
from told import Refuses, everything, process

from diffwave import cli
from diffwave.base.audio import write_audio

RATE = 22050
OURS = ["--metrics", "mel_l1,pause_level_db"]  # need no library


@pytest.fixture
def places(here: Path) -> Path:
    """ref with six utterances; good and bad, nested, generated for five and six of them."""
    torch.manual_seed(0)
    for folder in ("ref", "one/wavs", "two/wavs"):
        (here / folder).mkdir(parents=True)
    for i in range(6):
        wave = torch.from_numpy(speech_like(0.5, RATE, i))
        write_audio(here / "ref" / f"s{i}.flac", wave, RATE)
        if i:
            write_audio(here / "one/wavs" / f"s{i}.wav", 0.9 * wave, RATE)
        noise = 0.1 * RMS * torch.randn(len(wave))
        write_audio(here / "two/wavs" / f"s{i}.wav", wave + noise, RATE)
    return here


def evaluate(*arguments: str) -> int:
    return cli.main(["evaluate", "ref", *arguments])


def printed(capfd: pytest.CaptureFixture[str]) -> str:
    """The page, without the blanks that make its tables line up."""
    return re.sub(" +", " ", capfd.readouterr().out)


def test_systems_side_by_side(places: Path, capfd: pytest.CaptureFixture[str]) -> None:
    os.rename("one/wavs", "lr=0.1")  # a folder, and no name of a system
    arguments = ["lr=0.1", "two/wavs", *OURS, "--json", "a.json", "--save", "a.csv"]
    assert evaluate(*arguments) == 0
    page = printed(capfd)
    assert "# Evaluation of 2 systems on 5 common utterances" in page
    assert "| metric | better | lr=0.1 | wavs |" in page
    assert "lr=0.1 lacks s0" in page
    document = json.loads(Path("a.json").read_text())
    systems = document["metrics"]["mel_l1"]["systems"]
    assert systems["lr=0.1"]["mean"] < systems["wavs"]["mean"]
    assert document["common_utterances"] == ["s1", "s2", "s3", "s4", "s5"]
    assert [test["first"] for test in document["tests"]] == ["lr=0.1", "lr=0.1"]
    assert len(Path("a.csv").read_text().splitlines()) == 1 + 5 + 6


def test_a_rate_for_all(places: Path, tiny_checkpoint: Path) -> None:
    arguments = ["one/wavs", "--only", "s[12].*", "--metrics", "mel_l1", "--json", "a.json"]
    voice = ["--checkpoint", f"voice={tiny_checkpoint}", "--device", "cpu", "--steps", "2"]
    assert evaluate(*arguments, *voice, "--rate", "16000") == 0
    notes = json.loads(Path("a.json").read_text())["notes"]
    said = "recordings and generated audio compared at 16000 Hz"
    assert notes["wavs"] == [said] and notes["voice"][-1] == said


def test_one_system_is_reported_alone(places: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert evaluate("one/wavs", *OURS, "--json", "a.json") == 0
    page = printed(capfd)
    assert "# Evaluation of 5 utterances, 2.5 s" in page
    assert "- nothing was generated for s0" in page
    assert "tests" not in json.loads(Path("a.json").read_text())


def test_a_checkpoint_beside_folders_and_a_page_to_listen(
    places: Path, tiny_checkpoint: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (places / "metadata.csv").write_text("s1|raw|One.\ns2|raw|Two.\nodd\n")
    model = ["--checkpoint", f"ours={tiny_checkpoint}", "--steps", "1", "--device", "cpu"]
    before = set(places.rglob("*"))
    only = ["--only", "s[012].*", "--html", "page"]
    assert evaluate("one/wavs", "b=two/wavs", *model, *OURS, *only) == 0
    page = printed(capfd)
    assert "| metric | better | wavs | b | ours |" in page
    assert "on 2 common utterances" in page
    note = f"ours: checkpoint {tiny_checkpoint}, 1 steps of ddim, 0 mel-consistency it"
    assert f"- {note}" in page
    assert f"Listening page: {Path('page/index.html')}" in page
    made = set(places.rglob("*")) - before  # what was generated to be scored is gone
    assert all(path.is_relative_to(places / "page") for path in made)
    text = Path("page/data.js").read_text()
    data = json.loads(text.removeprefix("const DATA = ").removesuffix(";\n"))
    assert data["title"] == "wavs, b, ours against ref"
    assert data["systems"] == ["wavs", "b", "ours"]
    assert any(text.startswith(note) for text in data["notes"])
    assert any("aligned" in text for text in data["notes"])
    texts = {utterance["name"]: utterance["text"] for utterance in data["utterances"]}
    assert texts == {"s1": "One.", "s2": "Two.", "s0": None}
    (s0,) = (u for u in data["utterances"] if u["name"] == "s0")
    assert [gain is None for gain in s0["gains"]] == [False, True, False, False]


def test_a_page_never_takes_the_place_of_anything_else(places: Path, refuses: Refuses) -> None:
    (places / "corpus").mkdir()
    os.rename("ref", "corpus/audio")
    before = everything(places)
    command = ["evaluate", "corpus/audio", "one/wavs", *OURS, "--html"]
    for folder in ("corpus", "corpus/audio", "one", "."):
        words = f"Cannot write {folder}: it exists and is not an earlier listening page"
        refuses([*command, folder], words)
    (places / "empty").mkdir()
    for _ in range(2):  # the second replaces the first
        assert cli.main([*command, "empty"]) == 0
    assert before.items() <= everything(places).items()


def test_file_names_that_are_not_utf_8(places: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for folder, suffix in (("ref", "flac"), ("one/wavs", "wav")):
        os.rename(f"{folder}/s1.{suffix}", os.fsencode(f"{folder}/s") + b"\xff." + suffix.encode())
    os.rename("one", b"\xfe")
    arguments = [os.fsdecode(b"\xfe/wavs"), *OURS, "--json", "a.json", "--html", "page"]
    assert evaluate(*arguments) == 0
    names = {row["utterance"] for row in json.loads(Path("a.json").read_text())["utterances"]}
    assert r"s\udcff" in names
    assert r"| s\\udcff |" in printed(capfd)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["one/wavs", "two/wavs"], "called 'wavs', one/wavs and two/wavs: name one"),
        (["a=one/wavs", "a=two/wavs"], "called 'a'"),
        (["one/wavs", "nowhere"], "There is no folder nowhere."),
        (["x=one/wavs", "y=two/wavs", "--only", "z*"], "No recording in ref matches 'z*'"),
        (["x=one/wavs", "y=two/wavs", "--only", "s0*"], "No utterance is common to x, y"),
        (["one/wavs", "--json", "no/a.json"], "Cannot write no/a.json: there is no folder no."),
        (["one/wavs", "--html", "no/page"], "Cannot write no/page: there is no folder no."),
        (["one/wavs", "--html", "ref/s0.flac"], "it exists and is not a folder"),
        (["one/wavs", "--html", "ref"], "not an earlier listening page"),
        (["one/wavs", "--metrics", "beauty"], "no metric 'beauty'"),
        (["one/wavs", "--save", "report.pdf"], "report.pdf"),
        (["--checkpoint", "ref"], "not a checkpoint"),
    ],
)
def test_refusals_come_before_any_work(
    places: Path, arguments: list[str], words: str, refuses: Refuses
) -> None:
    refuses(["evaluate", "ref", *arguments], words)


@pytest.mark.slow
def test_the_command_with_several_processes(places: Path) -> None:
    command = ["evaluate", "ref", "a=one/wavs", "b=two/wavs", *OURS]
    done = process(*command, "--jobs", 2, "--json", "a.json")
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert len(json.loads(Path("a.json").read_text())["utterances"]) == 11

"""The listening page: what the folder holds."""

from __future__ import annotations

import base64
import io
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from listening import NASTY, RATE, SECONDS, SYSTEMS, UTTERANCES, page_arguments, wave_of
from PIL import Image
from signals import speech_like

from diffwave.errors import InputError
from diffwave.listening import page
from diffwave.listening.page import write_page


def data_of(folder: Path) -> dict[str, Any]:
    text = (folder / "data.js").read_text()
    data: dict[str, Any] = json.loads(re.fullmatch(r"const DATA = (.*);\n", text, re.S)[1])  # type: ignore[index]
    return data


def audio_of(folder: Path, utterance: int) -> list[tuple[Any, int] | None]:
    """Every track of an utterance, decoded."""
    text = (folder / "audio" / f"{utterance}.js").read_text()
    tracks = json.loads(re.fullmatch(r"receiveAudio\(\d+, (.*)\);\n", text, re.S)[1])  # type: ignore[index]
    return [
        None if track is None else soundfile.read(io.BytesIO(base64.b64decode(track)))
        for track in tracks
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_page(**page_arguments(tmp_path_factory.mktemp("page"))).parent


def test_everything_is_in_the_folder_and_nothing_is_fetched(folder: Path) -> None:
    html = (folder / "index.html").read_text()
    linked = re.findall(r'(?:src|href)="([^"#]+)"', html)
    assert "data.js" in linked and "assets/page.css" in linked
    assert all((folder / name).is_file() for name in linked if name != "data:,")
    for asset in (folder / "assets").iterdir():
        text = asset.read_text()
        assert not re.search(r"https?://|//cdn|fetch\(|XMLHttpRequest|@import|import ", text), asset
    assert not [path for path in folder.parent.iterdir() if path.name.startswith(".")]


def test_audio_is_what_it_was(folder: Path) -> None:
    for utterance in range(3):
        tracks = audio_of(folder, utterance)
        assert len(tracks) == 4
        for track, decoded in enumerate(tracks):
            if (utterance, track) == (2, 3):
                assert decoded is None
                continue
            assert decoded is not None and decoded[1] == RATE
            np.testing.assert_allclose(decoded[0], wave_of(utterance, track), atol=1e-4)


def test_names_come_through_unharmed_and_cannot_act(folder: Path) -> None:
    data = data_of(folder)
    assert data["systems"] == list(SYSTEMS)
    assert [utterance["name"] for utterance in data["utterances"]] == list(UTTERANCES)
    assert data["title"] == f"Title {NASTY}" and data["notes"] == [f"Note {NASTY}"]
    html = (folder / "index.html").read_text()
    assert "<img" not in html and "&lt;img" in html
    assert all(re.fullmatch(r"[\w.-]+", path.name) for path in folder.rglob("*"))


def test_scores_and_what_is_not_defined(folder: Path) -> None:
    data = data_of(folder)
    assert [metric["name"] for metric in data["metrics"]] == ["pesq", "loudness_db"]
    assert data["values"][1][0] == [2.0, 2.5, None]  # the third utterance was not scored
    assert data["values"][0][1] == [-0.5, None, None]  # NaN
    pesq, loudness = data["means"][0]
    assert pesq["mean"] == pytest.approx(3.25) and pesq["n"] == 2
    assert 3.0 <= pesq["low"] < pesq["high"] <= 3.5
    assert loudness == {"mean": -0.5, "low": None, "high": None, "n": 1}
    assert data["compared"] == 2 and len(data["tests"]) == 2 * 3
    assert data["tests"][1] == {
        "metric": 0, "pair": [0, 2], "difference": 2.0, "n": 2, "p": 0.5, "holm": 1.0
    }  # fmt: skip
    assert data["metrics"][0]["title"] == "PESQ" and data["metrics"][0]["about"]
    assert [utterance["text"] for utterance in data["utterances"]] == [f"Text {NASTY}", None, None]


def test_pictures_of_an_utterance_are_equally_large(folder: Path) -> None:
    for utterance in range(3):
        files = sorted((folder / "pictures").glob(f"{utterance}-*.png"))
        assert len(files) == (5 if utterance == 2 else 7)
        sizes = set()
        for file in files:
            with Image.open(file) as image:
                sizes.add(image.size)
        assert len(sizes) == 1


def test_delay_and_length_do_not_give_a_system_away(tmp_path: Path) -> None:
    arguments = page_arguments(tmp_path)
    clean = speech_like(SECONDS[0], RATE, seed=0)
    late = np.concatenate([np.zeros(200, np.float32), clean, np.zeros(4000, np.float32)])
    early_and_short = clean[160:-3000]
    for name, samples in zip(SYSTEMS, (late, early_and_short, clean), strict=True):
        soundfile.write(
            arguments["scores"].generated[name]["first"], samples, RATE, subtype="FLOAT"
        )
    folder = write_page(**arguments).parent
    original, *tracks = (track[0] for track in audio_of(folder, 0) if track is not None)
    assert [len(track) for track in tracks] == [len(original)] * 3
    np.testing.assert_allclose(tracks[0], original, atol=1e-4)
    np.testing.assert_allclose(tracks[1][160:-3000], original[160:-3000], atol=1e-4)
    notes = data_of(folder)["notes"][1:]
    assert [note.split(" of ")[0] for note in notes] == ["1", "1"]
    assert "zebra" in notes[0] and NASTY in notes[1]


def test_other_formats_rates_and_channels(tmp_path: Path) -> None:
    arguments = page_arguments(tmp_path)
    clean = speech_like(SECONDS[0], 24000, seed=0)
    soundfile.write(tmp_path / "a.ogg", clean, 24000)
    soundfile.write(tmp_path / "b.wav", np.stack([clean, clean], 1), 24000, subtype="DOUBLE")
    soundfile.write(tmp_path / "loud.wav", 20 * wave_of(0, 0), RATE, subtype="FLOAT")
    for name, file in zip(SYSTEMS, ("a.ogg", "b.wav", "loud.wav"), strict=True):
        arguments["scores"].generated[name]["first"] = tmp_path / file
    folder = write_page(**arguments).parent
    tracks = [track for track in audio_of(folder, 0) if track is not None]
    assert {rate for _, rate in tracks} == {RATE} and len({len(track) for track, _ in tracks}) == 1
    assert np.abs(tracks[3][0]).max() == pytest.approx(1, abs=1e-4)  # clipped, not wrapped


def test_same_level_never_clips(folder: Path) -> None:
    gains = data_of(folder)["utterances"][0]["gains"]
    waves = [track[0] for track in audio_of(folder, 0) if track is not None]
    levels = [gain * np.sqrt(np.mean(w**2)) for gain, w in zip(gains, waves, strict=True)]
    np.testing.assert_allclose(levels, levels[0], rtol=1e-3)
    assert max(gain * np.abs(w).max() for gain, w in zip(gains, waves, strict=True)) <= 1.0001
    assert data_of(folder)["utterances"][2]["gains"][3] is None


def test_silence_and_one_sample(tmp_path: Path) -> None:
    arguments = page_arguments(tmp_path)
    soundfile.write(arguments["scores"].references["first"], np.zeros(RATE, np.float32), RATE)
    soundfile.write(
        arguments["scores"].generated["zebra"]["two words"], np.zeros(1, np.float32), RATE
    )
    folder = write_page(**arguments).parent
    assert all(0 < gain < 10 for gain in data_of(folder)["utterances"][0]["gains"])


def test_same_input_same_page_other_input_other_answers(tmp_path: Path) -> None:
    first = write_page(**page_arguments(tmp_path)).parent
    files = {path.name: path.read_bytes() for path in first.rglob("*") if path.is_file()}
    second = write_page(**page_arguments(tmp_path, folder=tmp_path / "again")).parent
    assert files == {path.name: path.read_bytes() for path in second.rglob("*") if path.is_file()}
    third = write_page(**page_arguments(tmp_path, folder=tmp_path / "third", title="Other")).parent
    assert data_of(first)["id"] != data_of(third)["id"]


def test_a_failure_leaves_the_old_page(tmp_path: Path) -> None:
    arguments = page_arguments(tmp_path)
    folder = write_page(**arguments).parent
    before = (folder / "index.html").read_bytes()
    arguments["scores"].generated["zebra"]["two words"].write_bytes(b"not audio")
    with pytest.raises(InputError, match="not a sound file"):
        write_page(**arguments)
    assert (folder / "index.html").read_bytes() == before
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_nothing_to_show(tmp_path: Path) -> None:
    scores = replace(page_arguments(tmp_path)["scores"], references={})
    with pytest.raises(InputError, match="at least one"):
        write_page(**page_arguments(tmp_path, scores=scores))
    assert not (tmp_path / "page").exists()


def test_two_utterances_whose_names_differ_in_case(tmp_path: Path) -> None:
    arguments = page_arguments(tmp_path)
    arguments["scores"].references["FIRST"] = arguments["scores"].references["two words"]
    folder = write_page(**arguments).parent
    assert audio_of(folder, 3)[1:] == [None, None, None]


def test_assets_are_in_the_package() -> None:
    names = {path.name for path in (Path(page.__file__).parent / "assets").iterdir()}
    assert {"index.html", "page.css", "app.js"} <= names

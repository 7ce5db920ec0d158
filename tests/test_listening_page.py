"""The listening page: what the folder holds, and its pictures."""

from __future__ import annotations

import base64
import io
import json
import math
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from made_scores import NASTY, RATE, SECONDS, SYSTEMS, UTTERANCES, page_arguments, wave_of
from PIL import Image
from signals import speech_like

from diffwave.base.errors import InputError
from diffwave.listening.page import write_page
from diffwave.listening.pictures import (
    MAX_COLUMNS,
    RANGE_DB,
    common_top,
    difference_png,
    levels_db,
    scale,
    spectrogram_png,
)


def data_of(folder: Path) -> dict[str, Any]:
    text = (folder / "data.js").read_text()
    data: dict[str, Any] = json.loads(re.fullmatch(r"const DATA = (.*);\n", text, re.S)[1])  # type: ignore[index]
    return data


def audio_of(folder: Path, utterance: int) -> list[np.ndarray | None]:
    """Every track of an utterance, decoded."""
    text = (folder / "audio" / f"{utterance}.js").read_text()
    tracks = json.loads(re.fullmatch(r"receiveAudio\(\d+, (.*)\);\n", text, re.S)[1])  # type: ignore[index]
    found: list[np.ndarray | None] = []
    for track in tracks:
        wave, rate = soundfile.read(io.BytesIO(base64.b64decode(track))) if track else (None, RATE)
        assert rate == RATE
        found.append(wave)
    return found


def image_of(png: bytes | Path) -> np.ndarray:
    """RGB, [rows, columns, 3]."""
    with Image.open(io.BytesIO(png) if isinstance(png, bytes) else png) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB")).astype(int)


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


def test_audio_is_what_it_was_and_pictures_are_equally_large(folder: Path) -> None:
    for utterance in range(3):
        tracks = audio_of(folder, utterance)
        missing = [3] if utterance == 2 else []
        assert [track for track, wave in enumerate(tracks) if wave is None] == missing
        for track, wave in enumerate(tracks):
            if wave is not None:
                np.testing.assert_allclose(wave, wave_of(utterance, track), atol=1e-4)
        files = sorted((folder / "pictures").glob(f"{utterance}-*.png"))
        assert len(files) == 7 - 2 * len(missing)
        assert len({image_of(file).shape for file in files}) == 1


def test_names_come_through_unharmed_and_cannot_act(folder: Path) -> None:
    data = data_of(folder)
    assert data["systems"] == list(SYSTEMS)
    assert [utterance["name"] for utterance in data["utterances"]] == list(UTTERANCES)
    assert [utterance["text"] for utterance in data["utterances"]] == [f"Text {NASTY}", None, None]
    assert data["title"] == f"Title {NASTY}" and data["notes"] == [f"Note {NASTY}"]
    html = (folder / "index.html").read_text()
    assert "<img" not in html and "&lt;img" in html
    assert all(re.fullmatch(r"[\w.-]+", path.name) for path in folder.rglob("*"))


def test_scores_and_what_is_not_defined(folder: Path) -> None:
    data = data_of(folder)
    assert [metric["name"] for metric in data["metrics"]] == ["pesq", "loudness_db"]
    assert data["metrics"][0]["title"] == "PESQ" and data["metrics"][0]["about"]
    assert data["values"][1][0] == [2.0, 2.5, None]
    assert data["values"][0][1] == [-0.5, None, None]
    pesq, loudness = data["means"][0]
    assert pesq["mean"] == pytest.approx(3.25) and pesq["n"] == 2
    assert 3.0 <= pesq["low"] < pesq["high"] <= 3.5
    assert loudness == {"mean": -0.5, "low": None, "high": None, "n": 1}
    assert data["compared"] == 2 and len(data["tests"]) == 2 * 3
    assert data["tests"][1] == {
        "metric": 0, "pair": [0, 2], "difference": 2.0, "n": 2, "p": 0.5, "holm": 1.0
    }  # fmt: skip


def test_delay_and_length_do_not_give_a_system_away(tmp_path: Path) -> None:
    arguments = page_arguments(tmp_path)
    clean = speech_like(SECONDS[0], RATE, seed=0)
    late = np.concatenate([np.zeros(200, np.float32), clean, np.zeros(4000, np.float32)])
    scores = arguments["scores"]
    for name, lag, samples in zip(
        SYSTEMS, (200, -160, 0), (late, clean[160:-3000], clean), strict=True
    ):
        scores.table.loc[(name, "first"), "lag_ms"] = 1000 * lag / RATE  # as scoring found it
        soundfile.write(scores.generated[name]["first"], samples, RATE, subtype="FLOAT")
    original, one, other, _ = audio_of(write_page(**arguments).parent, 0)
    assert original is not None and one is not None and other is not None
    assert len(one) == len(other) == len(original)
    np.testing.assert_allclose(one, original, atol=1e-4)
    np.testing.assert_allclose(other[160:-3000], original[160:-3000], atol=1e-4)
    assert not other[:160].any() and not other[-3000:].any()


def test_other_formats_rates_and_channels(tmp_path: Path) -> None:
    arguments = page_arguments(tmp_path)
    clean = speech_like(SECONDS[0], 24000, seed=0)
    soundfile.write(tmp_path / "a.ogg", clean, 24000)
    soundfile.write(tmp_path / "b.wav", np.stack([clean, clean], 1), 24000, subtype="DOUBLE")
    soundfile.write(tmp_path / "loud.wav", 20 * wave_of(0, 0), RATE, subtype="FLOAT")
    for name, file in zip(SYSTEMS, ("a.ogg", "b.wav", "loud.wav"), strict=True):
        arguments["scores"].generated[name]["first"] = tmp_path / file
    tracks = [track for track in audio_of(write_page(**arguments).parent, 0) if track is not None]
    assert len(tracks) == 4 and len({len(track) for track in tracks}) == 1
    assert np.abs(tracks[3]).max() == pytest.approx(1, abs=1e-4)  # clipped, not wrapped


def test_same_level_never_clips(folder: Path, tmp_path: Path) -> None:
    gains = data_of(folder)["utterances"][0]["gains"]
    waves = [wave for wave in audio_of(folder, 0) if wave is not None]
    levels = [gain * np.sqrt(np.mean(w**2)) for gain, w in zip(gains, waves, strict=True)]
    np.testing.assert_allclose(levels, levels[0], rtol=1e-3)
    assert max(gain * np.abs(w).max() for gain, w in zip(gains, waves, strict=True)) <= 1.0001
    assert data_of(folder)["utterances"][2]["gains"][3] is None
    arguments = page_arguments(tmp_path)  # silence, and one sample
    soundfile.write(arguments["scores"].references["first"], np.zeros(RATE, np.float32), RATE)
    soundfile.write(arguments["scores"].generated["zebra"]["two words"], np.zeros(1), RATE)
    for utterance in data_of(write_page(**arguments).parent)["utterances"][:2]:
        assert all(0 < gain < 10 for gain in utterance["gains"])


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
    nothing = replace(arguments["scores"], references={})
    with pytest.raises(InputError, match="at least one"):
        write_page(**page_arguments(tmp_path, scores=nothing))
    assert (folder / "index.html").read_bytes() == before
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_two_utterances_whose_names_differ_in_case(tmp_path: Path) -> None:
    arguments = page_arguments(tmp_path)
    arguments["scores"].references["FIRST"] = arguments["scores"].references["two words"]
    assert audio_of(write_page(**arguments).parent, 3)[1:] == [None, None, None]


def sine(hertz: float, rate: int, amplitude: float = 1.0) -> torch.Tensor:
    return amplitude * torch.sin(2 * math.pi * hertz * torch.arange(rate // 2) / rate)


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 24000, 44100, 48000])
@pytest.mark.parametrize("amplitude", [1.0, 0.01])
def test_a_sine_has_its_level_at_its_frequency(rate: int, amplitude: float) -> None:
    levels = levels_db(sine(1000, rate, amplitude), rate)
    middle = levels[:, levels.shape[1] // 2]
    bins = len(middle)
    assert abs(int(middle.argmax()) * rate / (2 * bins) - 1000) <= rate / (4 * bins)
    # Between two bins a Hann window's peak is up to 1.42 dB lower.
    assert -1.5 < middle.max() - 20 * math.log10(amplitude) <= 0.01


def test_a_click_is_where_it_is() -> None:
    for length in (16000, 320000):  # also when columns are averaged
        wave = torch.zeros(length)
        wave[12000] = 1
        levels = levels_db(wave, 16000)
        assert levels.shape[1] <= MAX_COLUMNS
        loudest = np.flatnonzero(levels[100] > levels[100].max() - 3).mean() + 0.5
        assert loudest / levels.shape[1] == pytest.approx(12000 / length, abs=0.006)
    for length in (1, 2, 95, 96, 97, 1000):
        levels = levels_db(torch.ones(length), 16000)
        assert levels.shape == (512, math.ceil(length / 96)) and np.isfinite(levels).all()


def test_louder_is_brighter_and_low_is_below() -> None:
    levels = levels_db(sine(500, 16000), 16000)
    image = image_of(spectrogram_png(levels, 0.0))
    assert image.shape == (*levels.shape, 3)
    brightness = image.sum(axis=2).mean(axis=1)
    assert brightness.argmax() == levels.shape[0] - 1 - levels.mean(axis=1).argmax()
    ramp = np.linspace(-RANGE_DB, 0, 64, dtype=np.float32)[:, None]
    shades = image_of(spectrogram_png(ramp, 0.0))[::-1, 0]
    assert (np.diff(shades.sum(axis=1)) > 0).all()
    for beyond in (-200.0, 50.0):  # takes the colour at the end of the scale
        end = image_of(spectrogram_png(np.full((1, 1), beyond, np.float32), 0.0))[0, 0]
        assert (end == shades[0 if beyond < 0 else -1]).all()
    colours = scale(0.0)["colours"]
    assert colours[0] == "#000003" and colours[-1] == "#fbfcbf"  # magma's


def test_difference_is_blue_where_quieter_and_pale_where_equal() -> None:
    reference = np.array([[-40, -40, -40, -150]], np.float32)
    levels = np.array([[-40, -20, -60, -190]], np.float32)
    equal, louder, quieter, unseen = image_of(difference_png(levels, reference, 0.0))[0]
    assert louder[0] > louder[2] and quieter[2] > quieter[0]
    assert equal.min() > 230 and (unseen == equal).all()


def test_common_top() -> None:
    quiet, loud = (np.full((10, 10), level, np.float32) for level in (-52.0, -31.0))
    assert common_top([quiet, loud]) == -30
    assert common_top([np.full((4, 4), -200, np.float32)]) == -RANGE_DB
    assert common_top([np.full((4, 4), 3, np.float32)]) == 0


@pytest.mark.parametrize("library", ["matplotlib", "PIL"])
def test_a_missing_library_is_named(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(InputError, match="pip install"):
        spectrogram_png(np.zeros((2, 2), np.float32), 0.0)

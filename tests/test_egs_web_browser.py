"""The page of egs/web in a real browser: spoken, seen, stopped, and given what is no mel."""

from __future__ import annotations

import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from browser import MISSING, Browser
from patience import until
from signals import speech_like
from tiny import speech_mel
from web_page import ORT, WEB, load_builder, served

if not (ORT / "dist").is_dir():
    MISSING = MISSING or f"onnxruntime-web is not there: npm ci --prefix {WEB.parent.name}/web"

pytestmark = [pytest.mark.slow, pytest.mark.skipif(MISSING is not None, reason=str(MISSING))]
SCALE = 1e-3
"""Of full scale: how far the browser's wave may be from Python's."""


@pytest.fixture(scope="module")
def python(web_voice: Path) -> Any:
    from diffwave.onnx import Vocoder

    return Vocoder(web_voice / "graphs", threads=1)


@pytest.fixture(scope="module")
def server(web_voice: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    page = tmp_path_factory.mktemp("web") / "page"
    assert load_builder().main([str(page), "--voice", str(web_voice / "graphs")]) == 0
    with served(page) as address:
        yield address


class Page(Browser):
    """The page, and what a user does to it."""

    def load(self) -> None:
        super().load()
        until(lambda: self.one(".engine").text == "Ready, on one processor core")

    def give(self, path: Path) -> None:
        """Choose a file, which is spoken at once."""
        self.one("input[type=file]").send_keys(str(path))

    def set(self, name: str, value: object) -> None:
        self.js(
            "const input = document.querySelector(arguments[0]); input.value = arguments[1];"
            "input.dispatchEvent(new Event('input', { bubbles: true }))",
            *(f"input[name={name}]", str(value)),
        )

    def speak(self) -> None:
        self.click(".speak")

    def until_done(self) -> None:
        until(lambda: self.all(".factor") or self.problem())
        assert self.problem() == ""

    def problem(self) -> str:
        problem = self.one("p.problem")
        return problem.text if problem.is_displayed() else ""

    def wave(self) -> np.ndarray:
        """The wav that the page saves, as samples in -1..1."""
        with wave.open(str(self.downloaded(self.one(".download"), r".*\.wav"))) as file:
            assert (file.getframerate(), file.getnchannels()) == (22050, 1)
            return np.frombuffer(file.readframes(file.getnframes()), "<i2") / 32767


@pytest.fixture
def page(driver: Any, server: str) -> Iterator[Page]:
    page = Page(driver, f"{server}?engine=wasm")
    with page.watched(lambda url: url.startswith(("about:", "data:", "blob:", server))):
        page.load()
        yield page


@pytest.mark.parametrize(
    ("steps", "options"),
    [
        (1, {}),
        (2, {"seed": 7, "enhance": False}),
        (4, {"seed": -3, "n_iter": 0, "transpose": 4.0}),
    ],
    ids=str,
)
def test_the_wave_is_that_of_python(
    steps: int, options: dict[str, Any], page: Page, python: Any, tmp_path: Path
) -> None:
    mel = speech_mel(0.8).numpy()
    path = tmp_path / "mel.npy"
    np.save(path, np.asfortranarray(mel.astype(np.float64)))
    page.button(str(steps)).click()
    if "n_iter" in options:
        page.set("iterations", options["n_iter"])
    page.set("seed", options.get("seed", 0))
    page.set("pitch", options.get("transpose", 0))
    if not options.get("enhance", True):
        page.click("input[name=enhance]")
    page.give(path)
    page.until_done()
    found, wanted = page.wave(), python(mel, steps=steps, **options)
    assert found.shape == wanted.shape
    assert np.abs(wanted).max() > 30 * SCALE
    assert np.abs(found - wanted.clip(-1, 1)).max() < SCALE


def test_long_speech_comes_in_pieces_without_a_seam(
    page: Page, python: Any, tmp_path: Path
) -> None:
    mel = np.tile(speech_mel(2.0).numpy(), 7)  # 1204 frames; 1024 are spoken at a time
    np.save(tmp_path / "long.npy", mel)
    page.give(tmp_path / "long.npy")
    page.until_done()
    # The times of pulses add up the rounding of F0, so the difference grows with the length.
    assert np.abs(page.wave() - python(mel).clip(-1, 1)).max() < 5 * SCALE


def test_the_voice_that_pytorch_has_says_the_same(
    page: Page, web_voice: Path, tmp_path: Path
) -> None:
    from diffwave import Vocoder

    mel = speech_mel(0.8).numpy()
    np.save(tmp_path / "mel.npy", mel.T.astype(np.float32))
    page.give(tmp_path / "mel.npy")
    page.until_done()
    wanted = Vocoder.from_pretrained(web_voice / "checkpoint", "cpu")(mel).numpy()
    assert np.abs(page.wave() - wanted.clip(-1, 1)).max() < 2 * SCALE


@pytest.mark.parametrize(("suffix", "rate"), [("wav", 22050), ("flac", 44100), ("ogg", 48000)])
def test_a_recording_is_analysed_and_spoken(
    suffix: str, rate: int, page: Page, python: Any, tmp_path: Path
) -> None:
    import torch

    from diffwave.mel import MelSpectrogram, preset

    samples = speech_like(1.0, rate)
    path = tmp_path / f"speech.{suffix}"
    soundfile.write(path, np.stack((samples, samples), axis=1), rate)
    page.give(path)
    page.until_done()
    panels = page.texts(".panel")
    assert panels == ["Recording", "Source", "Step 1", "3 iterations"]
    found = page.wave()
    assert abs(len(found) - 22050) <= 256
    if rate == 22050:
        decoded, _ = soundfile.read(path, dtype="float32")
        mel = MelSpectrogram(preset("hifigan"))(torch.from_numpy(decoded.mean(1))).numpy()
        assert np.abs(found - python(mel).clip(-1, 1)).max() < 10 * SCALE


PAINTED = """
const canvas = document.querySelectorAll(arguments[0])[arguments[1]];
const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
return new Set(new Uint32Array(data.buffer)).size;
"""


# A machine may take longer to press a key than the speech lasts.
NEARLY_STILL = """
const { createBufferSource } = BaseAudioContext.prototype;
BaseAudioContext.prototype.createBufferSource = function () {
    const source = createBufferSource.call(this);
    source.playbackRate.value = 1e-3;
    return source;
};
"""


def test_the_film_shows_every_state_and_plays_it(page: Page) -> None:
    page.button("4").click()
    page.click(".example")
    page.until_done()
    assert page.texts(".panel") == [
        "Source", "Step 1", "Step 2", "Step 3", "Step 4", "2 iterations",
    ]  # fmt: skip
    for panel in range(6):
        assert page.js(PAINTED, ".panel canvas", panel) > 40
    assert page.js(PAINTED, ".wave canvas", 0) > 1
    assert page.texts(".panel[aria-pressed=true]") == ["2 iterations"]
    pictures = set()
    for key, title in (("1", "Source"), ("3", "Step 2"), ("6", "2 iterations")):
        page.press(key)
        assert page.texts(".panel[aria-pressed=true]") == [title]
        assert page.one(".tag").text == title
        pictures.add(page.js("return document.querySelector('.picture canvas').toDataURL()"))
    assert len(pictures) == 3
    factor = float(page.one(".factor").get_attribute("data-factor"))
    assert 0 < factor < 60
    assert "6.25 s of speech" in page.one(".cost").text

    assert page.one(".play").get_attribute("aria-label") == "Play"
    page.js(NEARLY_STILL)
    page.press(" ")
    until(lambda: page.one(".play").get_attribute("aria-label") == "Pause")
    until(lambda: page.js("return document.querySelector('.position').valueAsNumber") > 0)
    page.press("1")  # goes on where it was
    page.press(" ")
    until(lambda: page.one(".play").get_attribute("aria-label") == "Play")
    assert page.js("return document.querySelector('.position').valueAsNumber") > 0
    page.click(".picture")  # its middle
    position = page.js("return document.querySelector('.position').valueAsNumber")
    assert position == pytest.approx(6.25 / 2, abs=0.1)


def test_stopping_and_speaking_again(page: Page) -> None:
    page.set("iterations", 1000)
    page.click(".example")
    until(lambda: page.one(".cancel").is_displayed())
    until(lambda: page.one("progress").get_attribute("value") not in ("0", None))
    page.button("Stop").click()
    until(lambda: not page.one(".cancel").is_displayed())
    assert not page.all(".factor") and not page.one(".download").is_enabled()
    page.set("iterations", 1)
    page.speak()
    page.until_done()
    assert page.one(".download").is_enabled()


def test_a_new_file_replaces_what_is_being_spoken(page: Page, python: Any, tmp_path: Path) -> None:
    mel = speech_mel(0.5).numpy()
    np.save(tmp_path / "short.npy", mel)
    page.set("iterations", 1000)
    page.click(".example")
    until(lambda: page.texts(".panel"))
    page.set("iterations", 2)
    page.give(tmp_path / "short.npy")
    page.until_done()
    wanted = python(mel, n_iter=2)
    assert np.abs(page.wave() - wanted.clip(-1, 1)).max() < SCALE


BAD = {
    "a.npy": (b"not an array", "This is not a .npy file."),
    "empty.npy": (b"", "empty.npy is empty."),
    "<b>.txt": (b"words", "<b>.txt is neither a .npy nor a recording that this browser decodes."),
    "cut.flac": (b"fLaC\0\0", "cut.flac is neither a .npy nor a recording"),
}


def test_bad_files_get_one_sentence_and_the_page_goes_on(page: Page, tmp_path: Path) -> None:
    np.save(tmp_path / "shape.npy", np.zeros((79, 5)))
    np.save(tmp_path / "nan.npy", np.full((80, 5), np.nan))
    np.save(tmp_path / "decibels.npy", np.full((80, 5), -60.0))
    soundfile.write(tmp_path / "short.wav", np.zeros(100), 22050)
    sentences = {
        "shape.npy": "must have the shape [80, frames]",
        "nan.npy": "holds NaN or infinity",
        "decibels.npy": "do not fit the convention hifigan",
        "short.wav": "too short",
    }
    for name, (data, words) in BAD.items():
        (tmp_path / name).write_bytes(data)
        sentences[name] = words
    for name, words in sentences.items():
        page.give(tmp_path / name)
        until(lambda words=words: words in page.problem())
        assert page.problem().endswith(".") and "\n" not in page.problem()
        assert not page.one(".cancel").is_displayed()
    np.save(tmp_path / "good.npy", speech_mel(0.3).numpy())
    page.set("seed", "1.5")  # which the browser itself complains of
    page.give(tmp_path / "good.npy")
    until(lambda: page.one(".chosen-file").text == "good.npy")
    page.speak()
    assert page.js("return document.activeElement.name") == "seed"
    assert not page.one(".cancel").is_displayed() and not page.all(".factor")
    page.set("seed", "2")
    page.speak()
    page.until_done()


def test_every_control_has_a_name_and_is_reached_by_keyboard(page: Page) -> None:
    page.click(".example")
    page.until_done()
    controls = [
        element
        for element in page.all("button, input")
        if element.is_displayed() and element.is_enabled()
    ]
    assert len(controls) > 12
    page.js("arguments[0].focus()", controls[0])
    reached = [controls[0]]
    reached += [page.tab() for _ in controls[1:]]
    assert reached == controls  # in the order in which they stand
    for element in controls:
        assert element.accessible_name.strip(), element.get_attribute("outerHTML")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_fits_the_screen_in_either_scheme(page: Page, width: int, scheme: str) -> None:
    with page.screen(width, scheme):
        page.load()
        page.button("4").click()
        page.set("iterations", 100)  # the longest label of a preset
        page.click(".example")
        page.until_done()
        page.assert_fits(width, texts=20)
        cut = page.js(
            "return [...document.querySelectorAll('.panel span, button')].filter("
            "(e) => e.scrollWidth > e.clientWidth + 1).map((e) => e.textContent)"
        )
        assert cut == []

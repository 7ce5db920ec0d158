"""The listening page in a real browser: heard, seen, sorted, and blind."""

from __future__ import annotations

import csv
import io
import itertools
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import MISSING, Browser
from made_scores import NASTY, SECONDS, SYSTEMS, UTTERANCES, page_arguments
from patience import until

from diffwave.listening.page import write_page

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(MISSING is not None, reason=str(MISSING)),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_page(**page_arguments(tmp_path_factory.mktemp("page"))).parent


class Listening(Browser):
    """The page, and what a listener does to it."""

    def open(self, view: str = "listen", fresh: bool = True) -> None:
        self.load()
        if fresh:
            self.js("localStorage.clear()")
            self.load()
        self.go(view)

    def go(self, view: str) -> None:
        self.click(f'nav a[href="#{view}"]')
        until(lambda: self.one("nav a[aria-current]").get_attribute("hash") == f"#{view}")
        if view == "listen":
            self.until_ready()

    def until_ready(self) -> None:
        until(lambda: self.js("return player.ready"))

    def chosen(self) -> list[str]:
        return self.texts(".version[aria-pressed=true] span")

    def visible_pictures(self) -> list[str]:
        images = [image for image in self.all(".picture img") if image.is_displayed()]
        assert all(self.js("return arguments[0].decode().then(() => true)", i) for i in images)
        return [image.get_attribute("src").rsplit("/", 1)[1] for image in images]


@pytest.fixture
def browser(driver: Any, folder: Path) -> Iterator[Listening]:
    browser = Listening(driver, (folder / "index.html").as_uri())
    with browser.watched(lambda url: not url.startswith(("http", "ws", "ftp"))):
        yield browser


def test_players_load_and_names_are_text(browser: Listening) -> None:
    browser.open()
    durations = browser.js("return player.buffers.map((buffer) => buffer.duration)")
    assert durations == pytest.approx([SECONDS[0]] * 4, abs=1e-3)
    assert browser.texts(".version span") == ["Original", *SYSTEMS]
    assert browser.all("main img[src=x]") == []
    assert browser.driver.title == f"Title {NASTY}"
    assert browser.one(".transcript").text == f"Text {NASTY}"
    assert browser.one(".position").get_attribute("max") == str(
        browser.js("return player.duration")
    )


def test_keys_switch_play_and_keep_the_position(browser: Listening) -> None:
    browser.open()
    assert browser.chosen() == ["Original"] and browser.visible_pictures() == ["0-0.png"]
    browser.press("2")
    assert browser.chosen() == ["zebra"] and browser.visible_pictures() == ["0-1.png"]
    browser.press("d")
    assert browser.visible_pictures() == ["0-1-difference.png"]
    browser.press("d")
    browser.press(" ")
    until(lambda: browser.js("return player.playing !== null"))
    assert browser.one(".play").get_attribute("aria-label") == "Pause"
    zero = browser.js("return player.playing.zero")
    browser.press("4")
    assert browser.chosen() == ["quagga"]
    assert browser.js("return player.playing.zero") == zero  # nothing was started anew
    until(
        lambda: np.allclose(
            browser.js("return player.playing.volumes.map((v) => v.gain.value)"),
            [0, 0, 0, browser.js("return player.gains[3]")],
            atol=1e-3,
        )
    )
    browser.press(" ")
    until(lambda: browser.js("return player.playing === null"))
    position = browser.js("return player.position")
    assert 0 < position < SECONDS[0]
    browser.press("1")
    assert browser.js("return player.time") == position


def test_arrows_change_the_utterance_and_a_missing_one_is_disabled(browser: Listening) -> None:
    from selenium.webdriver.common.keys import Keys

    browser.open()
    browser.press("4")
    browser.press(Keys.ARROW_LEFT)  # round to the last, which quagga lacks
    browser.until_ready()
    assert browser.one(".utterance select").get_attribute("value") == "2"
    assert browser.chosen() == ["Original"]
    assert not browser.all(".version")[3].is_enabled()
    assert browser.all(".version")[3].text.endswith("no audio")
    browser.press("4")
    assert browser.chosen() == ["Original"]
    browser.press(Keys.ARROW_RIGHT)
    browser.until_ready()
    assert browser.js("return player.duration") == pytest.approx(SECONDS[0], abs=1e-3)


def test_the_picture_has_labelled_axes_and_seeks_when_clicked(browser: Listening) -> None:
    browser.open()
    assert browser.texts(".unit, figcaption > span") == ["kHz", "seconds"]
    assert browser.texts(".y-axis span") == ["0", "2", "4", "6", "8"]
    until(lambda: browser.texts(".x-axis span"))
    assert browser.texts(".x-axis span")[0] == "0"
    assert all(text.endswith("dB") for text in browser.texts(".legend span"))
    browser.click(".picture")  # its middle
    assert browser.js("return player.time") == pytest.approx(SECONDS[0] / 2, abs=0.02)
    left = browser.js("return parseFloat(document.querySelector('.playhead').style.left)")
    assert left == pytest.approx(50, abs=3)


def test_means_name_the_metrics_and_bold_is_for_the_only_best(browser: Listening) -> None:
    browser.open("scores")
    rows = browser.all(".metrics tbody tr")
    assert browser.texts(".metrics tbody th b") == ["PESQ", "Loudness"]
    assert all(row.find_element("css selector", ".about").is_displayed() for row in rows)
    assert browser.texts(".metrics strong") == ["3.25"]  # loudness: -0.5, 0.5 and 1.5 LU
    assert browser.js(
        "const metric = {better: 'zero'}, shown = (x) => x.toFixed(1);"
        "return [[0.51, -0.54], [0.51, -0.44], [null, 0.5], [1]].map("
        "(values) => bestOf(metric, values, shown))"
    ) == [-1, 1, -1, -1]


def choose(browser: Listening, selector: str, place: int, value: int) -> None:
    """An option of a menu."""
    browser.js(
        "const s = document.querySelectorAll(arguments[0])[arguments[1]]; s.value = arguments[2];"
        "s.dispatchEvent(new Event('change'))",
        *(selector, place, value),
    )


def test_p_is_shown_for_the_chosen_metric_and_columns_are_sorted(browser: Listening) -> None:
    browser.open("scores")
    table = "section:nth-of-type(2) .titled:last-child"
    tests, utterances = browser.all("section:nth-of-type(2) tbody")
    assert tests.text.split("\n")[0].split()[-4:] == ["1.00", "2", "0.500", "1.000"]
    assert len(utterances.find_elements("css selector", "tr")) == 3
    head, zebra = browser.all(f"{table} th[aria-sort]")[1], browser.all(f"{table} th button")[1]
    for direction, values in (  # undefined ones stay at the end, whichever way
        ("descending", ["3.50", "3.00", "\N{EN DASH}"]),
        ("ascending", ["3.00", "3.50", "\N{EN DASH}"]),
    ):
        zebra.click()
        assert head.get_attribute("aria-sort") == direction
        assert browser.texts(f"{table} tbody td:nth-child(2)") == values
    assert browser.texts(f"{table} tbody td:last-child")[2] == "no audio"
    browser.all(f"{table} td button")[-1].click()  # the second system's of the last utterance
    until(lambda: browser.chosen() == [NASTY])
    browser.until_ready()
    assert browser.driver.current_url.endswith("#listen")
    assert browser.js("return listen.utterance") == 2
    browser.go("scores")
    choose(browser, "main select", 0, 1)
    tests = browser.one("section:nth-of-type(2) tbody")
    assert tests.text.split("\n")[0].split()[-4:] == ["0.00", "1", "1.000", "1.000"]
    assert "distances from zero" in browser.one("section:nth-of-type(2)").text


def blind(browser: Listening) -> None:
    """Nothing a listener could look at tells the systems apart."""
    html = browser.js("return document.documentElement.outerHTML")
    for word in ("zebra", "quagga", "quoted", "Original", "pictures/", ".flac", "blob:"):
        assert word not in html, word
    assert "Title" not in browser.driver.title
    labels = browser.js(
        "return [...document.querySelectorAll('main *')].flatMap((e) =>"
        " [...e.attributes].map((a) => a.name + '=' + a.value))"
    )
    assert not [text for text in labels if re.search(r"track|system|data-[^f]", text)], labels


def p_value(right: int, trials: int) -> float:
    return sum(math.comb(trials, k) for k in range(right, trials + 1)) / 2**trials


def score(text: str) -> tuple[int, int, float]:
    found = re.search(r"(\d+) of (\d+) right, p = ([\d.]+(?:e-\d+)?)", text)
    assert found, text
    return int(found[1]), int(found[2]), float(found[3])


def test_abx(browser: Listening) -> None:
    from selenium.webdriver.common.keys import Keys

    browser.open("abx")
    browser.button("Begin").click()
    browser.requested()
    browser.until_ready()
    right = 0
    for trial in range(12):
        blind(browser)
        status = browser.one(".status").text
        assert f"Trial {trial + 1} of 12" in status
        if trial:
            assert score(status) == (right, trial, pytest.approx(p_value(right, trial), abs=6e-4))
        buffers = browser.js(
            "return ['getChannelData'].flatMap((f) => player.buffers.map("
            "(b) => b[f](0).reduce((sum, x) => sum + x * x, 0)))"
        )
        x_is = "A" if buffers[1] == buffers[0] else "B"
        assert buffers[1] in (buffers[0], buffers[2]) and buffers[0] != buffers[2]
        browser.press(Keys.ARROW_LEFT)  # nothing counts before all three were played
        assert not browser.one(".primary").is_enabled()
        for key in "132":
            browser.press(key)
            blind(browser)
            slot = int(key) - 1
            until(lambda slot=slot: browser.js("return player.playing && player.slot") == slot)
        until(browser.one(".primary").is_enabled)
        answer = x_is if trial % 3 else "A"
        right += answer == x_is
        browser.press(Keys.ARROW_LEFT if answer == "A" else Keys.ARROW_RIGHT)
        if trial == 5:  # nothing is lost when the page is closed
            browser.open("abx", fresh=False)
        if trial < 11:
            browser.until_ready()
    asked = [url for url in browser.requested() if "/audio/" in url]
    assert asked and all(re.search(r"/audio/\d\.js$", url) for url in asked)
    result = score(browser.one("tbody").text)
    assert result == (right, 12, pytest.approx(p_value(right, 12), abs=6e-4))
    assert "Original and zebra" in browser.one("tbody").text  # now it may be told

    table = list(csv.DictReader(io.StringIO(download(browser, "Save CSV", "abx-"))))
    assert len(table) == 12 and sum(int(row["right"]) for row in table) == right
    assert {row["a"] for row in table} | {row["b"] for row in table} == {"Original", "zebra"}
    assert {row["x"] for row in table} == {"A", "B"}


def download(browser: Listening, label: str, prefix: str) -> str:
    file = browser.downloaded(browser.button(label), prefix + r"[0-9a-f]+\.(csv|json)")
    return file.read_text(encoding="utf-8")


def test_abx_needs_two_versions_with_a_common_utterance(browser: Listening) -> None:
    browser.open("abx")
    choose(browser, "select", 1, 0)
    assert not browser.button("Begin").is_enabled()
    assert browser.one(".problem").text == "Choose two different versions."


def rate_all(browser: Listening) -> list[int]:
    """Move every slider of the utterance; by keyboard the first, as a listener without a mouse."""
    from selenium.webdriver.common.keys import Keys

    first, *others = browser.all(".scale input")
    first.send_keys(Keys.HOME)
    first.send_keys(Keys.ARROW_RIGHT * 3)
    for value, slider in enumerate(others, 4):
        script = "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input'))"
        browser.js(script, slider, value)
    return list(range(3, 4 + len(others)))


def test_rating(browser: Listening) -> None:
    browser.open("rating")
    browser.button("Begin").click()
    browser.until_ready()
    letters = []
    for place in range(3):
        blind(browser)
        assert browser.one(".status").text.startswith(f"Utterance {place + 1} of 3")
        forward = "Finish and see" if place == 2 else "Next utterance"
        assert not browser.button(forward).is_enabled()
        values = rate_all(browser)
        letters.append(len(values))
        for key in "123":
            browser.press(key)
            blind(browser)
        if place == 1:
            browser.open("rating", fresh=False)
            browser.until_ready()
            assert browser.texts("output.value") == [str(value) for value in values]
            blind(browser)
        assert browser.button(forward).is_enabled()
        browser.button(forward).click()
        if place < 2:
            browser.until_ready()
    assert sorted(letters) == [3, 4, 4]  # quagga lacks one

    report = json.loads(download(browser, "Save JSON", "answers-"))
    ratings = report["rating"]
    assert len(ratings) == 11
    assert {row["system"] for row in ratings} == {"Original", *SYSTEMS}
    for utterance in UTTERANCES:
        given = [row["rating"] for row in ratings if row["utterance"] == utterance]
        assert given == [3 + i for i in range(len(given))]
    rows = list(csv.DictReader(io.StringIO(download(browser, "Save CSV", "ratings-"))))
    assert [row["system"] for row in rows] == [row["system"] for row in ratings]
    shown = browser.texts(".result > span:first-child")
    assert set(shown) == {"Original", *SYSTEMS}
    for row in browser.all(".result"):
        name, number = row.text.split("\n")[0], row.text.split("\n")[-1]
        mean = np.mean([r["rating"] for r in ratings if r["system"] == name])
        assert abs(float(number.split()[0]) - mean) <= 0.5


def test_orders_differ_between_listeners_and_utterances_and_follow_from_the_seed(
    browser: Listening,
) -> None:
    browser.open()
    script = (
        "return Array.from({length: 40}, (_, seed) => [ratingTracks({seed}, 0),"
        " ratingTracks({seed}, 1), abxPair({seed, pair: [0, 1]})])"
    )
    first = browser.js(script)
    assert first == browser.js(script)
    assert all(sorted(row[0]) == [0, 1, 2, 3] for row in first)
    assert len({str(row[0]) for row in first}) > 12
    assert sum(row[0] != row[1] for row in first) > 30
    assert 8 < sum(row[2] == [0, 1] for row in first) < 32
    xs = browser.js(
        "return Array.from({length: 1000}, (_, i) => abxTrial({seed: 'x', pair: [0, 1]}, i).x)"
    )  # A in half of the trials, and independent of the last: 4.4 standard deviations
    assert abs(xs.count("A") - 500) < 70
    assert abs(sum(a == b for a, b in itertools.pairwise(xs)) - 500) < 70
    for trials in (1, 12, 30):  # the binomial tail
        script = "const n = arguments[0];"
        script += "return Array.from({length: n + 1}, (_, k) => guessProbability(k, n))"
        expected = [p_value(right, trials) for right in range(trials + 1)]
        assert browser.js(script, trials) == pytest.approx(expected, rel=1e-9)


def test_reset_forgets(browser: Listening) -> None:
    browser.open("abx")
    listener = browser.one("input[type=text]")
    listener.send_keys("1 d Ann, ")  # typing is not a command
    listener.send_keys('"x"')
    browser.open("abx", fresh=False)
    assert browser.one("input[type=text]").get_attribute("value") == '1 d Ann, "x"'
    assert next(csv.reader([download(browser, "Save CSV", "abx-")]))[0] == "listener"
    browser.button("Forget all answers").click()
    browser.driver.switch_to.alert.accept()
    assert browser.one("input[type=text]").get_attribute("value") == ""
    browser.open("abx", fresh=False)
    assert browser.one("input[type=text]").get_attribute("value") == ""


def test_every_control_has_a_name_and_shows_the_focus(browser: Listening) -> None:
    browser.open()
    for view in ("listen", "scores", "abx", "rating"):
        browser.go(view)
        if view in ("abx", "rating"):
            browser.button("Begin").click()
            browser.until_ready()
        for element in browser.all("button, select, input, [role=region]"):
            assert element.accessible_name.strip(), element.get_attribute("outerHTML")
        browser.js("document.querySelector('nav a').focus()")
        reached = {browser.tab() for _ in range(9)}
        assert len({element for element in reached if element.tag_name != "body"}) > 6


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1400])
def test_fits_the_screen_in_either_scheme(browser: Listening, width: int, scheme: str) -> None:
    with browser.screen(width, scheme):
        browser.open()
        for view in ("listen", "scores", "abx", "rating"):
            browser.go(view)
            if view == "rating":
                browser.button("Begin").click()
            browser.assert_fits(width, texts=10)
            cut = "return [...document.querySelectorAll('.scroll')].filter("
            cut += "(e) => e.scrollWidth > e.clientWidth).length"
            assert width < 500 or browser.js(cut) == 0
            if view == "listen":  # the versions come first, all of them on the first screen
                box = "return document.querySelector(arguments[0]).getBoundingClientRect()"
                versions, plot = (browser.js(box, name) for name in (".versions", ".picture"))
                assert versions["bottom"] < plot["top"] and versions["bottom"] < 800

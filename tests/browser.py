"""A headless Chromium, and what a user does to a page in it."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from patience import PATIENCE, until

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
MISSING = (
    None if CHROMIUM and DRIVER else "there is no browser: apt-get install chromium chromium-driver"
)


@contextmanager
def chromium(folder: Path) -> Iterator[Any]:
    """A driver whose profile and downloads are in `folder`."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in (
        "headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage", "mute-audio",
        "no-first-run", "disable-background-networking", "disable-component-update",
        "disable-sync", f"user-data-dir={folder / 'profile'}", "window-size=1200,900",
    ):  # fmt: skip
        options.add_argument(f"--{argument}")
    (folder / "downloads").mkdir()
    options.add_experimental_option(
        "prefs", {"download.default_directory": str(folder / "downloads")}
    )
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    driver.set_script_timeout(PATIENCE)
    driver.downloads = folder / "downloads"
    try:
        yield driver
    finally:
        driver.quit()


# Colour and background of whatever shows text of its own and can be used.
COLOURS = """
return [...document.querySelectorAll("body *")].filter((element) =>
    element.checkVisibility() && !element.matches(":disabled, :disabled *, .tag, option") &&
    [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim())
).map((element) => {
    const text = getComputedStyle(element).color;
    let back;
    do {
        back = getComputedStyle(element).backgroundColor;
        element = element.parentElement;
    } while (element && back === "rgba(0, 0, 0, 0)");
    return [text, back];
});
"""


def contrast(*colours: str) -> float:
    """Ratio of the relative luminances of two colours (WCAG 2)."""
    luminances = []
    for colour in colours:
        channels = np.array([float(c) for c in re.findall(r"[\d.]+", colour)[:3]]) / 255
        linear = np.where(channels > 0.04045, ((channels + 0.055) / 1.055) ** 2.4, channels / 12.92)
        luminances.append(float(linear @ [0.2126, 0.7152, 0.0722]))
    return (max(luminances) + 0.05) / (min(luminances) + 0.05)


class Browser:
    """A page in Chromium, and the few things a user does to it."""

    def __init__(self, driver: Any, url: str) -> None:
        self.driver, self.url = driver, url

    def load(self) -> None:
        self.driver.get("about:blank")
        self.driver.get(self.url)

    @contextmanager
    def watched(self, allowed: Callable[[str], bool]) -> Iterator[None]:
        """Fails for a script's error, a missing file, and an address that is not allowed."""
        self.driver.get("about:blank")
        self.log("browser")
        self.log("performance")
        yield
        assert self.log("browser") == []
        assert [url for url in self.requested() if not allowed(url)] == []

    def js(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def one(self, selector: str) -> Any:
        return self.driver.find_element("css selector", selector)

    def all(self, selector: str) -> list[Any]:
        return self.driver.find_elements("css selector", selector)  # type: ignore[no-any-return]

    def texts(self, selector: str) -> list[str]:
        return [element.text for element in self.all(selector)]

    def click(self, selector: str) -> None:
        self.one(selector).click()

    def button(self, text: str) -> Any:
        """The visible button of this label."""
        found = [button for button in self.all("button") if button.text.split("\n")[0] == text]
        assert len(found) == 1, self.texts("button")
        return found[0]

    def press(self, key: str) -> None:
        self.js("return document.activeElement").send_keys(key)

    def tab(self) -> Any:
        """Where the tabulator leads, which shows that it has the focus."""
        self.press("\ue004")  # WebDriver's name of the key
        element, outline = self.js(
            "const e = document.activeElement; return [e, getComputedStyle(e).outlineStyle]"
        )
        assert outline == "solid" or element.tag_name == "body", element.get_attribute("outerHTML")
        return element

    def downloaded(self, button: Any, name: str) -> Path:
        """The file that a button saves, of a name that matches wholly."""
        folder: Path = self.driver.downloads
        for file in folder.iterdir():
            file.unlink()
        button.click()
        # Until it is whole it has another suffix.
        until(lambda: any(re.fullmatch(name, file.name) for file in folder.iterdir()))
        (file,) = folder.iterdir()
        return file

    @contextmanager
    def screen(self, width: int, scheme: str) -> Iterator[None]:
        """A screen of so many pixels, light or dark."""

        def command(name: str, **parameters: Any) -> None:
            self.driver.execute_cdp_cmd(f"Emulation.{name}", parameters)

        command("setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        command(
            "setDeviceMetricsOverride",
            width=width, height=800, deviceScaleFactor=1, mobile=width < 500,
        )  # fmt: skip
        try:
            yield
        finally:
            command("clearDeviceMetricsOverride")
            command("setEmulatedMedia", features=[])

    def assert_fits(self, width: int, texts: int) -> None:
        """Nothing is wider than the screen, and more than so many texts stand out from it."""
        self.driver.execute_async_script("requestAnimationFrame(() => setTimeout(arguments[0]))")
        assert self.js("return document.documentElement.scrollWidth") <= width
        ratios = [contrast(*colours) for colours in self.js(COLOURS)]
        assert len(ratios) > texts and min(ratios) > 4.5, self.url

    def requested(self) -> list[str]:
        """Addresses asked for since the last call."""
        messages = [json.loads(entry["message"])["message"] for entry in self.log("performance")]
        return [
            message["params"]["request"]["url"]
            for message in messages
            if message["method"] == "Network.requestWillBeSent"
        ]

    def log(self, name: str) -> list[dict[str, Any]]:
        """What Chromium has logged since the last call."""
        return self.driver.get_log(name)  # type: ignore[no-any-return]

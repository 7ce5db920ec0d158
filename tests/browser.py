"""A headless Chromium that opens the listening page, and what a listener does to it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from patience import until

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
    driver.downloads = folder / "downloads"
    try:
        yield driver
    finally:
        driver.quit()


class Browser:
    """The page in Chromium, and the few things a listener does to it."""

    def __init__(self, driver: Any, url: str) -> None:
        self.driver, self.url = driver, url

    def open(self, view: str = "listen", fresh: bool = True) -> None:
        for forget in (True, False) if fresh else (False,):
            self.driver.get("about:blank")
            self.driver.get(self.url)
            if forget:
                self.js("localStorage.clear()")
        self.go(view)

    def go(self, view: str) -> None:
        self.click(f'nav a[href="#{view}"]')
        until(lambda: self.one("nav a[aria-current]").get_attribute("hash") == f"#{view}")
        if view == "listen":
            self.until_ready()

    def until_ready(self) -> None:
        until(lambda: self.js("return player.ready"))

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

    def chosen(self) -> list[str]:
        return self.texts(".version[aria-pressed=true] span")

    def visible_pictures(self) -> list[str]:
        images = [image for image in self.all(".picture img") if image.is_displayed()]
        assert all(self.js("return arguments[0].decode().then(() => true)", i) for i in images)
        return [image.get_attribute("src").rsplit("/", 1)[1] for image in images]

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

"""The real-time factor of the page that build.py made, in headless Chromium.

taskset -c 0 python egs/web/measure.py OUT [--engine webgpu] [--repeats 5] [--picture FILE.png]

Speaks the built-in example, 6.2 s, with 1, 2 and 4 network steps and the iterations of each preset,
and prints the median of what the page shows: seconds on the clock from the mel to the wave, the
pictures of the film among them, over seconds of speech; and the same in processor time of all of
Chromium's processes, which other work on the machine disturbs less. The engine is WebAssembly at
one thread unless another is asked for. Needs Chromium, its driver, selenium and psutil, for a
picture Pillow.
"""

from __future__ import annotations

import argparse
import base64
import functools
import http.server
import io
import shutil
import statistics
import threading
import time
from pathlib import Path
from typing import Any

import psutil
from selenium import webdriver
from selenium.webdriver.chrome.service import Service


class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("page", help="folder that build.py made")
    parser.add_argument("--engine", choices=("wasm", "webgpu"), default="wasm")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--picture", help="where to save what the page looks like at the end")
    options = parser.parse_args()
    handler = functools.partial(Handler, directory=options.page)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    chrome = webdriver.ChromeOptions()
    chrome.binary_location = shutil.which("chromium") or ""
    for argument in ("headless=new", "no-sandbox", "disable-dev-shm-usage", "mute-audio"):
        chrome.add_argument(f"--{argument}")
    driver = webdriver.Chrome(options=chrome, service=Service(shutil.which("chromedriver")))
    try:
        begin = time.perf_counter()
        driver.get(f"http://127.0.0.1:{server.server_port}/?engine={options.engine}")
        until(driver, "document.querySelector('.engine').textContent.startsWith('Ready')")
        print(f"from the address to a voice that is ready: {time.perf_counter() - begin:.1f} s")
        for place, steps in enumerate((1, 2, 4)):
            driver.find_elements("css selector", ".steps button")[place].click()
            factors = [spoken(driver) for _ in range(options.repeats + 1)]
            # The first one finds code that is not compiled yet.
            clock, processor = map(statistics.median, zip(*factors[1:], strict=True))
            print(
                f"{steps} steps: real-time factor {clock:.3f} (processor time {processor:.3f}), "
                "the first time {:.3f} ({:.3f})".format(*factors[0])
            )
        if options.picture:
            Path(options.picture).write_bytes(picture(driver))
    finally:
        driver.quit()


def spoken(driver: Any) -> tuple[float, float]:
    """Real-time factors of the example, spoken once more: on the clock, in processor time."""
    driver.execute_script("document.querySelector('.factor')?.remove()")
    before = processor_time(driver)
    driver.find_element("css selector", ".example").click()
    until(driver, "document.querySelector('.factor')")
    spent = processor_time(driver) - before
    clock = float(driver.find_element("css selector", ".factor").get_attribute("data-factor"))
    seconds = float(driver.find_element("css selector", ".position").get_attribute("max"))
    return clock, spent / seconds


def processor_time(driver: Any) -> float:
    """Seconds that Chromium's processes have used."""
    chromium = psutil.Process(driver.service.process.pid).children(recursive=True)
    return sum(sum(process.cpu_times()[:2]) for process in chromium)


def picture(driver: Any, width: int = 1280) -> bytes:
    """All of the page, 1280 pixels wide, as PNG of 256 colours."""
    from PIL import Image

    screen = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": True}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    time.sleep(0.5)  # for the waveform to be painted anew
    height = driver.execute_script("return document.documentElement.scrollHeight")
    clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
    options = {"captureBeyondViewport": True, "clip": clip}
    found = driver.execute_cdp_cmd("Page.captureScreenshot", options)
    stream = io.BytesIO()
    image = Image.open(io.BytesIO(base64.b64decode(found["data"]))).convert("RGB")
    image.quantize(256, dither=Image.Dither.NONE).save(stream, "PNG", optimize=True)
    return stream.getvalue()


def until(driver: Any, condition: str, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not driver.execute_script(f"return {condition}"):
        problem = driver.find_element("css selector", "p.problem").text
        if problem or time.monotonic() > end:
            raise SystemExit(problem or f"waited {seconds:.0f} s in vain")
        time.sleep(0.1)


if __name__ == "__main__":
    main()

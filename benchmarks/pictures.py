"""Pictures of pages for the README.

``python benchmarks/pictures.py REPLAY COMPARISON "video=2717&frame=2"`` opens the pages that
``focusgym replay`` and ``focusgym compare`` wrote into two folders in Chromium, the first one at a
video and a frame, and writes ``docs/images/replay.png`` and ``docs/images/compare.png``.
"""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path

from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service

IMAGES = Path(__file__).parents[1] / "docs" / "images"
WIDTH_PX = 960
DRAWN_S = 3.0  # plots and pictures are there by then
ACCURACY_AND_COST = 5  # which section of the page of a comparison


def open_browser() -> Chrome:
    """Start Chromium without a window.

    Raises:
        SystemExit: If it is not installed.
    """
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        raise SystemExit("pictures need chromium and chromedriver: install both")
    options = ChromeOptions()
    options.binary_location = chromium
    for flag in ("headless=new", "no-sandbox", "disable-gpu", "force-color-profile=srgb"):
        options.add_argument(f"--{flag}")
    return Chrome(options, Service(driver))


def take(browser: Chrome, address: str, picture: Path, height_px: int, first: str) -> None:
    """Write a picture of a part of a page.

    Args:
        browser: Opens it.
        address: Of the page.
        picture: The file.
        height_px: Of the picture.
        first: Selector of the element at its top.
    """
    browser.set_window_size(WIDTH_PX, height_px)
    browser.get(address)
    inner = browser.execute_script("return [innerWidth, innerHeight]")
    browser.set_window_size(2 * WIDTH_PX - inner[0], 2 * height_px - inner[1])
    time.sleep(DRAWN_S)
    browser.execute_script(f"document.querySelector({first!r}).scrollIntoView()")
    time.sleep(0.5)
    browser.save_screenshot(str(picture))


def main(replay: str, comparison: str, shown: str) -> None:
    """Write both pictures; ``shown`` is what stands behind the # of a page of replay."""
    browser = open_browser()
    try:
        page = (Path(replay) / "index.html").resolve().as_uri()
        take(browser, f"{page}#{shown}", IMAGES / "replay.png", 900, "body")
        page = (Path(comparison) / "index.html").resolve().as_uri()
        take(browser, page, IMAGES / "compare.png", 840, f"#section{ACCURACY_AND_COST}")
    finally:
        browser.quit()


if __name__ == "__main__":
    main(*sys.argv[1:])

"""A headless Chromium for tests of pages: errors, requests, layout, pictures of the screen."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains

# Which texts lie on each other: of elements that can be seen, and of these what is not cut off.
_WAIT_S = 60  # for what a browser has said to arrive
_OVERLAPS = """
function visible(element, rect) {
  let { left, top, right, bottom } = rect;
  for (let e = element; e; e = e.parentElement) {
    if (getComputedStyle(e).overflow === "visible") continue;
    const edge = e.getBoundingClientRect();
    left = Math.max(left, edge.left); right = Math.min(right, edge.right);
    top = Math.max(top, edge.top); bottom = Math.min(bottom, edge.bottom);
  }
  return { left, top, right, bottom };
}
const texts = new Map();
for (const element of document.querySelectorAll(arguments[0])) {
  if (!element.checkVisibility()) continue;
  const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode, range = document.createRange();
    range.selectNodeContents(node);
    const rects = [...range.getClientRects()].map((rect) => visible(node.parentElement, rect));
    texts.set(node, rects.filter((r) => r.right - r.left > 1 && r.bottom - r.top > 1));
  }
}
const found = [], all = [...texts];
for (let i = 0; i < all.length; i++) for (let j = i + 1; j < all.length; j++) {
  for (const p of all[i][1]) for (const q of all[j][1]) {
    const wide = Math.min(p.right, q.right) - Math.max(p.left, q.left);
    const high = Math.min(p.bottom, q.bottom) - Math.max(p.top, q.top);
    if (wide > 1.5 && high > 2.5) found.push(`${all[i][0].data} | ${all[j][0].data}`);
  }
}
return found;
"""


class Browser:
    """A page in a headless Chromium.

    Attributes:
        driver: Selenium's.
    """

    def __init__(self, driver: Chrome) -> None:
        """Use a driver that logs console and network."""
        self.driver = driver
        self._events: list[dict[str, Any]] = []
        self.logs: list[str] = []
        self._drained = 0

    def open(self, path: Path, width: int = 1280, height: int = 900, *, dark: bool = False) -> None:
        """Open a file in a window of a given size, pixels, in a light or a dark scheme."""
        self.driver.get("about:blank")
        self._drain()  # what was before is not this page's
        self.logs, self._events = [], []
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        self.resize(width, height)
        self.driver.get(path.resolve().as_uri())

    def resize(self, width: int, height: int = 900) -> None:
        """Give the window another size; a real window would not be narrower than 500 px."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)

    def run(self, script: str, *arguments: Any) -> Any:
        """Run JavaScript that may ``return`` something."""
        return self.driver.execute_script(script, *arguments)

    def texts(self, selector: str) -> list[str]:
        """Return what the elements of a selector say."""
        script = "return [...document.querySelectorAll(arguments[0])].map((e) => e.textContent)"
        contents: list[str] = self.run(script, selector)
        return contents

    def press(self, *keys: str) -> None:
        """Press keys one after the other, wherever the focus is."""
        for key in keys:
            ActionChains(self.driver).send_keys(key).perform()

    def click(self, selector: str) -> None:
        """Click on the first element of a selector, which a page may draw anew at any moment."""
        for tries_left in reversed(range(10)):
            try:
                self.driver.find_element("css selector", selector).click()
            except StaleElementReferenceException:
                if not tries_left:
                    raise
            else:
                return

    def errors(self) -> list[str]:
        """Return what the console said since the page was opened, warnings included."""
        self._drain()
        return self.logs

    def requests(self) -> list[str]:
        """Return the addresses of all requests since the page was opened."""
        self._drain()
        sent = [each for each in self._events if each["method"] == "Network.requestWillBeSent"]
        return [each["params"]["request"]["url"] for each in sent]

    def check(self, texts: str) -> None:
        """Check that there were no errors and no requests to a network, and the layout.

        Args:
            texts: Selector of elements whose texts must not lie on each other.
        """
        errors = self.errors()
        assert not errors, f"the console says {errors}"
        outside = [url for url in self.requests() if not url.startswith(("file:", "data:"))]
        assert not outside, f"asked for {outside}"
        sizes = "const e = document.scrollingElement; return [e.scrollWidth, innerWidth]"
        wide, room = self.run(sizes)
        assert wide <= room, f"the page is {wide} px wide, the window {room}"
        overlapping = self.run(_OVERLAPS, texts)
        assert not overlapping, f"these texts lie on each other: {overlapping}"

    def screenshot(self, path: Path) -> None:
        """Write a picture of the whole page."""
        high = self.run("return document.scrollingElement.scrollHeight")
        width = self.run("return innerWidth")
        self.resize(width, max(900, high))
        self.driver.save_screenshot(str(path))

    def _drain(self) -> None:
        self._drained += 1
        mark = f"everything up to {self._drained}"  # what was said before it comes before it
        self.run("console.warn(arguments[0])", mark)
        end = time.monotonic() + _WAIT_S
        while not any(mark in message for message in self.logs):
            assert time.monotonic() < end, f"the console never said {mark!r}"
            self.logs += [entry["message"] for entry in self.driver.get_log("browser")]
        self.logs = [message for message in self.logs if "everything up to" not in message]
        entries = self.driver.get_log("performance")
        self._events += [json.loads(entry["message"])["message"] for entry in entries]


@contextmanager
def open_browser() -> Iterator[Browser]:
    """Start a browser with a profile of its own; skip the test where there is none."""
    chromium, driver_path = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver_path is None:
        pytest.skip("no chromium and chromedriver here: install both to test pages")
    options = ChromeOptions()
    options.binary_location = chromium
    with TemporaryDirectory(prefix="focusgym-browser-") as profile:
        for flag in (
            "headless=new",
            "no-sandbox",
            "disable-gpu",
            "disable-dev-shm-usage",
            "disable-background-networking",
            "disable-component-update",
            "disable-sync",
            "no-first-run",
            "disable-quic",
            "force-color-profile=srgb",
            f"user-data-dir={profile}",
        ):
            options.add_argument(f"--{flag}")
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        driver = Chrome(options, Service(driver_path))
        try:
            yield Browser(driver)
        finally:
            driver.quit()

"""A browser without a window, which says what it fetched and what it complained of."""

from __future__ import annotations

import base64
import importlib.util
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
SWITCHES = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            "--disable-dev-shm-usage", "--hide-scrollbars")
ENTER, SPACE = "\ue007", "\ue00d"
A4 = {"paperWidth": 8.27, "paperHeight": 11.69, "preferCSSPageSize": True}


class Browser:
    """Chromium, driven over its own protocol."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver
        driver.get("about:blank")
        self.said()
        self.fetched()

    def open(self, page: Path, width: int = 1280, *, dark: bool = False, media: str = "") -> None:
        """Show a page so wide; up to 500 pixels that is a phone; as on ``media``."""
        self.tell("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1,
                  mobile=width <= 500)
        colours = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.tell("Emulation.setEmulatedMedia", media=media, features=colours)
        self.driver.get(page.as_uri())

    def run(self, script: str, *elements: Any) -> Any:
        """What a script returns that runs in the page; elements are its ``arguments``."""
        return self.driver.execute_script(script, *elements)

    def all(self, selector: str) -> list[Any]:
        """Elements by a selector of CSS."""
        return self.driver.find_elements("css selector", selector)

    def tell(self, command: str, **arguments: Any) -> Any:
        """A command of the protocol."""
        return self.driver.execute_cdp_cmd(command, arguments)

    def pdf(self) -> bytes:
        """The page on paper."""
        return base64.b64decode(self.tell("Page.printToPDF", **A4)["data"])

    def said(self) -> list[str]:
        """What stands in the console since it was asked last."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def fetched(self) -> list[str]:
        """What was asked for since then: addresses."""
        events = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        return [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]


@contextmanager
def browsing(profile: Path) -> Iterator[Browser]:
    """A browser with a profile of its own; the test is skipped where there is none, and fails where that is CI."""
    program = next(filter(None, map(shutil.which, NAMES)), None)
    driven_by = shutil.which("chromedriver")
    selenium = importlib.util.find_spec("selenium")
    if not (program and driven_by and selenium):
        why = f"needs selenium, chromedriver and {' or '.join(NAMES)}: make browser installs what pip does not"
        if os.environ.get("CI"):
            pytest.fail(why)
        pytest.skip(why)
    from selenium.webdriver import Chrome, ChromeOptions
    from selenium.webdriver.chrome.service import Service

    options = ChromeOptions()
    options.binary_location = program
    for switch in (*SWITCHES, f"--user-data-dir={profile}"):
        options.add_argument(switch)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = Chrome(options=options, service=Service(driven_by))
    try:
        yield Browser(driver)
    finally:
        driver.quit()

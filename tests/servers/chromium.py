"""A real browser for tests of pages: headless Chromium, or Chrome, with its driver; each has a profile of its own.

It is no server of the run: it ends with the block that has started it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selenium.webdriver import Chrome, ChromeOptions, ChromeService

from .errors import MissingServerError

INSTALL = "apt-get install chromium chromium-driver"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
DRIVER = "chromedriver"


def find_programs() -> tuple[str, str]:
    """Return the paths of the browser and its driver.

    Raises
    ------
    MissingServerError
        This machine lacks one of them.
    """
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    driver = shutil.which(DRIVER)
    if browser is None or driver is None:
        raise MissingServerError("Chromium with its driver", INSTALL)
    return browser, driver


@contextmanager
def chromium(directory: Path) -> Iterator[Chrome]:
    """Give a browser that keeps its profile, and what it downloads, in *directory*."""
    browser, driver = find_programs()
    options = ChromeOptions()
    options.binary_location = browser
    for argument in ("--headless=new", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"):
        options.add_argument(argument)
    options.add_argument(f"--user-data-dir={directory / 'profile'}")
    if os.geteuid() == 0:
        options.add_argument("--no-sandbox")  # which it refuses to root
    options.add_experimental_option("prefs", {"download.default_directory": str(directory)})
    made = Chrome(options, ChromeService(driver))
    try:
        yield made
    finally:
        made.quit()


def resize(browser: Chrome, width: int, height: int, *, is_dark: bool = False) -> None:
    """Give the page a window of so many pixels, however narrow, and the colours that its user likes."""
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    liked = [{"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": liked})

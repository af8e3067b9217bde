"""A real browser without a window: Debian's chromium, driven by its own driver; nothing is downloaded."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selenium.webdriver import Chrome, ChromeOptions, ChromeService
from selenium.webdriver.common.by import By

OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)


@contextmanager
def browser(profile: Path, *, width: int = 940, height: int = 940) -> Iterator[Chrome]:
    """Run a browser with an empty profile until the block is left."""
    options = ChromeOptions()
    options.binary_location = require("chromium")
    for option in (*OPTIONS, f"--user-data-dir={profile}", f"--window-size={width},{height}"):
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = Chrome(options=options, service=ChromeService(require("chromedriver")))
    # on a busy machine get() has returned before the page's elements are there
    driver.implicitly_wait(20)
    try:
        yield driver
    finally:
        driver.quit()


def require(program: str) -> str:
    """Return a program's path; it is installed by .ci/setup-others."""
    path = shutil.which(program)
    assert path is not None, f"{program} is missing: run .ci/setup-others"
    return path


def text(driver: Chrome, name: str) -> str:
    """What an element of the page says."""
    return driver.find_element(By.ID, name).text


def states(driver: Chrome) -> list[str]:
    """The state of each tile of the page, all of one moment."""
    found: list[str] = driver.execute_script(
        "return Array.from(document.querySelectorAll('.tile'), tile => tile.dataset.state)"
    )
    return found


def complaints(driver: Chrome) -> list[str]:
    """What the browser's console has to say of the page."""
    return [entry["message"] for entry in driver.get_log("browser")]  # type: ignore[no-untyped-call]

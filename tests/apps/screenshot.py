"""Writes the picture of WordPress under `fcgi-async serve` that stands in the documentation.

Usage: python -m tests.apps.screenshot docs/images/wordpress.png
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.apps import database
from tests.apps.browse import fresh_wordpress, install, log_in
from tests.examples.browser import browser


def main(target: str) -> None:
    """Take it of the dashboard, right after the installation."""
    with tempfile.TemporaryDirectory() as name, database.running() as server:
        folder = Path(name)
        with fresh_wordpress(folder / "site", server) as url, browser(folder / "profile", width=1200) as driver:
            install(driver, url, server)
            log_in(driver)
            driver.save_screenshot(target)


if __name__ == "__main__":
    main(sys.argv[1])

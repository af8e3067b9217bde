"""Writes the picture of the progress service that stands in the documentation.

Usage: python -m tests.examples.screenshot docs/images/progress.png
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from anyio.from_thread import start_blocking_portal
from selenium.webdriver.common.by import By

from fcgi_async import LocalFPM
from tests.asgi.server import serving, uvicorn
from tests.eventually import soon
from tests.examples.browser import browser, states
from tests.examples.conftest import EXAMPLES


def main(target: str) -> None:
    """Take the picture when somewhat more than half of the jobs are done."""
    with tempfile.TemporaryDirectory() as folder, start_blocking_portal() as portal:
        with portal.wrap_async_context_manager(LocalFPM(max_children=8)) as fpm:
            environment = {"FPM": fpm.address, "FPM_STATUS": fpm.status_address, "MAX_CHILDREN": "8"}
            command = uvicorn("service:app")
            with serving(command, environment, Path(folder), cwd=EXAMPLES / "progress") as service:
                with browser(Path(folder, "profile"), height=1010) as driver:
                    driver.get(f"{service.url}/?pace=20")
                    driver.find_element(By.ID, "start").click()
                    soon(lambda: states(driver).count("done") > 11)
                    soon(lambda: int(driver.find_element(By.ID, "rows").text) > 1040)
                    driver.save_screenshot(target)


if __name__ == "__main__":
    main(sys.argv[1])

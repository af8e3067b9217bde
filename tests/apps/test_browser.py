"""WordPress is installed by a person with a browser, from an unpacked folder and an empty database."""

from __future__ import annotations

from pathlib import Path

from selenium.webdriver.common.by import By

from tests.apps.browse import fresh_wordpress, install, log_in
from tests.apps.database import Database
from tests.examples.browser import browser, complaints


def test_a_fresh_wordpress(mariadb: Database, tmp_path: Path) -> None:
    """Its installation ends well, its dashboard and its first entry are shown, and no file is missing."""
    with fresh_wordpress(tmp_path, mariadb) as url, browser(tmp_path / "profile", width=1200) as driver:
        install(driver, url, mariadb)
        log_in(driver)
        assert driver.find_element(By.CSS_SELECTOR, "#wpbody h1").text == "Dashboard"
        driver.get(f"{url}/?p=1")
        assert driver.find_element(By.CSS_SELECTOR, "main h1").text == "Hello world!"
        missing = [said for said in complaints(driver) if said.startswith(url) and "Failed to load" in said]
        assert missing == []
    log = (tmp_path / "service.log").read_text()
    assert "PHP Fatal" not in log

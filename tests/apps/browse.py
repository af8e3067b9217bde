"""A fresh WordPress under `fcgi-async serve`, and its installation as a person clicks through it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from tests.apps.database import PASSWORD, USER, Database
from tests.apps.wordpress import ADMIN, SECRET, WordPress
from tests.asgi.server import serving
from tests.eventually import soon

__all__ = ("fresh_wordpress", "install", "log_in")

# WordPress asks others for news and translations, from the first page on
_OFFLINE = "<?php define('WP_HTTP_BLOCK_EXTERNAL', true);"


@contextmanager
def fresh_wordpress(folder: Path, database: Database) -> Iterator[str]:
    """Serve WordPress without a configuration, as it is unpacked, until the block is left; return its address."""
    site = WordPress(folder, database)
    site.prepare()
    (site.root / "wp-config.php").unlink()
    (folder / "offline.php").write_text(_OFFLINE)
    ini = f"auto_prepend_file={folder}/offline.php"
    command = [sys.executable, "-m", "fcgi_async", "serve", str(site.root), "--listen=127.0.0.1:0", "--ini", ini]
    with serving(command, {}, folder) as service:
        yield service.url


def install(driver: Chrome, url: str, database: Database) -> None:
    """Begin at the front page, and end at the page that says it is installed."""
    driver.get(url)
    if "language-continue" in driver.page_source:
        driver.find_element(By.ID, "language-continue").click()
    _link(driver, "go!").click()
    answers = {"dbname": "wordpress", "uname": USER, "pwd": PASSWORD, "dbhost": f"localhost:{database.socket}"}
    for name, text in answers.items():
        _type(driver.find_element(By.NAME, name), text)
    driver.find_element(By.NAME, "submit").click()
    _link(driver, "Run the installation").click()
    if "language-continue" in driver.page_source:
        driver.find_element(By.ID, "language-continue").click()
    for name, text in {"weblog_title": "A blog", "user_name": ADMIN, "admin_email": "ada@blog.test"}.items():
        _type(driver.find_element(By.NAME, name), text)
    # its script proposes a password, once it has run
    field = driver.find_element(By.ID, "pass1")
    soon(lambda: field.get_attribute("value"))
    _type(field, SECRET)
    driver.find_element(By.NAME, "Submit").click()
    driver.find_element(By.XPATH, "//h1[contains(., 'Success!')]")


def log_in(driver: Chrome) -> None:
    """Go from there to the dashboard."""
    _link(driver, "Log In").click()
    _type(driver.find_element(By.ID, "user_login"), ADMIN)
    _type(driver.find_element(By.ID, "user_pass"), SECRET)
    driver.find_element(By.ID, "wp-submit").click()
    driver.find_element(By.ID, "wpadminbar")


def _link(driver: Chrome, text: str) -> WebElement:
    return driver.find_element(By.PARTIAL_LINK_TEXT, text)


def _type(field: WebElement, text: str) -> None:
    field.clear()
    field.send_keys(text)

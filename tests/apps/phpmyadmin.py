"""phpMyAdmin: its user is the database's."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx

from tests.apps.application import Application
from tests.apps.compare import Answer
from tests.apps.crawl import fields
from tests.apps.database import PASSWORD, USER
from tests.apps.noise import MADE_NOW, Noise
from tests.apps.visitor import Visitor

__all__ = ("TABLES", "PhpMyAdmin")

_SOURCE = Path("/usr/share/phpmyadmin")
_CONFIG = """<?php
$cfg['blowfish_secret'] = 'thirty-two characters, not a few';
$cfg['Servers'][1] = ['host' => 'localhost', 'socket' => '{socket}', 'auth_type' => 'cookie'];
$cfg['VersionCheck'] = false;
$cfg['SendErrorReports'] = 'never';
$cfg['CheckConfigurationPermissions'] = false;
$cfg['ServerDefault'] = 1;
"""
TABLES = """
CREATE TABLE author (id INT AUTO_INCREMENT PRIMARY KEY, name VARCHAR(50) NOT NULL, born DATE);
CREATE TABLE book (id INT AUTO_INCREMENT PRIMARY KEY, author INT, title VARCHAR(100), cover BLOB,
    FOREIGN KEY (author) REFERENCES author (id));
CREATE VIEW titles AS SELECT title FROM book;
INSERT INTO author (name, born) VALUES ('Ada', '1815-12-10'), ('Grace', '1906-12-09');
INSERT INTO book (author, title, cover) VALUES (1, 'Notes', x'89504e47'), (2, 'Compilers', NULL);
"""


class PhpMyAdmin(Application):
    """With a database of two tables and a view."""

    name = "phpmyadmin"
    start = (
        "/",
        "/index.php?route=/database/structure&db=phpmyadmin",
        "/index.php?route=/sql&db=phpmyadmin&table=book&pos=0",
        "/index.php?route=/table/structure&db=phpmyadmin&table=book",
        "/index.php?route=/server/databases",
    )
    avoid = re.compile(
        r"logout|route=/(?:server/(?:status|variables|replication)|logout|version-check|import-status|lint|recent-table)|"
        r"sql_query=(?:DROP|TRUNCATE|DELETE|EMPTY)|url\.php|kill|/table/tracking|[?&]lang=|/set-theme|changelog|sort="
    )
    noise = (
        Noise("a token belongs to a session", r'(?i)token\\?(?:=|%3D|:|"| value=|\\"|&quot;)+([0-9a-f]{32,64})'),
        Noise("likewise", r'name="set_session" value="(\w+)"'),
        Noise("a query is signed for a session", r"sql_signature=([0-9a-f]{64})"),
        Noise("a form has a random name", r'name="noplugin" value="([0-9a-f]+)"'),
        Noise("the designer puts tables somewhere", r"left:(\d+)px; top:(\d+)px"),
        Noise("elements of a page have random names", r'(?<=[A-Za-z_"])(\d{5,10})(?=["_])'),
        MADE_NOW,
        Noise("a session's name is random", r"phpMyAdmin=([^;\n]+)"),
        Noise("a cookie is encrypted with a random vector", r"pma(?:User|Auth)-1=([^;\n]+)"),
        Noise("a cookie's end is counted from now", r"(?i)expires[=:] ?([^;\n]+)"),
        Noise("how long a query took", r"[Qq]uery took ([\d.]+)"),
        Noise("a time", r"\b(\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d)?)"),
        Noise("a time", r"\b([A-Z][a-z]{2} \d\d, \d{4} at \d\d:\d\d [AP]M)"),
        Noise("seconds of now", r"\b(1[789]\d{8})\b"),
    )
    uses_database = True

    def prepare(self) -> None:
        shutil.copytree(_SOURCE, self.root, symlinks=True)
        (self.folder / "tmp").mkdir()
        (self.folder / "config.inc.php").write_text(_CONFIG.format(socket=self.database.socket))
        paths = self.root / "libraries" / "vendor_config.php"
        settings = paths.read_text().replace("/var/lib/phpmyadmin/tmp/", f"{self.folder}/tmp/")
        paths.write_text(settings.replace("/etc/phpmyadmin/config.inc.php", f"{self.folder}/config.inc.php"))
        self.database.create(self.name)
        self.database.execute(TABLES, database=self.name)

    def log_in(self, client: Visitor) -> None:
        assert self._log_in(client, PASSWORD).status_code == 302

    def session(self, client: Visitor) -> Iterator[Answer]:
        yield Answer.of(self._log_in(client, "wrong"), "a wrong password")
        yield Answer.of(self._log_in(client, PASSWORD), "log in")
        page = client.get("/index.php?route=/")
        yield Answer.of(page)
        token = fields(page.text)["token"]
        insert = {
            "token": token,
            "db": self.name,
            "ajax_request": "1",
            "sql_query": "INSERT INTO author (name) VALUES ('Mary')",
        }
        yield Answer.of(client.post("/index.php?route=/import", data=insert), "write by SQL")
        form = {"token": token, "db": self.name, "import_type": "database", "format": "sql", "charset_of_file": "utf-8"}
        file = {"import_file": ("more.sql", b"INSERT INTO author (name) VALUES ('Edith');", "application/sql")}
        yield Answer.of(client.post("/index.php?route=/import", data=form, files=file), "upload SQL")
        assert self.database.execute("SELECT COUNT(*) FROM author", database=self.name).strip() == "4"
        yield Answer.of(client.get(f"/index.php?route=/sql&db={self.name}&table=author&pos=0"), "read it")
        export = {"token": token, "db": self.name, "export_type": "database", "export_method": "quick"}
        export |= {"quick_or_custom": "quick", "what": "csv", "csv_structure_or_data": "data", "template_id": ""}
        yield Answer.of(client.post("/index.php?route=/export", data=export), "export it")
        yield Answer.of(client.post("/index.php?route=/logout", data={"token": token}), "log out")
        yield Answer.of(client.get("/index.php?route=/server/databases"), "after logging out")

    @staticmethod
    def _log_in(client: Visitor, password: str) -> httpx.Response:
        form = fields(client.get("/").text, "login_form")
        form |= {"pma_username": USER, "pma_password": password, "server": "1"}
        return client.post("/index.php?route=/", data=form)

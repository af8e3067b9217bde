"""Adminer: one script for everything, its files included."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import httpx

from tests.apps.application import Application
from tests.apps.compare import Answer
from tests.apps.crawl import fields
from tests.apps.database import PASSWORD, USER
from tests.apps.noise import MADE_NOW, Noise
from tests.apps.phpmyadmin import TABLES
from tests.apps.visitor import Visitor

__all__ = ("Adminer",)

_SOURCE = Path("/usr/share/adminer")


class Adminer(Application):
    """With a database of two tables and a view."""

    name = "adminer"
    start = ("/", "/?file=default.css", "/designs/nette/adminer.css", "/?nowhere")
    # what the server is doing, and what leads to other servers; designs are many
    avoid = re.compile(r"processlist|status=|variables=|[?&]dump=|lang=|version=|privileges|db=(?!adminer)")
    noise = (
        Noise("a token belongs to a session", r"""['"](\d{1,8}:\d{1,8})['"]"""),
        Noise("a nonce is random", r"nonce[-=]\"?([\w+/=]{20,})"),
        Noise("a session's name is random", r"adminer_\w+=([^;\n]+)"),
        Noise("a cookie's end is counted from now", r"(?i)expires[=:] ?([^;\n]+)"),
        MADE_NOW,
        Noise("how long a query took", r"\(([\d.]+) s\)"),
        Noise("seconds of now", r"\b(1[789]\d{8})\b"),
        Noise("a time", r"\b(\d\d:\d\d:\d\d)\b(?! GMT)"),
    )
    uses_database = True

    def prepare(self) -> None:
        self.root.mkdir()
        shutil.copy(_SOURCE / "adminer.php", self.root / "index.php")
        shutil.copytree(_SOURCE / "designs", self.root / "designs")
        self.database.create(self.name)
        more = "".join(f"CREATE TABLE part{n} (id INT PRIMARY KEY, name VARCHAR(20));" for n in range(6))
        self.database.execute(TABLES + more, database=self.name)

    @property
    def home(self) -> str:
        """The database's own page."""
        return f"/?server={quote(f'localhost:{self.database.socket}', safe='')}&username={USER}&db={self.name}"

    def log_in(self, client: Visitor) -> None:
        self._log_in(client, PASSWORD)
        assert client.get(self.home).status_code == 200

    def begin(self) -> tuple[str, ...]:
        return (*self.start, self.home)

    def session(self, client: Visitor) -> Iterator[Answer]:
        yield Answer.of(self._log_in(client, "wrong"), "a wrong password")
        yield Answer.of(client.get(self.home), "and what it leads to")
        yield Answer.of(self._log_in(client, PASSWORD), "log in")
        page = client.get(self.home)
        yield Answer.of(page, "the database")
        edit = f"{self.home}&edit=author"
        form = fields(client.get(edit).text, "form") | {"fields[name]": "Mary", "fields[born]": "1780-12-26"}
        written = client.post(edit, data=form)
        assert written.status_code == 302, written.text
        yield Answer.of(written, "write a row")
        yield Answer.of(client.get(f"{self.home}&select=author"), "read it")
        query = f"{self.home}&sql="
        token = fields(client.get(query).text)["token"]
        asked = {"query": "SELECT title FROM titles", "token": token, "limit": ""}
        yield Answer.of(client.post(query, data=asked), "ask by SQL")
        file = {"sql_file[]": ("more.sql", b"INSERT INTO author (name) VALUES ('Edith');", "application/sql")}
        uploaded = client.post(f"{self.home}&import=", data={"token": token}, files=file)
        yield Answer.of(uploaded, "upload SQL")
        assert self.database.execute("SELECT COUNT(*) FROM author", database=self.name).strip() == "4"
        export = {"output": "text", "format": "csv", "data_style": "INSERT", "tables[]": "author", "data[]": "author"}
        yield Answer.of(client.post(f"{self.home}&dump=", data=export | {"token": token}), "export it")
        yield Answer.of(client.post(self.home, data={"logout": "1", "token": token}), "log out")
        yield Answer.of(client.get(self.home), "after logging out")

    def _log_in(self, client: Visitor, password: str) -> httpx.Response:
        server = f"localhost:{self.database.socket}"
        form = {"driver": "server", "server": server, "username": USER, "password": password, "db": self.name}
        return client.post("/", data={f"auth[{name}]": value for name, value in form.items()})

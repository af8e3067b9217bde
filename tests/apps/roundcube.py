"""Roundcube, with a mailbox that is empty: its address book and its settings are what one works with."""

from __future__ import annotations

import re
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import httpx

from tests.apps.application import Application
from tests.apps.compare import Answer
from tests.apps.crawl import fields
from tests.apps.imap import PASSWORD, USER, mail_server
from tests.apps.noise import MADE_NOW, Noise
from tests.apps.visitor import Visitor

__all__ = ("Roundcube",)

_SOURCE, _CONFIGURATION = Path("/usr/share/roundcube"), Path("/etc/roundcube")
_CONFIG = """<?php
$config['db_dsnw'] = 'sqlite:///{folder}/roundcube.db?mode=0640';
$config['imap_host'] = '127.0.0.1:{port}';
$config['smtp_host'] = '127.0.0.1:{port}';
$config['des_key'] = 'twenty-four characters!!';
$config['plugins'] = [];
$config['skin'] = 'elastic';
$config['enable_spellcheck'] = false;
"""
_SECTIONS = ("general", "mailbox", "mailview", "compose", "addressbook", "folders", "server")
_VCARD = b"BEGIN:VCARD\r\nVERSION:3.0\r\nFN:Edith Stein\r\nN:Stein;Edith;;;\r\nEMAIL:edith@mail.test\r\nEND:VCARD\r\n"


class Roundcube(Application):
    """Its pages are few; what belongs to them is many files."""

    name = "roundcube"
    files = 60
    start = (
        *("/", "/?_task=mail", "/?_task=mail&_action=compose", "/?_task=mail&_mbox=INBOX", "/?_task=addressbook"),
        *("/?_task=settings", "/?_task=settings&_action=preferences", "/?_task=settings&_action=folders"),
        *(
            "/?_task=settings&_action=identities",
            "/?_task=settings&_action=add-identity",
            "/?_task=settings&_action=about",
        ),
        *(
            "/?_task=settings&_action=responses",
            "/?_task=addressbook&_action=import",
            "/?_task=addressbook&_action=show",
        ),
        *(f"/?_task=settings&_action=edit-prefs&_section={section}" for section in _SECTIONS),
        *("/nowhere", "/config/", "/program/js/nowhere.js"),
    )
    avoid = re.compile(r"logout|_token=|_remote=|_unlock=|_action=(?:delete|upload|save|compose.*_id)|_id=")
    noise = (
        Noise("a token belongs to a session", r'(?:request_token"?:"|_token(?:=|" value="))(\w{32})'),
        Noise("a session's name is random", r"roundcube_sess(?:id|auth)=([^;\n]+)"),
        Noise("a cookie's end is counted from now", r"(?i)expires[=:] ?([^;\n]+)"),
        Noise("a message that is written has a random name", r"(?:_id=|compose_id\":\"|_id\" value=\")(\w{20,})"),
        MADE_NOW,
        Noise("elements of a page have random names", r"(?:rcm\w+|rcmf\w*_|upload-form-?)(\d{5,}|[0-9a-f]{13})"),
        Noise("seconds of now", r"\b(1[789]\d{8})\b"),
    )
    changing = ("roundcube.db",)

    def prepare(self) -> None:
        self.take(_SOURCE)
        shutil.copytree(
            _CONFIGURATION, self.root / "config", ignore=shutil.ignore_patterns("*debian*", "config.inc.php")
        )
        for name in ("logs", "temp"):
            (self.root / name).mkdir()
        paths = self.root / "program" / "include" / "iniset.php"
        paths.write_text(paths.read_text().replace("/var/lib/roundcube/", f"{self.root}/"))
        with closing(sqlite3.connect(self.folder / "roundcube.db")) as database:
            database.executescript((_SOURCE / "SQL" / "sqlite.initial.sql").read_text())
        # ends with the process that runs the tests
        self._mail = ExitStack()
        port = self._mail.enter_context(mail_server())
        (self.root / "config" / "config.inc.php").write_text(_CONFIG.format(folder=self.folder, port=port))

    def install(self, client: Visitor) -> None:
        # the first time makes the user, whose name for browsers is random
        self.log_in(client)
        client.get("/?_task=mail")

    def log_in(self, client: Visitor) -> None:
        assert self._log_in(client, PASSWORD).status_code == 302

    def session(self, client: Visitor) -> Iterator[Answer]:
        yield Answer.of(self._log_in(client, "wrong"), "a wrong password")
        entered = self._log_in(client, PASSWORD)
        assert entered.status_code == 302, entered.text
        yield Answer.of(entered, "log in", leave_out=("location",))
        page = client.get("/?_task=mail")
        yield Answer.of(page)
        token = self._token(page)
        identity = client.get("/?_task=settings&_action=edit-identity&_iid=1")
        form = fields(identity.text, "form") | {"_name": "Ada", "_organization": "a & b", "_email": "ada@mail.test"}
        yield Answer.of(client.post("/?_task=settings&_action=save-identity", data=form), "change the identity")
        prefs = client.get("/?_task=settings&_action=edit-prefs&_section=general")
        form = fields(prefs.text, "form") | {"_timezone": "Europe/Berlin", "_pretty_date": "1"}
        yield Answer.of(client.post("/?_task=settings&_action=save-prefs", data=form), "save the settings")
        contact = {
            "_token": token,
            "_source": "0",
            "_firstname": "Mary",
            "_surname": "Shelley",
            "_name": "Mary Shelley",
        }
        contact |= {"_email_home[]": "mary@mail.test"}
        yield Answer.of(client.post("/?_task=addressbook&_action=save", data=contact), "write a contact")
        imported = {"_token": token, "_target": "0"}
        file = {"_file[]": ("more.vcf", _VCARD, "text/vcard")}
        yield Answer.of(client.post("/?_task=addressbook&_action=import", data=imported, files=file), "upload contacts")
        listed = client.get("/?_task=addressbook&_action=list&_source=0&_remote=1")
        assert "Mary Shelley" in listed.text
        yield Answer.of(listed, "read them")
        yield Answer.of(client.get(f"/?_task=addressbook&_action=export&_source=0&_token={token}"), "export them")
        yield Answer.of(client.get(f"/?_task=logout&_token={token}"), "log out")
        yield Answer.of(client.get("/?_task=settings"), "after logging out")

    @staticmethod
    def _token(page: httpx.Response) -> str:
        found = re.search(r'"request_token":"(\w+)"', page.text)
        assert found is not None, page.text
        return found[1]

    @staticmethod
    def _log_in(client: Visitor, password: str) -> httpx.Response:
        form = fields(client.get("/?_task=login").text, "login-form") | {"_user": USER, "_pass": password}
        return client.post("/?_task=login", data=form)

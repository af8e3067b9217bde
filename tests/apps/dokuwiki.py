"""DokuWiki: installed by its form, everything in files, and pages whose names are PATH_INFO."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import httpx

from tests.apps.application import Application
from tests.apps.compare import Answer
from tests.apps.crawl import fields
from tests.apps.noise import Noise
from tests.apps.pictures import PNG
from tests.apps.visitor import Visitor
from tests.eventually import soon

__all__ = ("DokuWiki",)

_SOURCE, _CONFIGURATION = Path("/usr/share/dokuwiki"), Path("/etc/dokuwiki")
_DATA = ("attic", "cache", "index", "locks", "log", "media", "media_attic", "media_meta", "meta", "pages", "tmp")
# breadcrumbs would tell where the visitor was before
_SETTINGS = """
$conf['userewrite'] = 2;
$conf['useslash'] = 1;
$conf['updatecheck'] = 0;
$conf['breadcrumbs'] = 0;
"""
ADMIN, SECRET = "ada", "a long and secret word"


class DokuWiki(Application):
    """A wiki with a dozen pages."""

    name = "dokuwiki"
    front = "doku.php"
    start = ("/", "/doku.php/page1", "/doku.php/start?do=index", "/doku.php?id=page2", "/feed.php", "/doku.php/nowhere")
    avoid = re.compile(
        r"sectok|do=(?:logout|resendpwd|draft|subscribe)|taskrunner|do=edit|do=admin.*(?:config|popularity|extension)"
    )
    noise = (
        Noise("a session's name is random", r"(?:DokuWiki|DW\w+)=([^;\n]+)"),
        Noise("a cookie's end is counted from now", r"(?i)expires[=:] ?([^;\n]+)"),
        Noise("a token belongs to a session", r'(?:sectok"? value="|sectok=)([0-9a-f]{32})'),
        Noise("a picture's token depends on when it was uploaded", r"(?:;|&)tok=([0-9a-f]{6})"),
        Noise("when a page was changed", r"\b(\d{4}(?:\\?/|-)\d\d(?:\\?/|-)\d\d[T ]\d\d:\d\d(?::\d\d)?)"),
        Noise("seconds of now", r"\b(1[789]\d{8})\b"),
        Noise("when a cached answer was made", r"(?:last-modified: |etag: )(.*)(?=[^\x00]*\nx-dokuwiki)"),
    )
    changing = ("root/data", "root/conf")

    def prepare(self) -> None:
        shutil.copytree(
            _SOURCE, self.root, ignore=shutil.ignore_patterns(".htaccess*", "preload.php", "VERSION", "testing")
        )
        (self.root / "VERSION").write_text("2022-07-31 test\n")
        kept_out = shutil.ignore_patterns("*.auth.php", "*.auth.php.dist", "local.php*", "apache.conf", "htaccess")
        shutil.copytree(_CONFIGURATION, self.root / "conf", ignore=kept_out)
        settings = self.root / "conf" / "dokuwiki.php"
        settings.write_text(settings.read_text().replace("/var/lib/dokuwiki/data", "./data"))
        for name in _DATA:
            (self.root / "data" / name).mkdir(parents=True)

    def install(self, client: Visitor) -> None:
        form = {
            "d[title]": "A wiki",
            "d[acl]": "on",
            "d[superuser]": ADMIN,
            "d[fullname]": "Ada",
            "d[email]": "ada@dokuwiki.test",
            "d[password]": SECRET,
            "d[confirm]": SECRET,
            "d[policy]": "0",
            "d[license]": "cc-by-sa",
            "submit": "",
        }
        response = client.post("/install.php", data=form)
        assert "was created successfully" in response.text or "successful" in response.text, response.text
        with (self.root / "conf" / "local.php").open("a") as file:
            file.write(_SETTINGS)
        for n in range(1, 13):
            text = f"====== Page {n} ======\nSomething to read, see [[page{n % 12 + 1}]].\n"
            (self.root / "data" / "pages" / f"page{n}.txt").write_text(text)

    def log_in(self, client: Visitor) -> None:
        assert "Log Out" in self._log_in(client, SECRET).text

    def session(self, client: Visitor) -> Iterator[Answer]:
        yield Answer.of(self._log_in(client, "wrong"), "a wrong password")
        yield Answer.of(self._log_in(client, SECRET), "log in")
        yield Answer.of(self._save(client, "written", "====== Written ======\nBy form.\n"), "write a page")
        yield Answer.of(client.get("/doku.php/written"))
        yield Answer.of(self._save(client, "written", "====== Written ======\nChanged.\n"), "change it")
        yield Answer.of(client.get("/doku.php/written?do=revisions"))
        page = client.get("/lib/exe/mediamanager.php?ns=").text
        picture = {"upload": ("picture.png", PNG, "image/png")}
        form = fields(page, "dw__upload") | {"mediaid": "picture.png", "ns": ""}
        yield Answer.of(client.post("/lib/exe/mediamanager.php", data=form, files=picture), "upload a picture")
        yield Answer.of(client.get("/lib/exe/fetch.php/picture.png"), "look at it", leave_out=("etag", "last-modified"))
        yield Answer.of(
            client.get("/lib/exe/fetch.php/picture.png", headers={"Range": "bytes=10-99"}),
            "a part of it",
            leave_out=("etag", "last-modified"),
        )
        asked = {"call": "linkwiz", "q": "page"}
        yield Answer.of(client.post("/lib/exe/ajax.php", data=asked), "ask for pages")
        token = fields(client.get("/doku.php/start?do=login").text).get("sectok", "")
        yield Answer.of(client.get("/doku.php/start", params={"do": "logout", "sectok": token}), "log out")
        yield Answer.of(client.get("/doku.php/start?do=admin"), "after logging out")

    @staticmethod
    def _log_in(client: Visitor, password: str) -> httpx.Response:
        form = fields(client.get("/doku.php/start?do=login").text, "dw__login")
        return client.post("/doku.php/start?do=login", data=form | {"u": ADMIN, "p": password}, follow_redirects=True)

    @staticmethod
    def _save(client: Visitor, page: str, text: str) -> httpx.Response:
        # a page has one version in a second, and another one if its file is written in the next second
        begun = int(time.time())
        soon(lambda: int(time.time()) > begun)
        form = fields(client.get(f"/doku.php/{page}?do=edit").text, "dw__editform")
        return client.post(f"/doku.php/{page}", data=form | {"wikitext": text, "do[save]": "1", "summary": "new"})

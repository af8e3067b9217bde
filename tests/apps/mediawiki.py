"""MediaWiki: installed by its command, with pages written through its API."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from tests.apps.application import Application
from tests.apps.compare import Answer
from tests.apps.crawl import fields
from tests.apps.database import PASSWORD, USER
from tests.apps.noise import MADE_NOW, Noise
from tests.apps.pictures import PNG
from tests.apps.visitor import Visitor

__all__ = ("MediaWiki",)

_SOURCE = Path("/usr/share/mediawiki")
ADMIN, SECRET = "Ada", "a long and secret word"
# a page that was just written was changed just now
_WHEN = ("etag", "last-modified")
_SETTINGS = """
$wgArticlePath = "/index.php/$1";
$wgUsePathInfo = true;
$wgEnableUploads = true;
$wgJobRunRate = 0;
// what it has measured does not stand in its pages
$wgEnableParserLimitReporting = false;
$wgShowHostnames = false;
"""


class MediaWiki(Application):
    """A wiki with a dozen pages, whose names are PATH_INFO."""

    name = "mediawiki"
    start = ("/", "/index.php/Page_1", "/index.php/Special:SpecialPages", "/api.php", "/rest.php/v1/page/Page_1")
    avoid = re.compile(
        r"(?i)UserLogout|Special:Random|action=(?:watch|unwatch|rollback|markpatrolled|purge|delete|protect)|"
        r"MovePage|Special:Export|token=|Special:ApiSandbox|Version|Statistics|title=Special:Log|CreateAccount|"
        # whose order is not determined
        r"AncientPages|(?:Fewest|Most)Revisions|(?:Short|Long)Pages"
    )
    noise = (
        MADE_NOW,
        Noise("how long it took, for itself", r'"wgBackendResponseTime":(\d+)'),
        Noise("a request has a random name", r'"wgRequestId":"(\w+)"'),
        Noise("likewise", r"(?:x-request-id: |\[)([0-9a-f]{20,32})"),
        Noise("a token belongs to a session", r"\b([0-9a-f]{40}(?:\\\\|\\|%5C)?\+(?:\\\\|\\)?)"),
        Noise("likewise", r"\b([0-9a-f]{40,42})\b"),
        Noise("a cookie's end, and a page's, is counted from now", r"(?i)expires[=:] ?([^;\n]+)"),
        Noise("a session's name is random", r"mediawiki(?:_session|Token)=([^;\n]+)"),
        Noise("when a page was changed, and when it was looked at", r"\b(20\d\d[01]\d[0-3]\d{7})\b"),
        Noise("likewise", r"\b(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ?)"),
        Noise("likewise, a minute", r"(?<![\d:])(\d\d(?::|%3A)\d\d)(?![\d:])"),
        Noise("likewise, minutes of the day", r'value=\\?"(\d{1,4})\\?" name=\\?"wpServerTime'),
        Noise("seconds of now", r"\b(1[789]\d{8})\b"),
    )
    changing = ("root/images", "root/cache")
    uses_database = True

    def prepare(self) -> None:
        self.take(_SOURCE, but=_left_out)
        for name in ("images", "cache", "extensions"):
            (self.root / name).mkdir(exist_ok=True)
        self.database.create(self.name)
        self.php(
            "maintenance/install.php",
            *(f"--dbserver=localhost:{self.database.socket}", f"--dbname={self.name}"),
            *(f"--dbuser={USER}", f"--dbpass={PASSWORD}", f"--pass={SECRET}"),
            *(f"--server={self.url}", "--scriptpath=", "--skins=Vector"),
            *("A wiki", ADMIN),
        )
        with (self.root / "LocalSettings.php").open("a") as file:
            file.write(_SETTINGS)

    def install(self, client: Visitor) -> None:
        self.log_in(client)
        token = self._token(client)
        for n in range(1, 13):
            text = f"== Section ==\nSomething to read, see [[Page {n % 12 + 1}]].\n[[Category:Part {n % 3}]]\n"
            edit = {"action": "edit", "title": f"Page {n}", "text": text, "token": token, "format": "json"}
            assert client.post("/api.php", data=edit).json()["edit"]["result"] == "Success"
        self.php("maintenance/runJobs.php")

    def log_in(self, client: Visitor) -> None:
        query = {"action": "query", "meta": "tokens", "type": "login", "format": "json"}
        token = client.get("/api.php", params=query).json()["query"]["tokens"]["logintoken"]
        form = {"action": "login", "lgname": ADMIN, "lgpassword": SECRET, "lgtoken": token, "format": "json"}
        assert client.post("/api.php", data=form).json()["login"]["result"] == "Success"

    def session(self, client: Visitor) -> Iterator[Answer]:
        login = "/index.php?title=Special:UserLogin"
        form = fields(client.get(login).text, "userlogin") | {"wpName": ADMIN, "wpPassword": "wrong"}
        yield Answer.of(client.post(login, data=form), "a wrong password")
        form = fields(client.get(login).text, "userlogin") | {"wpName": ADMIN, "wpPassword": SECRET}
        entered = client.post(login, data=form)
        assert entered.status_code == 302, entered.text
        yield Answer.of(entered, "log in")
        yield Answer.of(client.get("/index.php/Main_Page"), leave_out=_WHEN)
        edit = "/index.php?title=Written&action=edit"
        form = fields(client.get(edit).text, "editform") | {"wpTextbox1": "Written by form.", "wpSummary": "new"}
        written = client.post("/index.php?title=Written&action=submit", data=form)
        assert written.status_code == 302, written.text
        yield Answer.of(written, "write a page")
        yield Answer.of(client.get("/index.php/Written"), leave_out=_WHEN)
        yield Answer.of(client.get("/index.php?title=Written&action=history"), leave_out=_WHEN)
        picture = {"wpUploadFile": ("picture.png", PNG, "image/png")}
        form = fields(client.get("/index.php/Special:Upload").text, "mw-upload-form")
        form |= {"wpDestFile": "Picture.png", "wpUpload": "Upload file", "wpIgnoreWarning": "1"}
        uploaded = client.post("/index.php/Special:Upload", data=form, files=picture)
        assert uploaded.status_code == 302, uploaded.text
        yield Answer.of(uploaded, "upload a picture")
        yield Answer.of(client.get("/index.php/File:Picture.png"), leave_out=_WHEN)
        found = re.search(r"/images/[0-9a-f]/[0-9a-f]{2}/Picture\.png", client.get("/index.php/File:Picture.png").text)
        assert found is not None
        yield Answer.of(client.get(found[0]), "look at it", leave_out=_WHEN)
        token = self._token(client)
        edit_by_api = {"action": "edit", "title": "Written", "appendtext": " And by API.", "format": "json"}
        yield Answer.of(client.post("/api.php", data=edit_by_api | {"token": token}), "change it by API")
        rest = {"source": "By REST.", "title": "By REST", "comment": "new", "token": token}
        yield Answer.of(client.post("/rest.php/v1/page", json=rest), "write a page by REST")
        yield Answer.of(client.get("/rest.php/v1/page/By_REST"), leave_out=_WHEN)
        form = fields(client.get("/index.php/Special:UserLogout").text, "UserLogout")
        yield Answer.of(client.post("/index.php/Special:UserLogout", data=form), "log out")
        yield Answer.of(client.get("/index.php/Special:Preferences"), "after logging out")

    @staticmethod
    def _token(client: Visitor) -> str:
        query = {"action": "query", "meta": "tokens", "format": "json"}
        token: str = client.get("/api.php", params=query).json()["query"]["tokens"]["csrftoken"]
        return token


def _left_out(folder: str, names: list[str]) -> set[str]:
    """What Debian has elsewhere."""
    return {"LocalSettings.php", "extensions", "images", "config"} & set(names) if folder == str(_SOURCE) else set()

"""A PHPApplication on a folder of its own and a scripted responder, asked without a server."""

from __future__ import annotations

import json
import os
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import attrs

from fcgi_async import Dispatcher
from fcgi_async.asgi import PHPApplication
from fcgi_async.testing import Reply, Request, Responder
from fcgi_async.testing.request import Answer as Scripted
from tests.asgi.client import Client

Headers = Iterable[tuple[str, str]]
HOST = (("host", "site.test"),)
SECRET = b"<?php $password = 'secret';"

# every kind of file that a request may try to reach
FILES = (
    "index.php blog/index.php sub/index.html page.php page.php.bak config.php~ secret.phps UPPER.PHP a.phtml "
    "lib.inc x.phar old.php7 dump.sql x.orig x.swp composer.json composer.lock .env .git/config .htaccess "
    ".well-known/acme uploads/evil.php uploads/evil.jpg uploads/index.php wp-content/uploads/evil.php "
    "wp-admin/index.php wp-admin/a.php plain.txt style.css empty.txt other.PhP dots.php. "
).split()


def build(root: Path) -> None:
    """Fill a folder: files that show what they are, a folder without an index, links, and a FIFO."""
    for name in FILES:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(SECRET)
    (root / "style.css").write_bytes(b"body { color: red }\n")
    (root / "plain.txt").write_bytes(bytes(range(48, 58)) * 10)
    (root / "empty.txt").write_bytes(b"")
    (root / "sub/index.html").write_bytes(b"<p>sub")
    (root / ".well-known/acme").write_bytes(b"token")
    (root / "bare").mkdir()
    (root / "dir.php").mkdir()
    (root / "with blank.txt").write_bytes(b"blank")
    (root / "ümlaut.txt").write_bytes("ü".encode())
    outside = root.parent / "outside"
    outside.mkdir()
    (outside / "secret.txt").write_bytes(b"outside")
    (outside / "secret.php").write_bytes(SECRET)
    (root / "link").symlink_to(outside)
    os.mkfifo(root / "fifo")
    os.mkfifo(root / "fifo.php")


@attrs.frozen
class Answer:
    """What came back."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes
    complete: bool

    def header(self, name: str) -> str | None:
        """The value of a header; None if there is none."""
        found = [value for key, value in self.headers if key == name.encode()]
        assert len(found) < 2, found
        return found[0].decode("latin-1") if found else None

    def names(self) -> list[str]:
        """The names of all headers."""
        return [key.decode() for key, _ in self.headers]

    def params(self) -> dict[str, str]:
        """The parameters that the responder got, of an answer by `tell`."""
        found: dict[str, str] = json.loads(self.body)["params"]
        return found

    def received(self) -> str:
        """The body that it got."""
        return str(json.loads(self.body)["body"])


async def tell(request: Request) -> Reply:
    """Answer with what was asked."""
    told = {"params": dict(request.params), "body": (await request.body()).decode("latin-1")}
    return Reply(headers={"Content-Type": "application/json"}, body=json.dumps(told))


@attrs.define(eq=False)
class Site:
    """The application and what it stands on.

    Attributes:
        root: its folder.
        php: the dispatcher.
        responder: in the place of PHP-FPM.
        handle: answers in the place of scripts.
    """

    root: Path
    php: Dispatcher
    responder: Responder
    handle: Callable[[Request], Awaitable[Scripted]] = tell

    def app(self, **options: Any) -> PHPApplication:
        """The application."""
        return PHPApplication(self.root, **{"dispatcher": self.php, **options})

    async def ask(self, target: str | bytes = "/", **asked: Any) -> Answer:
        """Ask the application; what is not named here is an option of it."""
        names = {
            "method",
            "headers",
            "version",
            "body",
            "scheme",
            "client",
            "server",
            "root_path",
            "extensions",
            "user",
        }
        request = {name: value for name, value in asked.items() if name in names}
        return await ask(self.app(**{name: asked[name] for name in asked.keys() - names}), target, **request)


async def ask(
    app: PHPApplication,
    target: str | bytes = "/",
    *,
    method: str = "GET",
    headers: Headers = HOST,
    version: str = "1.1",
    body: Iterable[bytes] | None = None,
    **scope: Any,
) -> Answer:
    """Send one request, as a server hands it over, and return the answer."""
    raw = target.encode() if isinstance(target, str) else target
    path, _, query = raw.partition(b"?")
    parts = list(body or [b""])
    last = len(parts) - 1
    client = Client([{"type": "http.request", "body": part, "more_body": n < last} for n, part in enumerate(parts)])
    await client.request(
        app,
        method=method,
        path=unquote(path.decode("latin-1")),
        raw_path=path,
        query_string=query,
        headers=[(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers],
        http_version=version,
        **{"scheme": "http", "client": ("192.0.2.7", 4711), "server": ("192.0.2.1", 8000), "root_path": "", **scope},
    )
    return collected(client)


def collected(client: Client) -> Answer:
    """What a client has got."""
    start, *parts = client.sent
    assert start["type"] == "http.response.start"
    body = b"".join(part.get("body", b"") for part in parts if part["type"] == "http.response.body")
    ended = bool(parts) and not parts[-1].get("more_body", False)
    return Answer(start["status"], list(start["headers"]), body, ended)

"""Request targets as no browser sends them, and a site whose every file says what it is."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator
from itertools import product

from tests.apps.application import Application
from tests.apps.compare import Answer

__all__ = ("Decisions", "decision", "targets")

_SCRIPT = "<?php echo 'ran {name} with ', $_SERVER['PATH_INFO'] ?? '', '.';"
_SCRIPTS = (
    "index.php",
    "page.php",
    "blog/index.php",
    "uploads/evil.php",
    "UPPER.PHP",
    "a.phtml",
    "b.php7",
    "old.php.bak",
)
_FILES = ("style.css", "uploads/evil.jpg", "sub/index.html", ".env", ".git/config", ".well-known/acme", "ü ö.txt", "x~")

_BEFORE = ("/", "//", "/./", "/sub/../", "/%2e/", "/nowhere/../", "/../", "/%2e%2e/", "/..%2f", "/sub/%2e%2E/")
_NAMES = (
    *("", "page.php", "blog", "blog/index.php", "bare", "sub", "style.css", "style%2ecss", "p%61ge.php", "PAGE.php"),
    *("page%2ephp", "uploads/evil.php", "uploads/evil.jpg", "UPPER.PHP", "a.phtml", "b.php7", "old.php.bak", "x~"),
    *(".env", "%2eenv", ".git/config", ".well-known/acme", "%C3%BC%20%C3%B6.txt", "nowhere", "nowhere.php", "fifo"),
    *("folder.php", "link/secret.txt", "page.php.", "style.css.", "%E4", "."),
)
_AFTER = (
    *("", "/", "//", "/info", "/info/more.php", "/info%2fmore", "/.", "/..", "/../page.php", "/%2e%2e/page.php"),
    *("?x=1", "?x=/../y.php", "%00", "%0a", "%20", "%", "%zz", "%5c", "%2f", "/x.php", "/..%2fpage.php", ";a=b"),
)


class Decisions(Application):
    """A site of scripts and files that say who they are."""

    name = "decisions"

    def prepare(self) -> None:
        for name in (*_SCRIPTS, *_FILES):
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(_SCRIPT.format(name=name) if name in _SCRIPTS else f"file {name}")
        for folder in ("bare", "folder.php"):
            (self.root / folder).mkdir()
        os.mkfifo(self.root / "fifo")
        outside = self.folder / "outside"
        outside.mkdir()
        (outside / "secret.txt").write_text("file outside")
        (self.root / "link").symlink_to(outside)

    def session(self, client: object) -> Iterator[Answer]:
        raise NotImplementedError


def targets() -> list[str]:
    """Return a few thousand targets."""
    found = [f"{before}{name}{after}" for before, name, after in product(_BEFORE, _NAMES, _AFTER)]
    return list(dict.fromkeys(found))


def decision(connection: socket.socket, target: str) -> str:
    """Ask for a target, and return what was decided: which script ran, which file was sent, or a status."""
    connection.sendall(f"GET {target} HTTP/1.1\r\nHost: decisions.test\r\n\r\n".encode("latin-1"))
    head, _, body = _read(connection)
    status = int(head[9:12])
    if status == 200:
        text = body.decode()
        return text if text.startswith(("ran ", "file ")) else f"shown: {text[:20]}"
    location = re.search(rb"(?i)\r\nlocation: ([^\r]*)", head)
    return f"{status} {location[1].decode()}" if location else f"{status}"


def _read(connection: socket.socket) -> tuple[bytes, bytes, bytes]:
    data = b""
    while b"\r\n\r\n" not in data:
        data += _more(connection)
    head, blank, body = data.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
    while length and len(body) < int(length[1]):
        body += _more(connection)
    if not length:
        while not body.endswith(b"0\r\n\r\n"):
            body += _more(connection)
        body = b"".join(re.findall(rb"[0-9a-f]+\r\n(.*?)\r\n", body, re.DOTALL))
    return head, blank, body


def _more(connection: socket.socket) -> bytes:
    data = connection.recv(65536)
    if not data:
        raise ConnectionError("the connection was closed")
    return data

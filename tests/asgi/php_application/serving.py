"""The application under real servers, on a real PHP-FPM, asked over sockets."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import attrs

from fcgi_async import LocalFPM
from tests.asgi.php_application.site import build
from tests.asgi.server import Service, granian, hypercorn, serving, uvicorn
from tests.eventually import soon

APP = "tests.asgi.services.php_site:app"
SERVERS = {
    "uvicorn": uvicorn(APP),
    "uvicorn-h11": uvicorn(APP, "--http", "h11", "--loop", "asyncio"),
    "hypercorn": hypercorn(APP),
    "hypercorn-trio": hypercorn(APP, "--worker-class", "trio"),
    "granian": granian(APP),
}

TELL = """<?php
header('Content-Type: application/json');
echo json_encode(
    ['params' => $_SERVER, 'pid' => getmypid(), 'body' => strlen(file_get_contents('php://input'))],
    JSON_INVALID_UTF8_SUBSTITUTE
);
"""
SCRIPTS = {
    "index.php": TELL,
    "page.php": TELL,
    "blog/index.php": TELL,
    "cookies.php": "<?php setcookie('a', '1'); setcookie('b', '2'); echo 'ok';",
    "short.php": "<?php header('Content-Length: 10'); echo 'abc';",
    "long.php": "<?php header('Content-Length: 3'); echo 'abcdef';",
    "letters.php": "<?php header('Content-Length: abc'); echo 'abc';",
    "status.php": "<?php header('Status: ' . $_GET['status'], true, (int) $_GET['status']); echo 'body';",
    "unchanged.php": "<?php http_response_code(304); header('Content-Length: 4');",
    "head.php": "<?php header('X-Long: ' . str_repeat('x', 5000)); echo 'ok';",
    "fatal.php": "<?php header('X-A: 1'); nowhere();",
    "killed.php": "<?php exec('kill -9 ' . getmypid());",
    "dies.php": "<?php echo 'begun'; flush(); usleep(50000); exec('kill -9 ' . getmypid());",
    "flood.php": "<?php $n = (int) ($_GET['mib'] ?? 1e9); $part = str_repeat('0123456789abcdef', 65536);"
    " for ($i = 0; $i < $n; $i++) { echo $part; flush(); }",
    "sum.php": "<?php echo strlen(file_get_contents('php://input')), ' ', $_SERVER['CONTENT_LENGTH'];",
    "work.php": "<?php usleep((int) ($_GET['ms'] ?? 0) * 1000); echo 'done';",
    "wait.php": "<?php touch($_GET['marks'] . '/' . getmypid() . '-' . uniqid());"
    " while (!file_exists($_GET['gate'])) { usleep(2000); clearstatcache(); } echo 'waited';",
}


@contextmanager
def site_under(
    server: str, fpm: LocalFPM, directory: Path, *, options: dict[str, Any] | None = None, **environment: str
) -> Iterator[Service]:
    """Serve a folder of every kind of file, with scripts that tell what they got."""
    root = directory / "root"
    if not root.exists():
        root.mkdir()
        build(root)
        for name, source in SCRIPTS.items():
            (root / name).write_text(source)
    settings = {
        "FPM": fpm.address,
        "MAX_CHILDREN": str(fpm.max_children),
        "ROOT": str(root),
        "OPTIONS": json.dumps(options or {}),
    }
    with serving(SERVERS[server], settings | environment, directory) as service:
        # granian says that it listens before it does
        soon(lambda: _listens(service))
        yield service


def _listens(service: Service) -> bool:
    try:
        connect(service).close()
    except ConnectionRefusedError:
        return False
    return True


@attrs.frozen
class Reply:
    """A response as it came."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    # whether it has the end that its head announces
    complete: bool

    def json(self) -> dict[str, Any]:
        """The body's JSON."""
        found: dict[str, Any] = json.loads(self.body)
        return found

    def header(self, name: str) -> str | None:
        """The first value of a header."""
        return next((value for key, value in self.headers if key == name), None)


def connect(service: Service) -> socket.socket:
    """A new connection to a service."""
    address = urlsplit(service.url)
    assert address.hostname
    assert address.port
    return socket.create_connection((address.hostname, address.port), timeout=60)


def exchange(service: Service, request: bytes) -> Reply | None:
    """Send bytes on a connection of their own, and read what comes until it is closed; None where nothing came."""
    with connect(service) as sock:
        sock.sendall(request)
        return read_reply(sock, head=request.startswith(b"HEAD"))


def read_reply(sock: socket.socket, *, head: bool = False) -> Reply | None:
    """Read a response until the connection is closed, or it is complete, as it is without a body to HEAD."""
    data = bytearray()
    try:
        while (reply := parse(data, head)) is None or not reply.complete:
            part = sock.recv(1 << 20)
            if not part:
                break
            data += part
    except ConnectionResetError:
        pass
    return parse(data, head)


def parse(data: bytearray, without_body: bool = False) -> Reply | None:
    """Return the response that came; None if it has no whole head."""
    head, found, body = bytes(data).partition(b"\r\n\r\n")
    if not found:
        return None
    status, *lines = head.decode("latin-1").split("\r\n")
    pairs = [line.partition(":") for line in lines]
    headers = [(name.lower(), value.strip()) for name, _, value in pairs]
    fields = dict(headers)
    code = int(status.split(" ")[1])
    if without_body or code in (204, 304):
        content, complete = body, True
    elif fields.get("transfer-encoding") == "chunked":
        content, complete = _unchunk(body)
    elif "content-length" in fields:
        content, complete = body, len(body) >= int(fields["content-length"])
    else:
        content, complete = body, False
    return Reply(code, headers, content, complete)


def _unchunk(body: bytes) -> tuple[bytes, bool]:
    parts: list[bytes] = []
    while True:
        size, found, rest = body.partition(b"\r\n")
        if not found:
            return b"".join(parts), False
        length = int(size, 16)
        if length == 0:
            return b"".join(parts), rest.startswith(b"\r\n")
        parts.append(rest[:length])
        if len(rest) < length + 2:
            return b"".join(parts), False
        body = rest[length + 2 :]


def get(target: str, *headers: str, method: str = "GET", host: str | None = "site.test") -> bytes:
    """A request without a body, and a connection that is closed after it."""
    lines = [f"{method} {target} HTTP/1.1", *([] if host is None else [f"Host: {host}"]), *headers, "Connection: close"]
    return "".join(f"{line}\r\n" for line in [*lines, ""]).encode("latin-1")


def statistics(service: Service) -> dict[str, int]:
    """The dispatcher's."""
    reply = exchange(service, get("/-/statistics"))
    assert reply is not None
    found: dict[str, int] = reply.json()
    return found

"""FastCGI servers that others wrote, each with the same small program, as processes that end with the test.

The program reads the body, counts the request among those that have come, and answers with `X-Name`, `X-Received`
(bytes and MD5 of the body) and, where it can count them, `X-Accepted` (connections so far). The query says the rest:

    name        what X-Name says
    together    wait until so many requests have come, this one included
    ms          then wait so many milliseconds
    status      the status
    size        how many bytes the answer has
    stderr      what is logged
    app_status  the app status
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import attrs

from fcgi_async import Endpoint

SERVERS = Path(__file__).parent / "servers"
SCRIPT = "answer.php"
WORKERS = 4

# what becomes of a request of a role that the server's program does not serve
RoleCheck = Literal["UNKNOWN_ROLE", "run as a responder"]


@attrs.frozen
class Traits:
    """What a server is known to do; the tests see to it that this is so, `honours_abort` aside.

    Attributes:
        values: what it answers to GET_VALUES for MPXS_CONNS, MAX_REQS and MAX_CONNS.
        multiplexes: whether it serves several requests on a connection at once.
        honours_abort: whether ABORT_REQUEST ends a request that runs.
        unknown_role: what becomes of an authorizer.
        unknown_type: what a management record of an unknown type is answered with.
        stderr, app_status: whether the program can send them.
    """

    values: Mapping[bytes, bytes]
    multiplexes: bool = True
    honours_abort: bool = False
    unknown_role: RoleCheck = "UNKNOWN_ROLE"
    unknown_type: Literal["nothing", "UNKNOWN_TYPE", "UNKNOWN_TYPE, then closes", "closes"] = "nothing"
    stderr: bool = True
    app_status: bool = False


@attrs.frozen
class Kind:
    """One of the servers.

    Attributes:
        name: as in the matrix.
        command: what runs it; `{socket}` stands for where it listens, `{go}` for the compiled program.
    """

    name: str
    command: tuple[str, ...]
    traits: Traits


def _values(multiplexes: int, requests: int | None = None, connections: int | None = None) -> dict[bytes, bytes]:
    given = {b"FCGI_MPXS_CONNS": multiplexes, b"FCGI_MAX_REQS": requests, b"FCGI_MAX_CONNS": connections}
    return {name: str(value).encode() for name, value in given.items() if value is not None}


PHP = Traits(
    _values(0),
    multiplexes=False,
    unknown_role="run as a responder",
    unknown_type="closes",
)

PHP_CGI_TRAITS = attrs.evolve(PHP, values=_values(0, WORKERS, WORKERS))

GO = Kind("Go net/http/fcgi", ("{go}", "{socket}"), Traits(_values(1), stderr=False))
GEVENT = Kind(
    "gevent-fastcgi",
    (sys.executable, str(SERVERS / "gevent_server.py"), "{socket}"),
    Traits(
        _values(1, 1024 * 1024, 1024),
        honours_abort=True,
        unknown_type="UNKNOWN_TYPE, then closes",
    ),
)
NET_ASYNC = Kind(
    "Net::Async::FastCGI",
    ("perl", str(SERVERS / "net_async.pl"), "{socket}"),
    Traits(_values(1, 1024, 1024), unknown_type="UNKNOWN_TYPE", app_status=True),
)
PHP_CGI = Kind(
    "php-cgi",
    ("php-cgi", "-n", "-d", "display_errors=0", "-d", "log_errors=1", "-d", "post_max_size=0", "-b", "{socket}"),
    PHP_CGI_TRAITS,
)
PHP_FPM = Kind("PHP-FPM", (), PHP)

KINDS = (GO, GEVENT, NET_ASYNC, PHP_CGI, PHP_FPM)
MULTIPLEXING = tuple(kind for kind in KINDS if kind.traits.multiplexes)


@attrs.define(eq=False)
class Server:
    """One that runs.

    Attributes:
        path: of its socket.
    """

    kind: Kind
    path: Path

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"unix://{self.path}"

    def endpoint(self, *, at_once: int = WORKERS, **settings: object) -> Endpoint:
        """Return an endpoint of so many requests at once, whose script is `SCRIPT`."""
        return Endpoint(self.address, max_children=at_once, root=str(SERVERS), **settings)  # type: ignore[arg-type]


@contextmanager
def running(kind: Kind, directory: Path, go: Path) -> Iterator[Server]:
    """Run a server, whose socket and log are in `directory`, until the block is left; `go` is the compiled program."""
    path = directory / "fastcgi.sock"
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            [part.format(socket=path, go=go) for part in kind.command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=os.environ | {"PHP_FCGI_CHILDREN": str(WORKERS)},
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + 30
        while not _accepts(path):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{kind.name} did not start: {(directory / 'log').read_text()}")
            time.sleep(0.01)
        yield Server(kind, path)
    finally:
        # its children with it: php-cgi forks
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _accepts(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as sock:
        return sock.connect_ex(str(path)) == 0

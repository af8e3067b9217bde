"""Wrong addresses and sockets, and scripts that FPM does not run."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any, Final

import anyio
from anyio.abc import ByteStream, SocketAttribute

from fcgi_async import (
    ConfigurationError,
    ConnectError,
    Dispatcher,
    Endpoint,
    InvalidJob,
    Job,
    JobFailed,
    QueueTimeout,
    StatusUnavailable,
)
from fcgi_async.net.current import current_backend
from tests.mistakes.mistake import ADDRESS, ECHO, JOB, Here, Mistake, bind, enter, run_at

EXAMPLE: Final = "unix:///run/php/php-fpm.sock"


def address(name: str, given: Any, what: str, where: str, cure: str = EXAMPLE) -> Mistake:
    """An address that cannot be one."""
    return Mistake(name, lambda _: Dispatcher(given, max_children=4), ConfigurationError, what, where, cure)


def script(name: str, path: str, error: type[BaseException], what: str, cure: str, **settings: Any) -> Mistake:
    """A script that does not run."""

    async def cause(here: Here) -> None:
        async with Dispatcher(Endpoint(here.fpm.address, max_children=1, **settings)) as php:
            (await php.run(Job(path))).raise_for_status()

    return Mistake(name, cause, error, what, path, cure)


async def web_server(_: Here) -> None:
    async def serve(stream: ByteStream) -> None:
        async with stream:
            await stream.receive()
            await stream.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        port = listener.extra(SocketAttribute.local_port)
        served = current_backend().spawn(lambda: listener.serve(serve))
        try:
            await run_at(f"tcp://127.0.0.1:{port}")
        finally:
            served.cancel()
            await served.join()


async def silence(_: Here) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        await run_at(f"tcp://127.0.0.1:{listener.getsockname()[1]}", Job(ECHO, timeout=0.05))


async def closed_port(_: Here) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        await run_at(f"tcp://127.0.0.1:{unused.getsockname()[1]}")


async def no_status_page(here: Here) -> None:
    async with here.php() as php:
        await php.status()


async def other_endpoint(here: Here) -> None:
    async with here.php() as php:
        await php.status(endpoint="unix:///other.sock")


ADDRESSES: Final = (
    address("host without a port", "tcp://localhost", "does not name a host and a port", "'tcp://localhost'"),
    address("port as a word", "tcp://localhost:fpm", "not an address", "'fpm'"),
    address("port out of range", "tcp://localhost:99999", "out of range", "99999"),
    address("web address", "http://localhost:9000", "not an address", "http://localhost:9000"),
    address("misspelt scheme", "unx:///run/fpm.sock", "not an address", "unx:///run/fpm.sock"),
    address("two slashes", "unix://run/fpm.sock", "neither an absolute path", "unix://run/fpm.sock"),
    address("relative path", "run/fpm.sock", "not an address", "run/fpm.sock"),
    address("empty address", "", "not an address", "''"),
    address("path that is too long", f"unix:///{'x' * 200}", "longer than the 107 bytes", "xxx", "shorten `listen`"),
    address("path as a Path", Path("/run/fpm.sock"), "not PosixPath", "endpoint", "unix:///run/fpm.sock"),
    address("address as a pair", ("tcp://localhost:9000", 9000), "not int", "endpoint"),
    address("address as bytes", b"unix:///run/fpm.sock", "not bytes", "endpoint"),
    address("no address", None, "not NoneType", "endpoint"),
)

SOCKETS: Final = (
    Mistake("socket that is not there", lambda _: run_at(ADDRESS), ConnectError, "no such socket", ADDRESS, "`listen`"),
    Mistake(
        "folder as a socket",
        lambda here: run_at(f"unix://{here.folder}"),
        ConnectError,
        "a directory, not a socket",
        "unix:///",
        "give the socket's path",
    ),
    Mistake(
        "file as a socket",
        lambda here: run_at(f"unix://{here.write('fpm.conf', '')}"),
        ConnectError,
        "a file, not a socket",
        "fpm.conf",
        "give the socket's path",
    ),
    Mistake(
        "socket that FPM has left",
        lambda here: run_at(bind(here.folder / "fpm.sock", socket.SOCK_STREAM)),
        ConnectError,
        "nothing listens",
        "fpm.sock",
        "check that FPM runs",
    ),
    Mistake(
        "path below a file",
        lambda here: run_at(f"unix://{here.write('fpm.conf', '')}/fpm.sock"),
        ConnectError,
        "leads through a file",
        "fpm.conf",
        "compare with `listen`",
    ),
    Mistake(
        "port that is closed", closed_port, ConnectError, "nothing listens", "tcp://127.0.0.1:", "check that FPM runs"
    ),
    Mistake(
        "host that does not exist",
        lambda _: run_at("tcp://nowhere.invalid:9000"),
        ConnectError,
        "cannot be resolved",
        "tcp://nowhere.invalid:9000",
        "check its spelling",
    ),
    Mistake("web server", web_server, ConnectError, "does not speak FastCGI", "tcp://127.0.0.1:", "not that of a web"),
    Mistake(
        "port that says nothing", silence, QueueTimeout, "has not answered", "tcp://127.0.0.1:", "compare the address"
    ),
    Mistake(
        "number of workers not given",
        lambda _: enter(Dispatcher(ADDRESS)),
        ConfigurationError,
        "max_children is not known",
        ADDRESS,
        "give pm.max_children",
    ),
    Mistake(
        "no status page", no_status_page, StatusUnavailable, "no status page", "endpoint unix://", "set pm.status_path"
    ),
    Mistake(
        "endpoint of another", other_endpoint, ConfigurationError, "names none", "unix:///other.sock", "give one of"
    ),
)

SCRIPTS: Final = (
    script("script that is not there", "/nowhere/a.php", JobFailed, "status 404", "as PHP-FPM sees it"),
    script("script without .php", "/etc/hostname", JobFailed, "status 403", "see security.limit_extensions"),
    script("folder as a script", "/tmp", JobFailed, "status 403", "see security.limit_extensions"),
    script("relative script", "a.php", InvalidJob, "no root", "give an absolute path or Endpoint(root=...)"),
    script(
        "script outside the root", "../a.php", InvalidJob, "leads out of", "name a script below it", root="/srv/app"
    ),
    Mistake(
        "settings as a parameter",
        lambda here: run_at(here.fpm.address, Job(ECHO, params={"PHP_VALUE": "memory_limit=1G"})),
        InvalidJob,
        "is refused",
        "PHP_VALUE",
        "Endpoint(allow_params=",
    ),
    Mistake(
        "number in the endpoint's params",
        lambda here: enter_and_run(Endpoint(here.fpm.address, max_children=1, params={"A": 7})),  # type: ignore[dict-item]
        ConfigurationError,
        "not int",
        "params['A']",
        "must be a string",
    ),
)


async def enter_and_run(endpoint: Endpoint) -> None:
    async with Dispatcher(endpoint) as php:
        await php.run(JOB)

"""The servers of others: each kind started for a test, and ended with it."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from fcgi_async import LocalFPM
from tests.conftest import StartFPM
from tests.interop.libfcgi import libfcgi
from tests.interop.relay import RELAYS, relay
from tests.interop.server import KINDS, PHP_FPM, SERVERS, Kind, Server, running


@pytest.fixture(scope="session")
def go_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Go server, compiled."""
    directory = tmp_path_factory.mktemp("go")
    program = directory / "server"
    # an empty GOFLAGS and no module: the standard library is all that it needs
    environment = os.environ | {"GO111MODULE": "off", "GOFLAGS": "", "GOCACHE": str(directory / "cache")}
    subprocess.run(["go", "build", "-o", program, SERVERS / "main.go"], check=True, env=environment)
    return program


@pytest.fixture(params=KINDS, ids=lambda kind: kind.name)
def server(request: pytest.FixtureRequest, tmp_path: Path, go_program: Path, fpm_here: LocalFPM) -> Iterator[Server]:
    """A server of each kind; with `@pytest.mark.parametrize("server", [...], indirect=True)` of those."""
    kind: Kind = request.param
    if kind is PHP_FPM:
        yield Server(kind, Path(fpm_here.address.removeprefix("unix://")))
        return
    with running(kind, tmp_path, go_program) as server:
        yield server


@pytest.fixture
def socket_directory() -> Iterator[Path]:
    """A directory with a short path: pytest's own may be too long for a socket's."""
    with tempfile.TemporaryDirectory(prefix="interop-") as directory:
        yield Path(directory)


@pytest.fixture(params=RELAYS)
async def relayed(request: pytest.FixtureRequest, start_fpm: StartFPM, socket_directory: Path) -> AsyncIterator[str]:
    """The address of a relay of each kind in front of a PHP-FPM with two workers."""
    fpm = await start_fpm(max_children=2)
    async with relay(request.param, fpm.address, socket_directory) as address:
        yield address


@pytest.fixture
async def libfcgi_address(anyio_backend: tuple[str, dict[str, Any]], socket_directory: Path) -> AsyncIterator[str]:
    """The address of a server on libfcgi with four workers."""
    async with libfcgi(socket_directory, workers=4) as address:
        yield address


@pytest.fixture
def marks(tmp_path: Path) -> Path:
    """The file in which scripts mark their stay."""
    return tmp_path / "marks"

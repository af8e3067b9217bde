"""The servers of others: each kind started for a test, and ended with it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from fcgi_async import LocalFPM
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

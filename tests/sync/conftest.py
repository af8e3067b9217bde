"""A dispatcher for threads, on each event loop, on the PHP-FPM that all tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest

from fcgi_async import Endpoint, LocalFPM
from fcgi_async.sync import Dispatcher


@pytest.fixture(params=["asyncio", "trio"])
def backend(request: pytest.FixtureRequest) -> Literal["asyncio", "trio"]:
    """The event loop in the dispatcher's thread."""
    found: Literal["asyncio", "trio"] = request.param
    return found


@pytest.fixture
def endpoint(fpm: LocalFPM, scripts: Path) -> Endpoint:
    """The shared PHP-FPM with its scripts; an abandoned one is left soon."""
    return Endpoint(fpm.address, max_children=4, root=str(scripts), on_cancel="close")


@pytest.fixture
def php(backend: Literal["asyncio", "trio"], endpoint: Endpoint) -> Iterator[Dispatcher]:
    """A dispatcher that is open."""
    with Dispatcher(endpoint, backend=backend, shutdown_timeout=20) as dispatcher:
        yield dispatcher


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Path]:
    """The file that lets `gate.php` end; it is there at the end of the test."""
    path = tmp_path / "gate"
    yield path
    path.touch()

"""A gateway before the PHP-FPM that the tests share, and what connects to it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from fcgi_async import Dispatcher, Endpoint, LocalFPM
from fcgi_async.gateway import Gateway


@pytest.fixture
async def back(anyio_backend: tuple[str, dict[str, Any]], fpm: LocalFPM) -> AsyncIterator[Dispatcher]:
    """The dispatcher behind the gateway, with two of the four workers."""
    async with Dispatcher(Endpoint(fpm.address, max_children=2)) as dispatcher:
        yield dispatcher


@pytest.fixture
async def gateway(back: Dispatcher, tmp_path: Path) -> AsyncIterator[Gateway]:
    """A gateway on a unix socket."""
    async with Gateway(back, f"unix://{tmp_path}/gateway.sock") as gateway:
        yield gateway


@pytest.fixture
def client(gateway: Gateway, scripts: Path) -> Endpoint:
    """The gateway as an endpoint, whose scripts are given by their names."""
    return Endpoint(gateway.address, root=str(scripts))

"""A site without PHP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from fcgi_async import Dispatcher
from fcgi_async.testing import Request, Responder
from fcgi_async.testing.request import Answer
from tests.asgi.php_application.site import Site, build


@pytest.fixture
async def site(anyio_backend: tuple[str, dict[str, Any]], tmp_path: Path) -> AsyncIterator[Site]:
    """A site whose scripts are answered by `site.handle`."""
    root = tmp_path / "root"
    root.mkdir()
    build(root)

    async def handle(request: Request) -> Answer:
        return await found.handle(request)

    async with Responder(handle) as responder, Dispatcher(responder.address, max_children=4) as php:
        found = Site(root, php, responder)
        yield found

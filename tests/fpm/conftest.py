"""A dispatcher on the PHP-FPM that the tests share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from fcgi_async import Dispatcher, Endpoint, LocalFPM


@pytest.fixture
async def php(anyio_backend: tuple[str, dict[str, Any]], fpm: LocalFPM, scripts: Path) -> AsyncIterator[Dispatcher]:
    """A dispatcher with all four workers, whose scripts are given by their names."""
    async with Dispatcher(Endpoint(fpm.address, max_children=fpm.max_children, root=str(scripts))) as dispatcher:
        yield dispatcher


@pytest.fixture
def marks(tmp_path: Path) -> Path:
    """The file in which scripts mark their stay; scripts of whatever user may."""
    return tmp_path / "marks"

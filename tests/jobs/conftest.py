"""The stores that all tests of durable jobs run on: another database is another parameter here."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from fcgi_async.jobs.sql.sqlite_store import SQLiteStore
from fcgi_async.jobs.store import Store

# makes another connection to the same database, not open yet
MakeStore = Callable[[], Store]


@pytest.fixture(params=["sqlite"])
def make_store(request: pytest.FixtureRequest, tmp_path: Path) -> MakeStore:
    """Makes stores in one empty database of the test's own."""
    assert request.param == "sqlite"
    return lambda: SQLiteStore(tmp_path / "jobs.db")


@pytest.fixture
async def store(anyio_backend: tuple[str, dict[str, Any]], make_store: MakeStore) -> AsyncIterator[Store]:
    """An open store in an empty database."""
    async with AsyncExitStack() as stack:
        store = make_store()
        await store.open()
        stack.push_async_callback(store.aclose)
        yield store

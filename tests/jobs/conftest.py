"""The stores that all tests of durable jobs run on: another database is another parameter here."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Protocol

import pytest

from fcgi_async.jobs import Jobs
from fcgi_async.jobs.locate import find_store
from fcgi_async.jobs.store import Store

# makes another connection to the same database, not open yet
MakeStore = Callable[[], Store]


class OpenJobs(Protocol):
    """Opens `Jobs` on the test's database until the test ends; several have connections of their own."""

    async def __call__(self, **settings: Any) -> Jobs: ...


@pytest.fixture(params=["sqlite"])
def jobs_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of the test's own."""
    assert request.param == "sqlite"
    return f"sqlite://{tmp_path / 'jobs.db'}"


@pytest.fixture
def make_store(jobs_url: str) -> MakeStore:
    """Makes stores in the test's database."""
    return lambda: find_store(jobs_url)


@pytest.fixture
async def open_jobs(anyio_backend: tuple[str, dict[str, Any]], jobs_url: str) -> AsyncIterator[OpenJobs]:
    """Opens `Jobs` on the test's database."""
    async with AsyncExitStack() as stack:

        async def open_jobs(**settings: Any) -> Jobs:
            return await stack.enter_async_context(Jobs(jobs_url, **settings))

        yield open_jobs


@pytest.fixture
async def store(anyio_backend: tuple[str, dict[str, Any]], make_store: MakeStore) -> AsyncIterator[Store]:
    """An open store in an empty database."""
    async with AsyncExitStack() as stack:
        store = make_store()
        await store.open()
        stack.push_async_callback(store.aclose)
        yield store

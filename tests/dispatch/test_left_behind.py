"""What a job leaves behind when nobody asks for it any more: nothing that only the garbage collector finds."""

from __future__ import annotations

import gc
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress

import anyio
import pytest

from fcgi_async import Dispatcher, Job, JobTimeout
from fcgi_async.testing import Responder
from tests.dispatch.settled import settled
from tests.handlers import Held, echo

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def without_collector() -> Iterator[None]:
    """The garbage collector finds nothing meanwhile."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


async def parts() -> AsyncIterator[bytes]:
    """A body in parts."""
    for _ in range(3):
        await anyio.lowlevel.checkpoint()
        yield b"abc"


async def run(php: Dispatcher, job: Job) -> None:
    await php.run(job)


async def read(php: Dispatcher, job: Job) -> None:
    async with php.stream(job) as response:
        await response.aread()


async def leave(php: Dispatcher, job: Job) -> None:
    async with php.stream(job):
        pass


async def submit(php: Dispatcher, job: Job) -> None:
    await (await php.submit(job))


KINDS: dict[str, tuple[Callable[[Dispatcher, Job], Awaitable[None]], Callable[[], Job]]] = {
    "run": (run, lambda: Job("/a.php", content=b"abc")),
    "an upload": (run, lambda: Job("/a.php", content=parts(), content_length=9)),
    "an upload's handle": (submit, lambda: Job("/a.php", content=parts(), content_length=9)),
    "a stream": (read, lambda: Job("/a.php", content=b"abc")),
    "a stream that is left": (leave, lambda: Job("/a.php", content=b"abc")),
}


@pytest.mark.parametrize("kind", KINDS)
async def test_job_is_forgotten(address: str, kind: str) -> None:
    """A job that is over is forgotten with its response, at once."""
    use, make = KINDS[kind]
    async with Responder(echo, address), Dispatcher(address, max_children=1) as php:
        job = make()
        remains = weakref.ref(job)
        await use(php, job)
        del job
        await settled(php)
        assert remains() is None


async def test_deadline_that_passes(address: str) -> None:
    """An error that was caught is forgotten with its job, and the call that raised it with both."""
    held = Held()
    async with Responder(held, address), Dispatcher(address, max_children=1) as php:
        job = Job("/a.php")
        remains = weakref.ref(job)
        with suppress(JobTimeout):
            await php.run(job, timeout=0.02)
        del job
        held.release()
        await settled(php)
        assert remains() is None

"""The caller's code runs in the caller's task or in a callback of the loop, never in a transport's or a destructor."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextvars import ContextVar

import anyio
import pytest

from fcgi_async import Dispatcher, Endpoint, FastCGIError, Job, JobHandle
from fcgi_async.testing import Request, Reset, Responder
from tests.eventually import eventually
from tests.handlers import Held, ok

pytestmark = pytest.mark.every_loop
on_every_loop = pytest.mark.anyio

WHO: ContextVar[str] = ContextVar("WHO", default="nobody")


class Stop(BaseException):
    """What no `except Exception` catches."""


async def dies(request: Request) -> None:
    """A script that kills its worker."""
    await request.body()
    await request.fault(Reset())


@on_every_loop
@pytest.mark.parametrize("way", ["run_all", "map"])
async def test_generator_has_the_context_of_its_caller(address: str, way: str) -> None:
    """The iterable of jobs is read by the caller's own task, from the first job to the last."""
    seen: list[tuple[str, int]] = []

    def jobs() -> Iterator[Job]:
        for _ in range(50):
            seen.append((WHO.get(), anyio.get_current_task().id))
            yield Job("/a.php")

    async def caller(php: Dispatcher) -> None:
        WHO.set("caller")
        expected.add(("caller", anyio.get_current_task().id))
        if way == "run_all":
            await php.run_all(jobs())
        else:
            async with php.map(jobs()) as outcomes:
                assert len([outcome async for outcome in outcomes]) == 50

    expected: set[tuple[str, int]] = set()
    async with Responder(ok, address), Dispatcher(address, max_children=2) as php:
        # connections that were opened by somebody else
        await php.run_all([Job("/a.php")] * 4)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(caller, php)
    assert len(seen) == 50
    assert set(seen) == expected


@on_every_loop
async def test_what_a_generator_raises_reaches_its_caller_alone(address: str) -> None:
    """A BaseException out of the iterable is raised by run_all(); the connections and other jobs do not notice."""
    held = Held()

    def jobs() -> Iterator[Job]:
        yield from [Job("/a.php")] * 20
        raise Stop

    async def script(request: Request) -> None:
        await (held(request) if request.script == "/held.php" else ok(request))

    async with Responder(script, address) as responder, Dispatcher(address, max_children=2) as php:
        other = await php.submit(Job("/held.php"))
        await eventually(lambda: held.running)
        with pytest.raises(Stop):
            await php.run_all(jobs())
        held.release()
        assert (await other).text == "/held.php"
        assert (await php.run(Job("/a.php"))).text == "ok"
        assert len(responder.connections) == 2


@on_every_loop
async def test_on_job_error_is_called_by_the_loop(address: str) -> None:
    """A handle that is collected in another thread has its error told in the event loop's."""
    threads: list[int] = []

    def told(error: FastCGIError) -> None:
        threads.append(threading.get_ident())

    async with Responder(dies, address), Dispatcher(Endpoint(address, max_children=1), on_job_error=told) as php:
        handles: list[JobHandle] = [await php.submit(Job("/a.php"))]
        await php.join()
        await anyio.to_thread.run_sync(handles.clear)
        await eventually(lambda: threads)
    assert threads == [threading.get_ident()]


@on_every_loop
async def test_destructor_runs_no_code_of_the_users(address: str) -> None:
    """Collecting a handle only notes its error: on_job_error is called later."""
    told: list[FastCGIError] = []
    async with Responder(dies, address), Dispatcher(Endpoint(address, max_children=1), on_job_error=told.append) as php:
        handle: JobHandle | None = await php.submit(Job("/a.php"))
        await php.join()
        handle = None  # noqa: F841 - the last reference
        gc.collect()
        assert not told
        await eventually(lambda: told)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_handle_that_outlives_its_loop(address: str, backend: str, caplog: pytest.LogCaptureFixture) -> None:
    """When the event loop has ended the error is logged, and no code of the user's is run."""
    told: list[FastCGIError] = []
    handles: list[JobHandle] = []

    async def live() -> None:
        async with Responder(dies, address), Dispatcher(address, max_children=1, on_job_error=told.append) as php:
            handles.append(await php.submit(Job("/a.php")))
            await php.join()

    anyio.run(live, backend=backend)
    caplog.clear()
    handles.clear()
    gc.collect()
    assert [record.message for record in caplog.records if "never retrieved" in record.message]
    assert not told

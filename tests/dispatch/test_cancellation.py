"""Cancelling tells the truth, and leaves nothing behind."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from typing import Any

import anyio
import pytest

from fcgi_async import Dispatcher, Endpoint, FastCGIError, Job, JobCancelled, JobTimeout
from fcgi_async.testing import Request, Responder, Stall
from tests.checkpoints import USES, Use, use_upload
from tests.dispatch.settled import settled, slots
from tests.eventually import eventually
from tests.handlers import HEAD, Held, echo, ok

pytestmark = [pytest.mark.anyio, pytest.mark.every_loop]

JOB = Job("/a.php")


def endpoint(address: str, **settings: Any) -> Endpoint:
    """One worker."""
    return Endpoint(address, root="/", **({"max_children": 1, "linger": 0.0} | settings))


async def cancelled_run(php: Dispatcher, job: Job, when: Callable[[], object]) -> None:
    """Run a job and cancel the call once something has happened."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(php.run, job)
        await eventually(when)
        tasks.cancel_scope.cancel()


async def test_queued_job_never_runs(address: str) -> None:
    """A job that is cancelled while it waits never reaches the peer."""
    held = Held()
    async with Responder(held, address) as responder, Dispatcher(endpoint(address)) as php:
        first = await php.submit(JOB)
        await eventually(lambda: held.running)
        await cancelled_run(php, Job("/never.php"), lambda: php.statistics().queued == 1)
        assert php.statistics().queued == 0
        held.release()
        await first
        await settled(php)
        assert [request.script for request in responder.requests] == ["/a.php"]


async def test_job_that_waits_for_its_worker_never_runs(address: str) -> None:
    """A job whose connection waits for its first answer is still in the queue."""
    async with Responder(ok, address, values=Stall()) as responder, Dispatcher(endpoint(address)) as php:
        await cancelled_run(php, JOB, lambda: len(responder.connections) == 1)
        assert (php.statistics().cancelled, php.statistics().queued) == (1, 0)
        assert not responder.requests


async def test_running_job_is_drained(address: str) -> None:
    """The caller of a running job returns at once; the slot is held until the script has ended, and its output is
    nobody's.
    """
    held, started = anyio.Event(), anyio.Event()

    async def script(request: Request) -> None:
        if request.script == "/slow.php":
            await request.write_stdout(HEAD + b"before")
            started.set()
            await held.wait()
            await request.write_stdout(b"SECRET")
        else:
            await request.write_stdout(HEAD + b"mine")

    async with Responder(script, address) as responder, Dispatcher(endpoint(address)) as php:
        await cancelled_run(php, Job("/slow.php"), started.is_set)
        assert php.statistics().draining == 1
        next_one = await php.submit(Job("/next.php"))
        await anyio.wait_all_tasks_blocked()
        assert len(responder.requests) == 1
        held.set()
        assert (await next_one).content == b"mine"
        assert len(responder.connections) == 1


async def test_body_is_written_to_its_end(address: str) -> None:
    """A body of bytes goes on being written for a caller who has gone: the script reads it whole."""
    lengths: list[int] = []
    go_on, started = anyio.Event(), anyio.Event()

    async def script(request: Request) -> None:
        started.set()
        await go_on.wait()
        lengths.append(len(await request.body()))
        await request.write_stdout(HEAD)

    async with Responder(script, address), Dispatcher(endpoint(address)) as php:
        await cancelled_run(php, Job("/a.php", content=bytes(3_000_000)), started.is_set)
        go_on.set()
        await settled(php)
        assert lengths == [3_000_000]
        assert php.statistics().idle == 1


@pytest.mark.parametrize("settings", [{"drain_timeout": 0.02}, {"on_cancel": "close"}], ids=str)
async def test_script_that_is_not_waited_for(address: str, settings: dict[str, Any]) -> None:
    """Where draining takes too long, or is not wanted, the connection is closed and the slot lingers."""
    held = Held()
    async with Responder(held, address), Dispatcher(endpoint(address, linger=0.05, **settings)) as php:
        await cancelled_run(php, JOB, lambda: held.running)
        await eventually(lambda: php.statistics().lingering == 1)
        next_one = await php.submit(JOB)
        await eventually(lambda: php.statistics().lingering == 0)
        held.release()
        await next_one


async def test_too_much_unwanted_output(address: str) -> None:
    """A script that writes and writes for nobody is closed on after drain_bytes."""
    started, held = anyio.Event(), anyio.Event()
    written: list[int] = [0]

    async def script(request: Request) -> None:
        if request.script == "/next.php":
            return await ok(request)
        await request.write_stdout(HEAD)
        started.set()
        await held.wait()
        while True:
            await request.write_stdout(bytes(10_000))
            written[0] += 10_000

    async with Responder(script, address), Dispatcher(endpoint(address, drain_bytes=100_000)) as php:
        await cancelled_run(php, JOB, started.is_set)
        held.set()
        assert (await php.run(Job("/next.php"))).text == "ok"
        assert 100_000 < written[0] < 5_000_000


async def test_slot_is_not_given_away_while_the_script_runs(address: str) -> None:
    """However many jobs are cancelled, no more scripts run than the share."""
    held = Held()
    async with Responder(held, address, workers=8) as responder:
        async with Dispatcher(endpoint(address, max_children=2)) as php:
            for n in range(6):
                await cancelled_run(php, JOB, lambda n=n: len(held.running) == min(n + 1, 2))  # type: ignore[misc]
                assert slots(php.statistics()) <= 2
            held.release()
            await settled(php)
            assert responder.most_at_once == 2


async def test_error_of_a_cancelled_handle(address: str) -> None:
    """A handle that was cancelled while its job ran says that it may have run, and at which endpoint."""
    held = Held()
    async with Responder(held, address), Dispatcher(endpoint(address)) as php:
        handle = await php.submit(JOB)
        await eventually(lambda: held.running)
        handle.cancel()
        error = handle.exception()
        assert isinstance(error, JobCancelled)
        assert (error.job, error.endpoint, error.may_have_run) == (JOB, address, True)
        held.release()


# every turn of the loop


async def steps(count: int, scope: anyio.CancelScope) -> None:
    """Cancel a scope after so many turns of the loop."""
    for _ in range(count):
        await anyio.lowlevel.checkpoint()
    scope.cancel()


@pytest.mark.parametrize("use", USES, ids=lambda use: use.__name__)
async def test_cancelled_at_every_turn_of_the_loop(address: str, use: Use) -> None:
    """Cancelled after 0, 1, 2, ... turns of the loop until it completes: the ledger is whole each time, and the
    next job runs.
    """
    settings = {"on_cancel": "close"} if use is use_upload else {}
    async with Responder(echo, address) as responder:
        # two slots, so that there is always something that is being connected
        async with Dispatcher(endpoint(address, max_children=2, **settings)) as php:
            completed, count = 0, 0
            while completed < 3:
                assert count < 1000
                # sometimes over a new connection, sometimes over a kept one
                if count % 2:
                    await settled(php)
                    responder.reload()
                    await eventually(lambda: not php.statistics().idle and not responder.open_connections)
                with anyio.CancelScope() as scope:
                    async with anyio.create_task_group() as tasks:
                        tasks.start_soon(steps, count, scope)
                        await use(php)
                        tasks.cancel_scope.cancel()
                completed += not scope.cancelled_caught
                await settled(php)
                with anyio.fail_after(20):
                    assert (await php.run(Job("/next.php", content=b"next"))).content == b"next"
                count += 1 + count // 10
            assert slots(await settled(php)) == php.statistics().idle


@pytest.mark.parametrize("use", USES, ids=lambda use: use.__name__)
async def test_dispatcher_closed_at_every_turn_of_the_loop(address: str, use: Use) -> None:
    """Left by a cancellation after 0, 1, 2, ... turns of the loop: no slot, no connection and no descriptor is left."""
    async with Responder(echo, address) as responder:
        # uvloop opens a descriptor of its own with its first connection
        async with Dispatcher(endpoint(address)) as php:
            await php.ping()
        await eventually(lambda: responder.open_connections == 0)
        before = len(os.listdir("/proc/self/fd"))
        completed, count = 0, 0
        while completed < 2:
            assert count < 1000
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(steps, count, scope)
                    async with Dispatcher(endpoint(address, max_children=2)) as php:
                        await use(php)
                    tasks.cancel_scope.cancel()
            completed += not scope.cancelled_caught
            if count:
                assert slots(php.statistics()) == 0
            await eventually(lambda: responder.open_connections == 0)
            count += 1 + count // 10
        gc.collect()
        await eventually(lambda: len(os.listdir("/proc/self/fd")) <= before)


async def test_deadline_at_every_moment(address: str) -> None:
    """Deadlines that pass at whatever moment end in the right error or in the response, and leave the ledger whole."""
    async with Responder(echo, address), Dispatcher(endpoint(address, max_children=2)) as php:
        for n in range(60):
            try:
                response = await php.run(Job("/a.php", content=b"x" * 100_000), timeout=0.0001 * n)
                assert len(response.content) == 100_000
            except FastCGIError as error:
                assert isinstance(error, TimeoutError)
                assert error.may_have_run <= isinstance(error, JobTimeout)
            slots(php.statistics())
        await settled(php)
        assert (await php.run(Job("/next.php", content=b"next"))).content == b"next"

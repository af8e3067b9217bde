"""Deadlines: which one holds, when it passes, and what is said then."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from fcgi_async import (
    ConfigurationError,
    ConnectError,
    Dispatcher,
    DispatchError,
    Endpoint,
    Job,
    JobError,
    JobTimeout,
    QueueTimeout,
    Timeouts,
)
from fcgi_async.testing import Close, Request, Responder, Stall
from tests.dispatch.settled import settled
from tests.eventually import eventually
from tests.handlers import Held, ok

pytestmark = pytest.mark.anyio

# so short that it passes; so long that a test would not
SHORT, LONG = 0.02, 3600.0


async def never(request: Request) -> None:
    """A script that does not answer."""
    await request.fault(Stall())


async def quick_or_never(request: Request) -> None:
    """A script that answers where it is asked to."""
    await (ok(request) if request.script == "/quick.php" else never(request))


def endpoint(address: str, **settings: Any) -> Endpoint:
    """One worker, whose slot is free as soon as its connection is closed."""
    chosen: dict[str, Any] = {"max_children": 1, "on_cancel": "close", "linger": 0.0, **settings}
    return Endpoint(address, **chosen)


@pytest.mark.parametrize(
    ("call", "job", "dispatcher"),
    [
        ({"timeout": SHORT}, {}, {}),
        ({"timeout": SHORT}, {"timeout": LONG}, {"total": LONG}),
        ({}, {"timeout": SHORT}, {}),
        ({}, {"timeout": SHORT}, {"total": LONG}),
        ({}, {}, {"total": SHORT}),
        ({}, {"run_timeout": SHORT}, {}),
        ({}, {"run_timeout": SHORT}, {"run": LONG}),
        ({}, {"run_timeout": SHORT, "timeout": LONG}, {}),
        ({"timeout": LONG}, {"run_timeout": SHORT}, {}),
        ({}, {}, {"run": SHORT}),
        ({"timeout": None}, {"timeout": SHORT}, {"run": SHORT}),
    ],
    ids=str,
)
async def test_job_timeout(address: str, call: Any, job: Any, dispatcher: Any) -> None:
    """The call's deadline goes before the job's, the job's before the dispatcher's; run's holds beside total's."""
    async with Responder(never, address), Dispatcher(endpoint(address), timeouts=Timeouts(**dispatcher)) as php:
        # a worker is ours and waits, so that no deadline passes before
        await php.ping()
        await php.wait_room(1)
        given = Job("/a.php", **job)
        with pytest.raises(JobTimeout, match=r"not done within its deadline, 0\.\d{3} s after the call") as caught:
            await php.run(given, **call)
        error = caught.value
        assert isinstance(error, TimeoutError)
        assert isinstance(error, JobError)
        assert (error.job, error.endpoint, error.may_have_run) == (given, address, True)


@pytest.mark.parametrize(
    ("call", "job", "dispatcher"),
    [
        ({"timeout": None}, {"timeout": SHORT}, {}),
        ({"timeout": None}, {}, {"total": SHORT}),
        ({}, {"timeout": None}, {"total": SHORT}),
        ({}, {"run_timeout": None}, {"run": SHORT}),
        ({}, {"queue_timeout": SHORT}, {}),
        ({}, {}, {"queue": SHORT}),
    ],
    ids=str,
)
async def test_no_deadline(address: str, call: Any, job: Any, dispatcher: Any) -> None:
    """None lifts a deadline of a lower level; and a queue's deadline is over once a worker has the job."""
    held = Held()
    results: list[str] = []

    async def run(php: Dispatcher) -> None:
        results.append((await php.run(Job("/a.php", **job), **call)).text)

    async with Responder(held, address), Dispatcher(endpoint(address), timeouts=Timeouts(**dispatcher)) as php:
        await php.ping()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run, php)
            await eventually(lambda: held.running)
            # a deadline that were there would be passed by now: one as short, set later, is
            with pytest.raises(QueueTimeout):
                await php.run(Job("/b.php", queue_timeout=SHORT * 2, timeout=None))
            held.release()
        assert results == ["/a.php"]


@pytest.mark.parametrize(
    ("call", "job", "dispatcher"),
    [
        ({"timeout": SHORT}, {}, {}),
        ({}, {"timeout": SHORT}, {}),
        ({}, {"queue_timeout": SHORT}, {}),
        ({"timeout": LONG}, {"queue_timeout": SHORT}, {}),
        ({}, {"queue_timeout": LONG, "timeout": SHORT}, {}),
        ({}, {}, {"queue": SHORT}),
        ({}, {"queue_timeout": 0}, {}),
    ],
    ids=str,
)
async def test_queue_timeout(address: str, call: Any, job: Any, dispatcher: Any) -> None:
    """A deadline that passes before a worker takes the job is a QueueTimeout: PHP did not start it, and never will."""
    held = Held()
    async with Responder(held, address) as responder:
        async with Dispatcher(endpoint(address), timeouts=Timeouts(**dispatcher)) as php:
            first = await php.submit(Job("/first.php", timeout=None, queue_timeout=None))
            await eventually(lambda: held.running)
            given = Job("/a.php", **job)
            with pytest.raises(QueueTimeout, match="no worker took the job within its deadline") as caught:
                await php.run(given, **call)
            error = caught.value
            assert isinstance(error, TimeoutError)
            assert isinstance(error, DispatchError)
            assert (error.job, error.may_have_run) == (given, False)
            held.release()
            await first
            await settled(php)
        assert len(responder.requests) == 1


async def test_no_time_at_all(address: str) -> None:
    """A deadline of 0 has passed before the job is queued, even where a worker is free."""
    async with Responder(ok, address) as responder, Dispatcher(endpoint(address)) as php:
        await php.ping()
        with pytest.raises(QueueTimeout, match="had passed before it was queued"):
            await php.run(Job("/a.php"), timeout=0)
        assert not responder.requests


async def test_waiting_for_a_worker_is_queue_time(address: str) -> None:
    """A connection whose worker does not answer is waited for in the queue, not in connecting."""
    async with Responder(ok, address, values=Stall()), Dispatcher(endpoint(address)) as php:
        with pytest.raises(QueueTimeout):
            await php.run(Job("/a.php", queue_timeout=SHORT))
        assert php.statistics().connecting == 1


async def test_run_counts_from_acceptance(address: str) -> None:
    """The time in the queue is none of the run's: a job may wait longer than it may run."""
    held = Held()

    async def script(request: Request) -> None:
        await (held(request) if request.script == "/first.php" else never(request))

    async with Responder(script, address), Dispatcher(endpoint(address)) as php:
        await php.submit(Job("/first.php"))
        await eventually(lambda: held.running)
        waits = await php.submit(Job("/second.php", run_timeout=SHORT))
        with pytest.raises(QueueTimeout):
            await php.run(Job("/third.php", queue_timeout=SHORT * 3))
        assert not waits.done()
        held.release()
        with pytest.raises(JobTimeout):
            await waits


@pytest.mark.usefixtures("known_as_fpm")
async def test_deadlines_of_another_attempt(address: str) -> None:
    """A job that waits for another attempt is in the queue again: its run time does not go on there."""
    attempts: list[int] = []
    away = anyio.Event()

    async def script(request: Request) -> None:
        attempts.append(1)
        responder.stop_listening()
        away.set()
        await request.fault(Close())

    async with Responder(script, address) as responder:
        async with Dispatcher(Endpoint(address, max_children=1, reconnect_timeout=LONG)) as php:
            handle = await php.submit(Job("/a.php", run_timeout=SHORT))
            await away.wait()
            with pytest.raises(QueueTimeout):
                await php.run(Job("/b.php", queue_timeout=SHORT * 4))
            assert not handle.done()
            handle.cancel()


@pytest.mark.usefixtures("never_known")
async def test_worker_is_free_after_a_deadline(address: str) -> None:
    """A job whose deadline passed leaves the ledger whole, and the next job runs."""
    async with Responder(quick_or_never, address), Dispatcher(endpoint(address)) as php:
        for _ in range(3):
            with pytest.raises(JobTimeout):
                await php.run(Job("/slow.php"), timeout=0.05)
            assert (await php.run(Job("/quick.php"))).text == "ok"
        assert (await settled(php)).failed == 3


async def test_deadline_that_is_kept_costs_nothing(address: str) -> None:
    """A job that is done in time is done; its timer does nothing afterwards."""
    async with Responder(ok, address), Dispatcher(endpoint(address)) as php:
        responses = await php.run_all([Job("/a.php", timeout=LONG, queue_timeout=LONG, run_timeout=LONG)] * 20)
        assert len(responses) == 20


async def test_timeout_of_a_missing_peer(address: str) -> None:
    """A peer that was never there fails the job at once, whatever its deadline."""
    async with Dispatcher(endpoint(address)) as php:
        with pytest.raises(ConnectError):
            await php.run(Job("/a.php", timeout=LONG))


async def test_bad_timeout(address: str) -> None:
    """A deadline that is no number of seconds is refused."""
    async with Dispatcher(endpoint(address)) as php:
        for bad in (-1, "1", float("nan"), True):
            with pytest.raises(ConfigurationError, match="timeout must be a number of seconds of at least 0"):
                await php.run(Job("/a.php"), timeout=bad)  # type: ignore[arg-type]
        with pytest.raises(ConfigurationError):
            await php.join(timeout=-1)
        with pytest.raises(ConfigurationError):
            await php.ping(timeout=-1)
        with pytest.raises(ConfigurationError):
            await php.aclose(timeout=-1)

"""run_all and map: many jobs, a few at a time."""

from __future__ import annotations

import gc
import weakref
from collections.abc import AsyncIterator, Iterator
from itertools import count
from typing import Any

import anyio
import pytest

from fcgi_async import (
    ConfigurationError,
    ConnectError,
    ConnectionLost,
    Dispatcher,
    DispatcherClosed,
    Endpoint,
    InvalidJob,
    Job,
    Outcome,
    Response,
)
from fcgi_async.testing import Request, Reset, Responder
from tests.dispatch.settled import settled
from tests.eventually import eventually
from tests.handlers import HEAD, Held, echo, ok

pytestmark = pytest.mark.anyio


def numbered(*numbers: int) -> list[Job]:
    """Jobs that are answered with their number."""
    return [Job("/n.php", content=str(n), tag=n) for n in numbers]


async def one_by_one(jobs: list[Job]) -> AsyncIterator[Job]:
    """Jobs as an async iterable."""
    for job in jobs:
        await anyio.lowlevel.checkpoint()
        yield job


async def backwards(request: Request) -> None:
    """A script that answers the sooner the later it came: each waits until the ones behind it are answered."""
    number = int(await request.body())
    await eventually(lambda: number in LAST or number >= 3)
    await request.write_stdout(HEAD + str(number).encode())
    LAST.add(number - 1)


LAST: set[int] = set()


async def picky(request: Request) -> None:
    """A script that kills its worker for odd numbers."""
    number = await request.body()
    if int(number) % 2:
        await request.fault(Reset())
    await request.write_stdout(HEAD + number)


# run_all


@pytest.mark.parametrize("kind", ["list", "generator", "async generator"])
async def test_order_of_the_jobs(address: str, kind: str) -> None:
    """Responses come in the order of the jobs, whatever iterable those came from and in whatever order they ended."""
    LAST.clear()
    jobs = numbered(0, 1, 2, 3)
    async with Responder(backwards, address), Dispatcher(address, max_children=4) as php:
        given: Any = {"list": jobs, "generator": (job for job in jobs), "async generator": one_by_one(jobs)}[kind]
        assert [response.text for response in await php.run_all(given)] == ["0", "1", "2", "3"]


async def test_many(address: str) -> None:
    """Hundreds of jobs on four workers, over four connections, none lost or doubled."""
    async with Responder(echo, address) as responder, Dispatcher(address, max_children=4) as php:
        responses = await php.run_all(Job("/n.php", content=str(n)) for n in range(300))
        assert [response.text for response in responses] == [str(n) for n in range(300)]
        assert len(responder.requests) == 300
        assert len(responder.connections) == 4
        assert (await settled(php)).completed == 300


async def test_nothing_to_run(address: str) -> None:
    """No jobs are no responses."""
    async with Dispatcher(address, max_children=1) as php:
        assert await php.run_all([]) == []
        assert await php.run_all(one_by_one([])) == []


async def test_iterable_is_read_as_workers_become_free(address: str) -> None:
    """The jobs are not all made at once: a few are at hand for each worker, the rest later."""
    held, made = Held(), []

    def jobs() -> Iterator[Job]:
        for n in range(100):
            made.append(n)
            yield Job("/n.php")

    async with Responder(held, address), Dispatcher(address, max_children=2) as php:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(php.run_all, jobs())
            await eventually(lambda: len(held.running) == 2)
            await anyio.wait_all_tasks_blocked()
            assert len(made) < 10
            held.release()
        assert len(made) == 100


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_first_error_is_raised_plain(address: str, kind: str) -> None:
    """The error that happened first is raised as it is, once the others are cancelled; queued ones never run."""
    endpoint = Endpoint(address, max_children=1)
    async with Responder(picky, address) as responder, Dispatcher(endpoint) as php:
        jobs = numbered(0, 2, 5, *range(6, 1000, 2))
        with pytest.raises(ConnectionLost) as caught:
            await php.run_all(jobs if kind == "sync" else one_by_one(jobs))
        assert caught.value.job is jobs[2]
        await settled(php)
        assert len(responder.requests) < 20
        assert php.statistics().failed == 1


async def test_errors_in_their_places(address: str) -> None:
    """With return_exceptions=True each error stands in its job's place."""
    async with Responder(picky, address), Dispatcher(address, max_children=3) as php:
        for jobs in (numbered(*range(20)), one_by_one(numbered(*range(20)))):
            results = await php.run_all(jobs, return_exceptions=True)
            for n, result in enumerate(results):
                if n % 2:
                    assert isinstance(result, ConnectionLost)
                    assert result.job is not None
                    assert result.job.tag == n
                else:
                    assert isinstance(result, Response)
                    assert result.text == str(n)


async def test_job_that_is_refused(address: str) -> None:
    """What an endpoint refuses is an error like any other, and so is what is no job."""
    odd: list[Any] = [Job("relative.php"), None, "/a.php"]
    async with Responder(ok, address), Dispatcher(address, max_children=1) as php:
        results = await php.run_all([*numbered(1), *odd, *numbered(2)], return_exceptions=True)
        assert [type(result) for result in results] == [Response, InvalidJob, InvalidJob, InvalidJob, Response]
        with pytest.raises(InvalidJob, match="is relative"):
            await php.run_all([*numbered(1), odd[0]])
        with pytest.raises(InvalidJob, match="a job must be a Job, not NoneType"):
            await php.run_all(one_by_one(odd[1:]))


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_iterable_that_fails(address: str, kind: str) -> None:
    """What the iterable raises is raised, once the jobs that it had given are cancelled."""
    held = Held()

    def jobs() -> Iterator[Job]:
        yield from numbered(1, 2)
        raise LookupError("mine")

    async def async_jobs() -> AsyncIterator[Job]:
        for job in jobs():
            yield job
        await anyio.lowlevel.checkpoint()

    async with Responder(held, address), Dispatcher(address, max_children=2) as php:
        with pytest.raises(LookupError, match="mine"):
            await php.run_all(jobs() if kind == "sync" else async_jobs(), return_exceptions=True)
        assert php.statistics().cancelled == 2
        held.release()
        await settled(php)


async def test_endless_async_iterable_is_interrupted(address: str) -> None:
    """An async iterable that waits for something is interrupted when a job fails, and its cleanup is run."""
    closed: list[bool] = []

    async def jobs() -> AsyncIterator[Job]:
        try:
            yield numbered(1)[0]
            await anyio.sleep_forever()
        finally:
            closed.append(True)

    async with Responder(picky, address), Dispatcher(address, max_children=1) as php:
        with pytest.raises(ConnectionLost):
            await php.run_all(jobs())
        assert closed == [True]


async def test_cleanup_that_fails_does_not_hide_the_jobs_error(address: str) -> None:
    """Of the two errors the first is raised."""

    async def jobs() -> AsyncIterator[Job]:
        try:
            yield numbered(1)[0]
            await anyio.sleep_forever()
        finally:
            raise ValueError("the cleanup")

    async with Responder(picky, address), Dispatcher(address, max_children=1) as php:
        with pytest.raises(ConnectionLost):
            await php.run_all(jobs())


async def test_cancelled_run_all(address: str) -> None:
    """Cancelling cancels what runs and what waits; what was not begun never runs, and the next job does."""
    held = Held()
    endpoint = Endpoint(address, max_children=2)
    async with Responder(held, address) as responder, Dispatcher(endpoint) as php:
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(php.run_all, [Job("/n.php")] * 50)
                await eventually(lambda: len(held.running) == 2)
                scope.cancel()
        held.release()
        await settled(php)
        assert len(responder.requests) == 2
        assert (await php.run(Job("/next.php"))).text == "/next.php"


async def test_closed_while_it_runs(address: str) -> None:
    """A dispatcher that closes ends a run_all with DispatcherClosed: what was not handed in is refused."""
    held = Held()
    results: list[Any] = []

    async def run(php: Dispatcher) -> None:
        results.extend(await php.run_all([Job("/n.php")] * 50, return_exceptions=True))

    async with Responder(held, address), anyio.create_task_group() as tasks:
        async with Dispatcher(address, max_children=1, shutdown_timeout=0.0) as php:
            tasks.start_soon(run, php)
            await eventually(lambda: held.running)
        await eventually(lambda: results)
    assert {type(result) for result in results} == {DispatcherClosed}
    assert [result.may_have_run for result in results] == [True] + [False] * 49


async def test_nobody_there(address: str) -> None:
    """Where an endpoint never answered all jobs fail at once, and not a few with each attempt."""
    async with Dispatcher(address, max_children=2) as php:
        results = await php.run_all([Job("/n.php")] * 500, return_exceptions=True)
        assert {type(result) for result in results} == {ConnectError}
        assert len(results) == 500


# map


@pytest.mark.parametrize("kind", ["list", "async generator"])
async def test_entered_after_the_end(address: str, kind: str) -> None:
    """A map() that is entered when the dispatcher is closed says so, whatever its jobs come from."""
    jobs = numbered(0, 1)
    async with Dispatcher(address, max_children=1) as php:
        outcomes = php.map(jobs if kind == "list" else one_by_one(jobs))
    with pytest.raises(DispatcherClosed, match="the dispatcher is closed"):
        async with outcomes:
            pass


async def test_closed_while_it_is_entered(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A map() whose dispatcher closes at that moment cannot be entered, and has no outcomes."""
    async with Dispatcher(address, max_children=1) as php:
        outcomes = php.map(one_by_one(numbered(0, 1)))
        answers = iter([None])

        def require() -> None:
            if next(answers, php) is php:
                raise DispatcherClosed("the dispatcher is closing")

        monkeypatch.setattr(outcomes, "require", require)
        with pytest.raises(DispatcherClosed):
            await outcomes.__aenter__()
        assert [outcome async for outcome in outcomes] == []


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_map_in_order(address: str, kind: str) -> None:
    """Outcomes come in the order of the jobs, failed ones in their places."""
    async with Responder(picky, address), Dispatcher(address, max_children=3) as php:
        jobs = numbered(*range(20))
        found: list[Outcome] = []
        async with php.map(jobs if kind == "sync" else one_by_one(jobs)) as outcomes:
            async for outcome in outcomes:
                found.append(outcome)
        assert [outcome.job for outcome in found] == jobs
        for n, outcome in enumerate(found):
            if n % 2:
                assert isinstance(outcome.error, ConnectionLost)
                assert outcome.response is None
                with pytest.raises(ConnectionLost):
                    outcome.result()
            else:
                assert outcome.error is None
                assert outcome.result().text == str(n)


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_map_as_they_come(address: str, kind: str) -> None:
    """Unordered, an outcome comes when it is there: a slow job holds nobody up."""
    held = Held()

    async def script(request: Request) -> None:
        if request.params["CONTENT_LENGTH"] == "1":
            await held(request)
        else:
            await echo(request)

    async with Responder(script, address), Dispatcher(address, max_children=2) as php:
        jobs = numbered(1, 20, 30, 40)
        found = []
        async with php.map(jobs if kind == "sync" else one_by_one(jobs), ordered=False) as outcomes:
            async for outcome in outcomes:
                found.append(outcome.job.tag)
                if len(found) == 3:
                    held.release()
        assert found == [20, 30, 40, 1]


async def test_endless_source(address: str) -> None:
    """An endless source is read no further than outcomes are: twice the share ahead, or as far as the limit says."""
    for ordered, limit, ahead in ((False, None, 6), (True, 3, 3), (True, 1, 1)):
        made: list[int] = []

        def jobs(made: list[int] = made) -> Iterator[Job]:
            for n in count():
                made.append(n)
                yield Job("/n.php")

        async with Responder(ok, address + str(ahead)), Dispatcher(address + str(ahead), max_children=2) as php:
            async with php.map(jobs(), ordered=ordered, limit=limit) as outcomes:
                read = 0
                async for _ in outcomes:
                    read += 1
                    assert len(made) <= read - 1 + ahead
                    if read == 50:
                        break
            await settled(php)
            assert len(made) <= 49 + ahead


async def test_endless_async_source(address: str) -> None:
    """So is an async one; leaving the block ends its reading, and runs its cleanup."""
    made: list[int] = []
    closed: list[bool] = []

    async def jobs() -> AsyncIterator[Job]:
        try:
            for n in count():
                made.append(n)
                yield Job("/n.php")
        finally:
            closed.append(True)

    async with Responder(ok, address), Dispatcher(address, max_children=1) as php:
        async with php.map(jobs(), limit=2) as outcomes:
            read = 0
            async for _ in outcomes:
                read += 1
                # one is made and waits to be let in
                assert len(made) <= read + 2
                if read == 20:
                    break
        await eventually(lambda: closed)


@pytest.mark.parametrize("ordered", [True, False])
async def test_outcomes_are_not_kept(address: str, ordered: bool) -> None:
    """What was read is forgotten: an endless map takes no more memory than a short one."""
    alive: list[weakref.ref[Job]] = []

    def jobs() -> Iterator[Job]:
        while True:
            job = Job("/n.php")
            alive.append(weakref.ref(job))
            yield job

    # the responder keeps its requests, but no job
    async with Responder(ok, address), Dispatcher(address, max_children=1) as php:
        async with php.map(jobs(), ordered=ordered) as outcomes:
            read = 0
            async for _ in outcomes:
                read += 1
                if read == 100:
                    break
            gc.collect()
            assert sum(job() is not None for job in alive) < 20


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_map_of_an_iterable_that_fails(address: str, kind: str) -> None:
    """What the iterable raises comes behind the outcomes of the jobs before."""

    def jobs() -> Iterator[Job]:
        yield from numbered(2, 4)
        raise LookupError("mine")

    async def async_jobs() -> AsyncIterator[Job]:
        for job in jobs():
            yield job

    async with Responder(echo, address), Dispatcher(address, max_children=1) as php:
        found: list[str] = []
        async with php.map(jobs() if kind == "sync" else async_jobs()) as outcomes:
            with pytest.raises(LookupError, match="mine"):
                async for outcome in outcomes:
                    found.append(outcome.result().text)
        assert found == ["2", "4"]


async def test_leaving_a_map_cancels_what_was_not_read(address: str) -> None:
    """What runs and what waits when the block is left is cancelled."""
    held = Held()
    async with Responder(held, address) as responder, Dispatcher(address, max_children=1) as php:
        async with php.map([Job("/n.php")] * 10) as outcomes:
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(outcomes.__anext__)
                    await eventually(lambda: held.running)
                    scope.cancel()
        held.release()
        assert (await settled(php)).cancelled == 4
        assert len(responder.requests) == 1


async def test_cancelled_next_loses_nothing(address: str) -> None:
    """Cancelling the wait for an outcome leaves it for the next one who asks."""
    held = Held()
    async with Responder(held, address), Dispatcher(address, max_children=1) as php:
        async with php.map([Job("/1.php"), Job("/2.php")]) as outcomes:
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(outcomes.__anext__)
                    await eventually(lambda: held.running)
                    scope.cancel()
            held.release()
            assert [outcome.result().text async for outcome in outcomes] == ["/1.php", "/2.php"]


async def test_map_is_entered(address: str) -> None:
    """Iterating over a map that was not entered says how, instead of waiting for ever."""
    async with Dispatcher(address, max_children=1) as php:
        # a wait for ever would be no answer either
        with anyio.fail_after(10), pytest.raises(ConfigurationError, match="async with"):
            async for _ in php.map(numbered(1)):
                pass


async def test_bad_limit(address: str) -> None:
    """A map lets at least one job in."""
    async with Dispatcher(address, max_children=1) as php:
        for limit in ("4", 1.5, True):
            with pytest.raises(ConfigurationError, match="limit must be a whole number of jobs"):
                php.map([], limit=limit)  # type: ignore[arg-type]
            with pytest.raises(ConfigurationError, match="limit must be a whole number of jobs"):
                php.group(limit=limit)  # type: ignore[arg-type]
        with pytest.raises(ConfigurationError, match="limit must be at least 1, not 0"):
            php.map([], limit=0)

"""Observers see every job once, whichever way it was handed in, and do the jobs no harm."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextvars import ContextVar

import anyio
import attrs
import pytest

from fcgi_async import (
    Dispatcher,
    Endpoint,
    InvalidJob,
    Job,
    JobCancelled,
    JobReport,
    QueueFull,
    QueueTimeout,
    Timeouts,
)
from fcgi_async.testing import Request, Reset, Responder
from tests.dispatch.settled import settled
from tests.eventually import eventually
from tests.handlers import Held, echo, ok

pytestmark = pytest.mark.anyio

caller: ContextVar[str] = ContextVar("caller", default="nobody")


@attrs.define(eq=False)
class Seen:
    """An observer that keeps what it sees, and what follows each job."""

    params: Mapping[str, str] = attrs.field(factory=dict)
    jobs: list[Job] = attrs.field(factory=list)
    callers: list[str] = attrs.field(factory=list)
    reports: list[JobReport] = attrs.field(factory=list)

    def job_submitted(self, job: Job) -> Seen:
        self.jobs.append(job)
        self.callers.append(caller.get())
        return self

    def done(self, report: JobReport) -> None:
        self.reports.append(report)


class Broken:
    """An observer that fails, at once or at the end."""

    params: Mapping[str, str] = {}

    def __init__(self, *, at_once: bool) -> None:
        self.at_once = at_once

    def job_submitted(self, job: Job) -> Broken:
        if self.at_once:
            raise RuntimeError("at once")
        return self

    def done(self, report: JobReport) -> None:
        raise RuntimeError("at the end")


async def by_run(php: Dispatcher, jobs: list[Job]) -> None:
    for job in jobs:
        await php.run(job)


async def by_run_all(php: Dispatcher, jobs: list[Job]) -> None:
    await php.run_all(jobs)


async def by_run_all_async(php: Dispatcher, jobs: list[Job]) -> None:
    await php.run_all(one_by_one(jobs))


async def by_map(php: Dispatcher, jobs: list[Job]) -> None:
    async with php.map(iter(jobs)) as outcomes:
        assert [outcome.job async for outcome in outcomes] == jobs


async def by_map_async(php: Dispatcher, jobs: list[Job]) -> None:
    async with php.map(one_by_one(jobs)) as outcomes:
        assert [outcome.job async for outcome in outcomes] == jobs


async def by_group(php: Dispatcher, jobs: list[Job]) -> None:
    async with php.group() as group:
        for job in jobs:
            await group.submit(job)


async def by_submit(php: Dispatcher, jobs: list[Job]) -> None:
    for handle in [await php.submit(job) for job in jobs]:
        await handle


async def by_stream(php: Dispatcher, jobs: list[Job]) -> None:
    for job in jobs:
        async with php.stream(job) as response:
            await response.aread()


async def one_by_one(jobs: list[Job]) -> AsyncIterator[Job]:
    for job in jobs:
        yield job


WAYS = [by_run, by_run_all, by_run_all_async, by_map, by_map_async, by_group, by_submit, by_stream]
every_way = pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)


@pytest.fixture
def seen() -> Seen:
    """An observer."""
    return Seen()


@every_way
async def test_every_job_is_seen_once(
    address: str, seen: Seen, way: Callable[[Dispatcher, list[Job]], Awaitable[None]]
) -> None:
    """Each job is shown in the context of whoever submitted it, also where it is begun later, and reported once."""
    jobs: list[Job] = [Job("/a.php", tag=number) for number in range(20)]
    async with Responder(ok, address, workers=2) as responder:
        async with Dispatcher(responder.address, max_children=2) as php:
            # what the loop calls for a connection has the context of whoever opened it
            caller.set("somebody else")
            await php.run_all([Job("/a.php")] * 20)
            php.observe(seen)
            caller.set("us")
            await way(php, jobs)
            await settled(php)
    assert seen.jobs == jobs
    assert len(seen.reports) == len(jobs)
    assert seen.callers == ["us"] * 20
    assert {report.job.tag for report in seen.reports} == set(range(20))
    for report in seen.reports:
        assert (report.endpoint, report.attempts, report.accepted, report.error) == (address, 1, True, None)
        assert report.response is not None
        assert report.timing is report.response.timing


async def test_connection_of_a_job(address: str, seen: Seen) -> None:
    """When its connection was made is known of the job for which it was new, and within its time in the queue."""
    async with Responder(ok, address) as responder:
        async with Dispatcher(responder.address, max_children=1) as php:
            php.observe(seen)
            await php.run(Job("/a.php"))
            await php.run(Job("/a.php"))
    first, second = seen.reports
    assert first.connected is not None
    assert 0 < first.timing.connect <= first.connected <= first.timing.queued
    assert second.connected is None
    assert second.timing.connect == 0


async def test_params_of_observers(address: str) -> None:
    """What observers add is sent; the job's own parameters go first, the endpoint's do not."""
    requests: list[Mapping[str, str]] = []

    async def keep(request: Request) -> None:
        requests.append(request.params)
        await ok(request)

    async with Responder(keep, address) as responder:
        endpoint = Endpoint(responder.address, max_children=1, params={"B": "endpoint", "C": "endpoint"})
        async with Dispatcher(endpoint) as php:
            php.observe(Seen({"A": "first", "B": "first"}))
            php.observe(Seen({"A": "second", "D": "second"}))
            await php.run(Job("/a.php"))
            await php.run(Job("/a.php", params={"D": "job"}, content=b"body"))
    for params, last in zip(requests, ("second", "job"), strict=True):
        assert {name: params[name] for name in "ABCD"} == {"A": "second", "B": "first", "C": "endpoint", "D": last}


@pytest.mark.parametrize(
    "params", [{"PHP_VALUE": "x"}, {"HTTP_PROXY": "x"}, {"A": "x" * 70_000}, {"A": "\0"}, {"SCRIPT_FILENAME": "/b.php"}]
)
async def test_params_that_a_job_may_not_have(
    address: str, seen: Seen, params: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    """Observers cannot send what a job could not; that is logged, and the job is run and seen without."""
    requests: list[Mapping[str, str]] = []

    async def keep(request: Request) -> None:
        requests.append(request.params)
        await ok(request)

    seen.params = {"B": "b"} | params
    async with Responder(keep, address) as responder:
        async with Dispatcher(responder.address, max_children=1) as php:
            php.observe(seen)
            await php.run(Job("/a.php"))
    (sent,) = requests
    assert sent["SCRIPT_FILENAME"] == "/a.php"
    assert sent.keys().isdisjoint({"A", "B", "PHP_VALUE", "HTTP_PROXY"})
    assert len(seen.reports) == 1
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert "failed" in record.getMessage()


async def test_params_of_an_upload(address: str) -> None:
    """A body that is streamed has them as well, and so has another attempt."""
    requests: list[Mapping[str, str]] = []

    async def parts() -> AsyncIterator[bytes]:
        yield b"abc"

    async def keep(request: Request) -> None:
        requests.append(request.params)
        await echo(request)

    async with Responder(keep, address) as responder:
        async with Dispatcher(responder.address, max_children=1) as php:
            php.observe(Seen({"A": "a"}))
            assert (await php.run(Job("/a.php", content=parts(), content_length=3))).content == b"abc"
    assert [params["A"] for params in requests] == ["a"]


async def test_attempts_are_counted(address: str, seen: Seen) -> None:
    """A job that was sent again is one job, whose time in the queue lasts until its last attempt."""
    requests: list[Request] = []

    async def second_time(request: Request) -> None:
        requests.append(request)
        if len(requests) == 1:
            await request.fault(Reset())
        await ok(request)

    async with Responder(second_time, address, workers=2) as responder:
        async with Dispatcher(responder.address, max_children=1) as php:
            php.observe(Seen({"A": "a"}))
            php.observe(seen)
            await php.run(Job("/a.php", idempotent=True))
            assert php.statistics().retried == 1
    (report,) = seen.reports
    assert report.attempts == 2
    assert [request.params["A"] for request in requests] == ["a", "a"]


async def test_job_that_no_worker_took(address: str, seen: Seen) -> None:
    """All of its time is time in the queue."""
    held = Held()
    async with Responder(held, address) as responder:
        async with Dispatcher(responder.address, max_children=1, timeouts=Timeouts(queue=0.05)) as php:
            php.observe(seen)
            async with php.group(on_error="collect") as group:
                await group.submit(Job("/first.php", queue_timeout=None))
                late = await group.submit(Job("/late.php"))
                await eventually(late.done)
                held.release()
            assert php.statistics().queue_timeouts == 1
    report, _ = seen.reports
    assert isinstance(report.error, QueueTimeout)
    assert (report.accepted, report.attempts, report.endpoint, report.connected) == (False, 0, None, None)
    assert report.timing.queued == report.timing.total >= 0.05
    assert (report.timing.connect, report.timing.first_byte) == (0, 0)


async def test_cancelled_jobs(address: str, seen: Seen) -> None:
    """Cancelled ones are reported, whether they ran or waited."""
    held = Held()
    async with Responder(held, address) as responder:
        async with Dispatcher(responder.address, max_children=1) as php:
            php.observe(seen)
            running, waiting = await php.submit(Job("/a.php", tag="ran")), await php.submit(Job("/a.php", tag="waited"))
            await eventually(lambda: held.running)
            waiting.cancel()
            running.cancel()
            held.release()
    assert [(report.job.tag, report.accepted, type(report.error)) for report in seen.reports] == [
        ("waited", False, JobCancelled),
        ("ran", True, JobCancelled),
    ]


async def test_refused_jobs_are_not_seen(address: str, seen: Seen) -> None:
    """What was never handed in is not seen; where the queue was full it is counted."""
    held = Held()
    async with Responder(held, address) as responder:
        async with Dispatcher(responder.address, max_children=1, max_queued=1, overflow="reject") as php:
            php.observe(seen)
            async with php.group() as group:
                await group.submit(Job("/running.php"))
                await eventually(lambda: held.running)
                await group.submit(Job("/queued.php"))
                with pytest.raises(QueueFull):
                    await group.submit(Job("/refused.php"))
                with pytest.raises(InvalidJob):
                    await group.submit(Job("relative.php"))
                assert php.statistics().rejected == 1
                held.release()
    assert [job.script for job in seen.jobs] == ["/running.php", "/queued.php"]


@pytest.mark.parametrize("at_once", [True, False])
async def test_broken_observer(address: str, seen: Seen, at_once: bool, caplog: pytest.LogCaptureFixture) -> None:
    """What an observer raises is logged; the job, and the next observer, do not notice."""
    async with Responder(ok, address) as responder:
        async with Dispatcher(responder.address, max_children=1) as php:
            php.observe(Broken(at_once=at_once))
            php.observe(seen)
            with anyio.fail_after(20):
                assert (await php.run(Job("/a.php"))).text == "ok"
    assert len(seen.reports) == 1
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.exc_info is not None
    assert str(record.exc_info[1]) == ("at once" if at_once else "at the end")

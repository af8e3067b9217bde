"""A slot whose caller has gone is back when its worker is, exactly: on unix sockets the kernel tells, without a status
page. The scripts themselves say when they ran, on an FPM that has more workers than the share.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random
from typing import Any

import anyio
import pytest

from fcgi_async import (
    Dispatcher,
    Endpoint,
    FastCGIError,
    Job,
    Limits,
    LocalFPM,
    RemoteProtocolError,
    ResponseTooLarge,
    Statistics,
)
from fcgi_async.net.listener import Listener
from fcgi_async.pool import pool as pool_module
from fcgi_async.pool.manner import Manner
from tests.conftest import StartFPM
from tests.dispatch.settled import settled
from tests.eventually import eventually
from tests.fpm.marks import ended, most_at_once, started

pytestmark = pytest.mark.anyio

# what time alone would not end within a test
LONG = 600.0


def endpoint(fpm: LocalFPM, scripts: Path, share: int = 1, **settings: Any) -> Endpoint:
    """A share of an FPM's workers; nothing but the worker itself gives a slot back."""
    reserve = fpm.max_children - share
    return Endpoint(
        fpm.address, max_children=fpm.max_children, reserve=reserve, root=str(scripts), linger=LONG, **settings
    )


def stays(marks: Path, how: str, seconds: float = 0.3, **settings: Any) -> Job:
    """A script that marks its stay."""
    return Job("stays.php", query={"marks": str(marks), "how": how, "seconds": str(seconds)}, **settings)


async def give_up(php: Dispatcher, job: Job, marks: Path) -> None:
    """Run a job and cancel the call once its script runs."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(php.run, job)
        await eventually(lambda: started(marks))
        tasks.cancel_scope.cancel()


async def leave_stream(php: Dispatcher, job: Job, marks: Path) -> None:
    """Read the beginning of a stream, and leave it."""
    async with php.stream(job) as response:
        await anext(response)
        assert started(marks)


@pytest.mark.parametrize("how", ["silent", "ticks", "flood", "stubborn", "finish late"])
async def test_on_cancel_close(fpm: LocalFPM, scripts: Path, tmp_path: Path, how: str) -> None:
    """The next job begins after the abandoned script has ended, and without `linger` passing."""
    marks, after = tmp_path / "marks", tmp_path / "after"
    async with Dispatcher(endpoint(fpm, scripts, on_cancel="close")) as php:
        await give_up(php, stays(marks, how), marks)
        assert php.statistics().lingering == 0
        await php.run(stays(after, "silent", 0))
        assert ended(marks) == 1
        both = tmp_path / "both"
        both.write_text(marks.read_text() + after.read_text())
        assert most_at_once(both) == 1
        await settled(php)


@pytest.mark.parametrize("how", ["ticks", "flood", "stubborn"])
async def test_stream_left_early(fpm: LocalFPM, scripts: Path, tmp_path: Path, how: str) -> None:
    """A reader that leaves a stream leaves its slot to the script, until that has ended."""
    marks = tmp_path / "marks"
    async with Dispatcher(endpoint(fpm, scripts)) as php:
        await leave_stream(php, stays(marks, how), marks)
        assert (await php.run(Job("respond.php", query={"body": "next"}))).text == "next"
        assert ended(marks) == 1


@pytest.mark.parametrize("how", ["ticks", "flood", "flushes"])
async def test_script_that_is_left_dies_when_it_writes(
    start_fpm: StartFPM, scripts: Path, tmp_path: Path, how: str
) -> None:
    """A script that would go on for ever dies at its next write, or flush, in a pool that is ours alone."""
    fpm = await start_fpm(max_children=1, ini={"output_buffering": "1000000"} if how == "flushes" else {})
    marks = tmp_path / "marks"
    async with Dispatcher(endpoint(fpm, scripts)) as php:

        async def read() -> None:
            async with php.stream(stays(marks, "ticks" if how == "flushes" else how, LONG)) as response:
                await anext(response)
                await anyio.sleep_forever()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read)
            await eventually(lambda: started(marks))
            tasks.cancel_scope.cancel()
        await php.run(Job("respond.php"))
        assert ended(marks) == 1


async def test_script_that_is_refused_at_once_and_finishes_early(
    start_fpm: StartFPM, scripts: Path, tmp_path: Path
) -> None:
    """One that is refused before it wrote anything, and then finishes early, is not taken for one that has ended."""
    fpm = await start_fpm(max_children=1, ini={"output_buffering": "4096"})
    marks = tmp_path / "marks"
    async with Dispatcher(endpoint(fpm, scripts, on_cancel="close")) as php:
        await give_up(php, stays(marks, "finish late", 3.0), marks)
        await eventually(lambda: php.statistics().lingering or ended(marks))
        assert (php.statistics().lingering, ended(marks)) == (1, 0)
        await php.run(Job("respond.php"))
        assert ended(marks) == 1


async def test_script_that_ends_soon_keeps_its_connection(
    fpm: LocalFPM, scripts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stream that is left is read for a moment: the connection of a script at its end serves the next job."""
    monkeypatch.setattr("fcgi_async.dispatch.stream._PATIENCE_SECONDS", 20.0)
    async with Dispatcher(endpoint(fpm, scripts)) as php:
        async with php.stream(Job("flood.php", query={"bytes": "4000000"})) as response:
            await anext(response)
        assert php.statistics().draining == 1
        await php.run(Job("respond.php"))
        assert php.statistics().connections_opened == 1


@pytest.mark.parametrize("how", ["silent", "ticks", "finish late"])
async def test_drain_timeout(fpm: LocalFPM, scripts: Path, tmp_path: Path, how: str) -> None:
    """A script that is drained for too long is left, and its slot is back when it ends."""
    marks = tmp_path / "marks"
    async with Dispatcher(endpoint(fpm, scripts, drain_timeout=0.01)) as php:
        await give_up(php, stays(marks, how), marks)
        await eventually(lambda: php.statistics().leaving or ended(marks))
        await php.run(Job("respond.php"))
        assert ended(marks) == 1


async def test_drain_bytes(fpm: LocalFPM, scripts: Path, tmp_path: Path) -> None:
    """A script that prints more than `drain_bytes` for nobody is left; it dies at its next write."""
    marks = tmp_path / "marks"
    async with Dispatcher(endpoint(fpm, scripts, drain_bytes=1_000_000)) as php:
        await give_up(php, stays(marks, "flood", LONG), marks)
        await php.run(Job("respond.php"))
        assert ended(marks) == 1


async def test_worker_that_does_not_come_back(fpm: LocalFPM, scripts: Path, tmp_path: Path) -> None:
    """A script that goes on after its response for longer than `drain_timeout` is left, and its slot stays taken."""
    marks = tmp_path / "marks"
    async with Dispatcher(endpoint(fpm, scripts, drain_timeout=0.01)) as php:
        assert (await php.run(stays(marks, "finish"))).text == "answer"
        await eventually(lambda: php.statistics().leaving or ended(marks))
        await php.run(Job("respond.php"))
        assert ended(marks) == 1


async def test_response_over_its_limit(fpm: LocalFPM, scripts: Path, tmp_path: Path) -> None:
    """A response over Limits.response fails at once, and the worker is back soon."""
    marks = tmp_path / "marks"
    async with Dispatcher(endpoint(fpm, scripts), limits=Limits(response=10_000)) as php:
        with pytest.raises(ResponseTooLarge) as caught:
            await php.run(stays(marks, "flood", LONG))
        assert caught.value.may_have_run
        await php.run(Job("respond.php"))
        assert ended(marks) == 1


async def test_head_that_is_none(fpm: LocalFPM, scripts: Path, tmp_path: Path) -> None:
    """A wrong head costs no slot, and what came beside it goes with the error."""
    async with Dispatcher(endpoint(fpm, scripts)) as php:
        for _ in range(3):
            with pytest.raises(RemoteProtocolError, match="not a status code") as caught:
                await php.run(stays(tmp_path / "marks", "badhead"))
            error = caught.value
            assert ("X-Kept", "yes") in error.headers
            assert error.content == b"body"
            assert b"said" in error.stderr
            assert error.may_have_run
        assert php.statistics().connections_opened == 1


async def test_head_that_is_none_of_a_stream(fpm: LocalFPM, scripts: Path, tmp_path: Path) -> None:
    """A stream with a wrong head fails on entering, with what had come, and costs no slot."""
    async with Dispatcher(endpoint(fpm, scripts)) as php:
        with pytest.raises(RemoteProtocolError) as caught:
            async with php.stream(stays(tmp_path / "marks", "badhead")):
                pass
        assert ("X-Kept", "yes") in caught.value.headers
        await php.run(Job("respond.php"))
        assert php.statistics().lingering == 0


async def test_header_line_that_is_none(
    fpm: LocalFPM, scripts: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One line in the head that is no header is dropped with a warning; the response is as good as any."""
    script = tmp_path / "foo.php"
    script.write_text("<?php header('foo'); echo 'body';")
    async with Dispatcher(fpm.address, max_children=1) as php:
        response = await php.run(Job(str(script)))
    assert (response.status, response.text) == (200, "body")
    (record,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert "'foo'" in record.message
    assert str(script) in record.message


async def too_little() -> AsyncIterator[bytes]:
    yield b"x" * 100_000


@pytest.mark.parametrize(("how", "handshake"), [("body", True), ("stubborn", True), ("stubborn", False)])
async def test_body_that_is_abandoned(fpm: LocalFPM, scripts: Path, tmp_path: Path, how: str, handshake: bool) -> None:
    """A script whose body was cut gets what came of it, and its slot is back when it has ended."""
    marks, written = tmp_path / "marks", anyio.Event()

    async def some_of_a_body() -> AsyncIterator[bytes]:
        yield b"x" * 100_000
        written.set()
        await anyio.sleep_forever()

    async with Dispatcher(endpoint(fpm, scripts, handshake=handshake)) as php:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(php.run, stays(marks, how, content=some_of_a_body(), content_length=300_000))
            await written.wait()
            tasks.cancel_scope.cancel()
        await php.run(Job("respond.php"))
        assert (started(marks), ended(marks)) == (1, 1)
        await settled(php)


async def test_body_that_ends_early(fpm: LocalFPM, scripts: Path, tmp_path: Path) -> None:
    """An iterable that gives too little fails its job, says that the body is cut, and the worker is back soon."""
    marks = tmp_path / "marks"
    async with Dispatcher(endpoint(fpm, scripts)) as php:
        with pytest.raises(FastCGIError, match="content_length is 300000") as caught:
            await php.run(stays(marks, "body", content=too_little(), content_length=300_000))
        assert (caught.value.may_have_run, caught.value.body_truncated) == (True, True)
        await php.run(Job("respond.php"))
        assert started(marks) == ended(marks)


async def test_closing_does_not_wait_for_what_is_left(fpm: LocalFPM, scripts: Path, tmp_path: Path) -> None:
    """Leaving the dispatcher does not wait for scripts that nobody waits for."""
    marks = tmp_path / "marks"
    async with Dispatcher(endpoint(fpm, scripts, on_cancel="close")) as php:
        await give_up(php, stays(marks, "silent", 5), marks)
        assert php.statistics().leaving == 1
    assert not ended(marks)


# a listener in another process namespace


@pytest.fixture
def unknown_listener(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel does not tell who listens, as between containers."""
    monkeypatch.setattr(pool_module, "listener_of", lambda sock, address: Listener(0, 0, False))


@pytest.mark.usefixtures("unknown_listener")
async def test_fpm_shows_itself(fpm: LocalFPM, scripts: Path, tmp_path: Path) -> None:
    """FPM in another container shows by its first output that it leaves unread what stands behind a request."""
    marks = tmp_path / "marks"
    async with Dispatcher(endpoint(fpm, scripts, on_cancel="close")) as php:
        async with php.stream(stays(marks, "ticks", 0.2)) as response:
            await anext(response)
        await eventually(lambda: ended(marks))
        (pool,) = php._scheduler.pools  # type: ignore[union-attr]
        assert pool.peer.manner is Manner.FPM
        await php.run(Job("respond.php"))


@pytest.mark.usefixtures("unknown_listener")
async def test_unknown_peer_lingers(fpm: LocalFPM, scripts: Path, tmp_path: Path) -> None:
    """The slot of a peer that has not shown how it reads lingers."""
    marks = tmp_path / "marks"
    async with Dispatcher(endpoint(fpm, scripts, on_cancel="close")) as php:
        await give_up(php, stays(marks, "silent"), marks)
        assert (php.statistics().leaving, php.statistics().lingering) == (0, 1)


# TCP: nothing tells, but a worker that answers in the place of the one that lingers


@pytest.mark.parametrize("how", ["silent", "ticks"])
async def test_a_waiting_job_asks_for_a_lingering_slot(
    start_fpm: StartFPM, scripts: Path, tmp_path: Path, how: str
) -> None:
    """On TCP, if the pool is ours alone, a job that waits gets the worker when the abandoned script has left it."""
    fpm = await start_fpm(max_children=1, listen="tcp")
    marks, after = tmp_path / "marks", tmp_path / "after"
    async with Dispatcher(endpoint(fpm, scripts, on_cancel="close")) as php:
        await give_up(php, stays(marks, how), marks)
        assert php.statistics().lingering == 1
        await php.run(stays(after, "silent", 0), timeout=30)
        assert ended(marks) == 1
        await settled(php)


async def test_a_pool_that_others_use_lingers(start_fpm: StartFPM, scripts: Path, tmp_path: Path) -> None:
    """On TCP a free worker of a pool that others use says nothing of ours: the slot lingers."""
    fpm = await start_fpm(max_children=2, listen="tcp")
    marks = tmp_path / "marks"
    async with Dispatcher(endpoint(fpm, scripts, on_cancel="close")) as php:
        await give_up(php, stays(marks, "silent", 0.05), marks)
        waiting = await php.submit(Job("respond.php"))
        await eventually(lambda: ended(marks))
        assert not waiting.done()
        assert php.statistics().lingering == 1
        waiting.cancel()


# all of it at once

STORM_AT_ONCE = 60
SHARE = 4


def storm_job(random: Random, marks: Path) -> Job:
    """A job of any kind; a tenth of them with a body of 300 KB."""
    how = random.choice(("silent", "silent", "ticks", "stubborn", "finish", "finish late", "body", "badhead"))
    seconds = random.choice((0.0, 0.0, 0.002, 0.004, 0.02))
    if random.random() >= 0.1:
        return stays(marks, how, seconds)
    return stays(marks, random.choice(("body", "silent")), seconds, content=bytes(300_000))


async def storm(php: Dispatcher, jobs: int, random: Random, marks: Path) -> None:
    """Run jobs and streams, 85 % of them cancelled within 5 ms."""

    async def one(job: Job, stream: bool, patience: float) -> None:
        with anyio.move_on_after(patience):
            try:
                if stream:
                    async with php.stream(job) as response:
                        async for _ in response:
                            pass
                else:
                    await php.run(job)
            except RemoteProtocolError:
                pass

    async def sender(numbers: Any) -> None:
        for _ in numbers:
            patience = random.uniform(0, 0.005) if random.random() < 0.85 else LONG
            await one(storm_job(random, marks), random.random() < 0.5, patience)

    numbers = iter(range(jobs))
    async with anyio.create_task_group() as tasks:
        for _ in range(STORM_AT_ONCE):
            tasks.start_soon(sender, numbers)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("jobs", [600, pytest.param(3_000, marks=pytest.mark.long)])
async def test_storm(jobs: int, start_fpm: StartFPM, scripts: Path, tmp_path: Path) -> None:
    """Many jobs and streams, most of them abandoned: never more scripts at once than slots, and no slot is lost.

    At the end four sleeping jobs on four slots run at the same time.
    """
    fpm = await start_fpm(max_children=2 * SHARE)
    marks, last = tmp_path / "marks", tmp_path / "last"
    async with Dispatcher(endpoint(fpm, scripts, SHARE, drain_timeout=0.005)) as php:
        await storm(php, jobs, Random(15), marks)
        await php.run_all([stays(last, "silent", 1.0) for _ in range(SHARE)])
        assert most_at_once(last) == SHARE
        statistics: Statistics = await settled(php)
        assert statistics.lingering == 0
    assert most_at_once(marks) <= SHARE
    assert started(marks) == ended(marks)
    assert started(marks) > jobs / 20

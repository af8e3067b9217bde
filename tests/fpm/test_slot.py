"""A worker before its job is known, on a real PHP-FPM."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import anyio
import pytest

from fcgi_async import (
    ConfigurationError,
    ConnectError,
    Dispatcher,
    DispatcherClosed,
    Endpoint,
    InvalidJob,
    Job,
    JobCancelled,
    JobTimeout,
    KeepAlive,
    LocalFPM,
    QueueFull,
    QueueTimeout,
)
from tests.conftest import StartFPM
from tests.dispatch.settled import settled, slots
from tests.eventually import eventually
from tests.fpm.marks import ended, started

pytestmark = pytest.mark.anyio


def dispatcher(fpm: LocalFPM, scripts: Path, share: int = 1, **settings: object) -> Dispatcher:
    """A dispatcher with a share of the shared FPM."""
    endpoint = Endpoint(fpm.address, max_children=share, root=str(scripts), keepalive=KeepAlive(idle=20))
    return Dispatcher(endpoint, **settings)  # type: ignore[arg-type]


def body(text: str, priority: int = 0) -> Job:
    return Job("respond.php", query={"body": text}, priority=priority)


def waits(folder: Path) -> Job:
    return Job("wait.php", query={"marks": str(folder / "marks"), "gate": str(folder / "gate")})


async def test_a_job_runs_on_the_worker_that_was_held(fpm: LocalFPM, scripts: Path) -> None:
    """Holding counts as busy and as no job; the job then begins at once, though another waits that came before."""
    async with dispatcher(fpm, scripts) as php:
        async with php.slot() as slot:
            now = php.statistics()
            assert (now.busy, now.running, now.queued, now.completed, slots(now)) == (1, 0, 0, 0, 1)
            waiting = await php.submit(body("later"))
            assert (php.statistics().queued, php.room()) == (1, 0)
            response = await slot.run(body("held"))
            assert (response.text, response.attempts) == ("held", 1)
        assert (await waiting).text == "later"
        now = await settled(php)
        assert (now.completed, now.connections_opened) == (2, 1)


async def test_unused_it_is_given_back_at_once(fpm: LocalFPM, scripts: Path) -> None:
    """A job that waits gets the same worker, on the same connection."""
    async with dispatcher(fpm, scripts) as php:
        async with php.slot():
            waiting = await php.submit(body("x"))
        assert (await waiting).text == "x"
        assert php.statistics().connections_opened == 1


async def test_it_waits_in_the_queue_as_a_job_does(fpm: LocalFPM, scripts: Path, tmp_path: Path) -> None:
    """First in first out among equals, higher priorities first."""
    order: list[str] = []
    async with dispatcher(fpm, scripts) as php:
        blocker = await php.submit(waits(tmp_path))
        await eventually(lambda: started(tmp_path / "marks"))

        async def job(name: str, priority: int) -> None:
            await php.run(body(name, priority))
            order.append(name)

        async def slot(name: str, priority: int) -> None:
            async with php.slot(priority=priority) as slot:
                await slot.run(body(name))
                order.append(name)

        async with anyio.create_task_group() as tasks:
            arrivals = ((job, "job", 0), (slot, "slot", 0), (job, "last", -1), (slot, "first", 1), (job, "second", 0))
            for queued, (start, name, priority) in enumerate(arrivals, 1):
                tasks.start_soon(start, name, priority)
                await eventually(lambda queued=queued: php.statistics().queued == queued)  # type: ignore[misc]
            (tmp_path / "gate").touch()
        await blocker
    assert order == ["first", "job", "slot", "second", "last"]


async def test_one_job(fpm: LocalFPM, scripts: Path) -> None:
    """A second job, a job outside the block, and entering twice are refused; one that cannot be sent costs nothing."""
    async with dispatcher(fpm, scripts) as php:
        slot = php.slot()
        with pytest.raises(ConfigurationError, match="enter the slot first"):
            await slot.run(body("x"))
        async with slot:
            with pytest.raises(InvalidJob):
                await slot.run(Job("../out.php"))
            assert (await slot.run(body("x"))).text == "x"
            with pytest.raises(ConfigurationError, match="a slot runs one job") as caught:
                await slot.run(body("y"))
            assert not caught.value.may_have_run
        with pytest.raises(ConfigurationError, match="entered only once"):
            await slot.__aenter__()
        async with php.slot() as unused:
            pass
        with pytest.raises(ConfigurationError, match="the slot was left"):
            await unused.run(body("z"))
        assert (await settled(php)).completed == 1


async def test_a_stream(fpm: LocalFPM, scripts: Path) -> None:
    """A job on a held worker may be streamed."""
    async with dispatcher(fpm, scripts) as php, php.slot() as slot:
        async with slot.stream(body("streamed")) as response:
            assert await response.aread() == b"streamed"


async def test_an_upload(fpm: LocalFPM, scripts: Path) -> None:
    """A body in parts goes to the worker that was held."""
    async with dispatcher(fpm, scripts) as php:
        async with php.slot() as slot:
            path = scripts / "echo.php"
            response = await slot.run(Job("echo.php", files={"file": path}))
            assert response.ok
        assert (await settled(php)).connections_opened == 1


async def test_deadlines(fpm: LocalFPM, scripts: Path, tmp_path: Path) -> None:
    """While it waits the queue's deadline counts, its own first; the job has its own from its call on."""
    async with dispatcher(fpm, scripts, share=2) as php:
        async with php.slot(), php.slot() as slot:
            with pytest.raises(QueueTimeout, match=r"within 0.01 s"):
                await php.slot(queue_timeout=0.01).__aenter__()
            with pytest.raises(JobTimeout):
                await slot.run(waits(tmp_path), timeout=0.05)
        (tmp_path / "gate").touch()
        assert php.statistics().queued == 0
        await settled(php)


async def test_a_full_queue(fpm: LocalFPM, scripts: Path) -> None:
    """A slot that is waited for takes a place in the queue, and is refused where there is none."""
    async with dispatcher(fpm, scripts, max_queued=1, overflow="reject") as php, php.slot():
        waiting = await php.submit(body("x"))
        with pytest.raises(QueueFull):
            await php.slot().__aenter__()
        waiting.cancel()


async def test_cancelled_while_it_waits(fpm: LocalFPM, scripts: Path) -> None:
    """It leaves the queue, and nothing of it."""
    async with dispatcher(fpm, scripts) as php:
        async with php.slot():
            with anyio.move_on_after(0.02) as scope:
                async with php.slot():
                    raise AssertionError("there was a second worker")
            assert scope.cancelled_caught
            assert php.statistics().queued == 0
        assert php.statistics().idle == 1


async def test_left_with_its_job_running(fpm: LocalFPM, scripts: Path, tmp_path: Path) -> None:
    """Leaving by an exception cancels the job as run() does: its script is left to its end, its worker counted."""
    async with dispatcher(fpm, scripts) as php, anyio.create_task_group() as tasks:
        slot = await php.slot().__aenter__()

        async def run() -> None:
            with pytest.raises(JobCancelled):
                await slot.run(waits(tmp_path))

        tasks.start_soon(run)
        await eventually(lambda: started(tmp_path / "marks"))
        await slot.__aexit__(LookupError, LookupError(), None)
        assert (php.statistics().cancelled, php.statistics().draining) == (1, 1)
        (tmp_path / "gate").touch()
        await settled(php)
        assert ended(tmp_path / "marks") == 1


async def test_a_worker_that_leaves_while_it_is_held(start_fpm: StartFPM, scripts: Path) -> None:
    """The job certainly did not run there: it runs on another worker, once, ahead of its equals."""
    fpm = await start_fpm(max_children=1)
    async with dispatcher(fpm, scripts) as php:
        worker = int((await php.run(Job("work.php", query={"marks": os.devnull}))).text)
        async with php.slot() as slot:
            waiting = await php.submit(body("waiting"))
            os.kill(worker, signal.SIGKILL)
            await eventually(lambda: php.statistics().busy == 0 or waiting.done())
            response = await slot.run(body("held"))
            assert (response.text, response.attempts) == ("held", 1)
        await waiting
        assert (await settled(php)).failed == 0


async def test_a_job_whose_worker_has_left_keeps_its_place(start_fpm: StartFPM, scripts: Path) -> None:
    """It goes ahead of jobs of its slot's priority that came before it."""
    fpm = await start_fpm(max_children=1)
    order: list[str] = []
    async with dispatcher(fpm, scripts) as php, anyio.create_task_group() as tasks:
        worker = int((await php.run(Job("work.php", query={"marks": os.devnull}))).text)

        async def run(name: str) -> None:
            await php.run(body(name, 3))
            order.append(name)

        async with php.slot(priority=3) as slot:
            tasks.start_soon(run, "waiting")
            await eventually(lambda: php.statistics().queued == 1)
            php.pause()
            os.kill(worker, signal.SIGKILL)
            await eventually(lambda: php.statistics().busy == 0)

            async def resume() -> None:
                await eventually(lambda: php.statistics().queued == 2)
                php.resume()

            tasks.start_soon(resume)
            await slot.run(body("held"))
            order.append("held")
    assert order == ["held", "waiting"]


async def test_no_worker_any_more(start_fpm: StartFPM, scripts: Path) -> None:
    """Where no endpoint can be reached any more the job fails, and certainly did not run."""
    fpm = await start_fpm(max_children=1)
    endpoint = Endpoint(fpm.address, max_children=1, root=str(scripts), reconnect_timeout=0)
    async with Dispatcher(endpoint) as php:
        async with php.slot() as slot:
            await fpm.__aexit__(None, None, None)
            await eventually(lambda: php.statistics().busy == 0)
            with pytest.raises(ConnectError) as caught:
                await slot.run(body("x"))
            assert not caught.value.may_have_run
        with pytest.raises(ConnectError):
            await php.slot().__aenter__()


async def test_closing(fpm: LocalFPM, scripts: Path, tmp_path: Path) -> None:
    """A dispatcher that is being closed takes back slots without a job, and finishes the job of another."""
    php = dispatcher(fpm, scripts, share=2)
    ready: list[str] = []

    async def hold() -> None:
        async with php.slot() as slot:
            ready.append("held")
            await eventually(lambda: (php.statistics().busy, php.statistics().running) == (1, 1))
            with pytest.raises(DispatcherClosed) as caught:
                await slot.run(body("x"))
            assert not caught.value.may_have_run
        (tmp_path / "gate").touch()

    async def run() -> None:
        async with php.slot() as slot:
            assert (await slot.run(waits(tmp_path))).ok

    async def wait() -> None:
        with pytest.raises(DispatcherClosed):
            await php.slot().__aenter__()

    async with anyio.create_task_group() as tasks:
        async with php:
            tasks.start_soon(run)
            await eventually(lambda: started(tmp_path / "marks"))
            tasks.start_soon(hold)
            await eventually(lambda: ready)
            tasks.start_soon(wait)
            await eventually(lambda: php.statistics().queued == 1)
    assert (php.statistics().completed, ended(tmp_path / "marks")) == (1, 1)


async def test_paused(fpm: LocalFPM, scripts: Path) -> None:
    """A paused dispatcher gives no slot, and lets the job of one that is held begin."""
    async with dispatcher(fpm, scripts, share=2) as php, php.slot() as slot:
        assert php.room() == 1
        php.pause()
        assert php.room() == 0
        with pytest.raises(QueueTimeout):
            await php.slot(queue_timeout=0.01).__aenter__()
        assert (await slot.run(body("x"))).text == "x"
        php.resume()


async def test_room(fpm: LocalFPM, scripts: Path) -> None:
    """What is not used and nobody waits for is room; who waits for it is woken when it is there."""
    async with dispatcher(fpm, scripts, share=2) as php:
        assert php.room() == 2
        await php.wait_room(2)
        woken = anyio.Event()

        async def wait() -> None:
            await php.wait_room(2)
            woken.set()

        async with php.slot():
            assert php.room() == 1
            async with anyio.create_task_group() as tasks:
                async with php.slot():
                    assert php.room() == 0
                    tasks.start_soon(wait)
                await php.wait_room(1)
                assert not woken.is_set()
                tasks.cancel_scope.cancel()
        async with anyio.create_task_group() as tasks:
            async with php.slot():
                tasks.start_soon(wait)
                await anyio.lowlevel.checkpoint()
            await woken.wait()
        await php.run(body("x"))
        await php.wait_room(2)
        with pytest.raises(ConfigurationError, match="at most 2 for a job of priority 0"):
            await php.wait_room(3)


async def test_room_is_there_once_nobody_waits(fpm: LocalFPM, scripts: Path) -> None:
    """A job that is cancelled in the queue, and one that takes a worker, make room for whoever waits for it."""
    async with dispatcher(fpm, scripts, share=2) as php:
        php.pause()
        queued = await php.submit(body("x"))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(php.wait_room, 1)
            await anyio.lowlevel.checkpoint()
            php.resume()
            with anyio.fail_after(20):
                await php.wait_room(1)
        await queued


async def test_waiting_for_room_ends_with_the_dispatcher(fpm: LocalFPM, scripts: Path) -> None:
    """Whoever waits for room is told that there will be none."""
    told: list[str] = []
    async with anyio.create_task_group() as tasks:
        async with dispatcher(fpm, scripts) as php:
            await php.slot().__aenter__()

            async def wait() -> None:
                with pytest.raises(DispatcherClosed):
                    await php.wait_room(1)
                told.append("closed")

            tasks.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
    assert told

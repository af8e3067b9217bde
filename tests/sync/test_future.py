"""Jobs that are handed in and asked for later, as concurrent.futures has it."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
from concurrent.futures import FIRST_COMPLETED, CancelledError, as_completed, wait
from pathlib import Path

import pytest

from fcgi_async import ConfigurationError, DispatcherClosed, Endpoint, FastCGIError, InvalidJob, Job, JobTimeout
from fcgi_async.sync import Dispatcher
from tests.eventually import soon
from tests.sync.test_dispatcher import gated, said


def test_it_waits_and_returns(php: Dispatcher, gate: Path) -> None:
    """Its result is the response; waiting for it may have an end, and the job goes on."""
    future = php.submit(gated(gate))
    assert not future.done()
    with pytest.raises(TimeoutError):
        future.result(0.05)
    gate.touch()
    assert future.result(20).text.endswith("done\n")
    assert future.exception() is None
    assert future.job.script == "gate.php"
    assert repr(future) == "<JobFuture 'gate.php' done>"


def test_functions_of_concurrent_futures(php: Dispatcher, gate: Path) -> None:
    """wait() and as_completed() take them, and callbacks are called in the dispatcher's thread."""
    slow, *fast = [php.submit(job) for job in (gated(gate), said(1), said(2))]
    done, _ = wait([slow, *fast], timeout=20, return_when=FIRST_COMPLETED)
    assert slow not in done
    assert {future.result().text for future in as_completed(fast, timeout=20)} == {"1", "2"}
    names: list[str] = []
    slow.add_done_callback(lambda _: names.append(threading.current_thread().name))
    gate.touch()
    slow.result(20)
    soon(lambda: names == ["fcgi_async"])


def test_errors(php: Dispatcher, gate: Path, caplog: pytest.LogCaptureFixture) -> None:
    """They arrive as they are, and are not logged once somebody has asked."""
    future = php.submit(gated(gate, run_timeout=0.1))
    assert isinstance(future.exception(20), JobTimeout)
    with pytest.raises(JobTimeout):
        future.result()
    with pytest.raises(InvalidJob):
        php.submit(Job("a.php", params={"PHP_VALUE": "x"}))
    del future
    gc.collect()
    php.run(said("a"))
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


def test_an_error_that_nobody_asks_for(endpoint: Endpoint, gate: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, and given to on_job_error, once its future is forgotten."""
    told: list[FastCGIError] = []
    with Dispatcher(endpoint, on_job_error=told.append) as php:
        future = php.submit(gated(gate, run_timeout=0.1))
        wait([future])
        assert told == []
        del future
        gc.collect()
        soon(lambda: told)
    assert isinstance(told[0], JobTimeout)
    assert [record.name for record in caplog.records if record.levelno == logging.ERROR] == ["fcgi_async.dispatch"]


@pytest.mark.parametrize("running", [True, False])
def test_cancelling(php: Dispatcher, gate: Path, running: bool) -> None:
    """A job is cancelled in the queue, where it never runs, and while it runs."""
    blockers = [] if running else [php.submit(gated(gate)) for _ in range(4)]
    soon(lambda: php.statistics().busy == len(blockers))
    future = php.submit(gated(gate))
    soon(lambda: php.statistics().busy == (1 if running else 4))
    assert future.cancel()
    assert future.cancelled()
    assert future.done()
    with pytest.raises(CancelledError):
        future.result()
    assert future.cancel()
    gate.touch()
    assert all(blocker.result(20).ok for blocker in blockers)
    assert not (blockers and blockers[0].cancel())
    assert php.statistics().cancelled == 1


def test_cancelling_in_the_dispatchers_thread(php: Dispatcher, gate: Path) -> None:
    """A callback may cancel other jobs: it is no waiting."""
    other = php.submit(gated(gate))
    php.submit(said("a")).add_done_callback(lambda _: other.cancel())
    soon(other.cancelled)
    gate.touch()


def test_a_callback_asks_for_the_result(php: Dispatcher, gate: Path) -> None:
    """It is there, in the dispatcher's thread too."""
    future, told = php.submit(gated(gate)), list[str]()
    future.add_done_callback(lambda future: told.append(future.result().text))
    gate.touch()
    soon(lambda: told)
    assert told[0].endswith("done\n")


def test_when_the_dispatcher_closes(endpoint: Endpoint, gate: Path) -> None:
    """Each future has an end."""
    with Dispatcher(endpoint, shutdown_timeout=0) as php:
        futures = [php.submit(gated(gate)) for _ in range(6)]
        soon(lambda: php.statistics().busy == 4)
    assert all(isinstance(future.exception(0), DispatcherClosed) for future in futures)
    assert not futures[0].cancel()
    gate.touch()


def test_in_an_event_loop(php: Dispatcher, gate: Path) -> None:
    """Waiting there would stop the loop, and is refused; asyncio's own way to await it is not."""
    future = php.submit(gated(gate))

    async def main() -> str:
        for ask in (future.result, future.exception):
            with pytest.raises(ConfigurationError, match="would stop the event loop"):
                ask()
        await asyncio.to_thread(gate.touch)
        return (await asyncio.wrap_future(future)).text

    assert asyncio.run(main()).endswith("done\n")

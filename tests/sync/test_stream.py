"""Responses that threads read while PHP writes them, on a real PHP-FPM."""

from __future__ import annotations

import json
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fcgi_async import (
    ConfigurationError,
    DispatcherClosed,
    Job,
    JobCancelled,
    JobFailed,
    JobNotDone,
    JobTimeout,
    StreamBusy,
)
from fcgi_async.sync import Dispatcher
from tests.eventually import soon
from tests.sync.test_dispatcher import gated, said


def test_parts_come_as_php_flushes_them(php: Dispatcher, gate: Path) -> None:
    """The first part is there before the script goes on; what it comes to is known at the end."""
    with php.stream(gated(gate)) as response:
        assert (response.status, response.headers["content-type"]) == (200, "text/html; charset=UTF-8")
        assert int(next(response)) > 0
        assert response.ok is None
        assert response.timing.total >= response.timing.first_byte > 0
        with pytest.raises(JobNotDone):
            response.raise_for_status()
        gate.touch()
        assert list(response) == [b"done\n"]
        assert response.ok
        assert response.app_status == 0
        assert response.raise_for_status() is response


def test_lines(php: Dispatcher, tmp_path: Path) -> None:
    """Each line comes before the script writes the next one."""
    with php.view(idempotent=True).stream(Job("steps.php", query={"directory": str(tmp_path)})) as response:
        for step, line in enumerate(response.iter_lines()):
            assert json.loads(line) == {"step": step}
            (tmp_path / str(step)).touch()
    assert step == 3


def test_a_large_body(php: Dispatcher) -> None:
    """All of it comes, part by part or in one go."""
    size = 8 * 1024 * 1024
    job = Job("flood.php", query={"bytes": size})
    with php.stream(job) as response:
        first = next(response)
        assert len(first) + len(response.read()) == size
    with php.stream(job) as response:
        assert sum(map(len, response)) == size


def test_stderr_and_a_failure(php: Dispatcher) -> None:
    """What PHP logs is there, and a status is raised for."""
    with php.stream(Job("respond.php", query={"status": 500, "body": "no"})) as response:
        assert response.read() == b"no"
        assert response.stderr == b""
        with pytest.raises(JobFailed):
            response.raise_for_status()


def test_leaving_early_frees_the_worker(php: Dispatcher) -> None:
    """A script that writes for ever ends, and all workers take jobs again."""
    for _ in range(6):
        with php.stream(Job("flood.php")) as response:
            for part in response:
                assert part
                break
    soon(lambda: php.statistics().busy + php.statistics().draining + php.statistics().leaving == 0)
    assert [response.text for response in php.run_all([said(n) for n in range(8)])] == [str(n) for n in range(8)]


def test_an_error_in_the_block_leaves_it(php: Dispatcher, gate: Path) -> None:
    """It is raised as it is."""
    with pytest.raises(ZeroDivisionError), php.stream(gated(gate)):
        raise ZeroDivisionError
    gate.touch()
    assert php.run(said("on")).text == "on"


def test_closing_it_in_another_thread(php: Dispatcher, gate: Path) -> None:
    """The reader that waits is told; closing again, and after its end, does nothing."""
    with php.stream(gated(gate)) as response:
        next(response)
        closer = threading.Timer(0, response.close)
        closer.start()
        with pytest.raises(JobCancelled, match="the stream was cancelled"):
            next(response)
        closer.join()
        response.close()
    response.close()
    assert php.run(said("on")).text == "on"


def test_closing_the_dispatcher_waits_for_its_reader(php: Dispatcher, gate: Path) -> None:
    """As for every job that was handed in: it is read to its end meanwhile."""
    with php.stream(gated(gate)) as response, ThreadPoolExecutor(3) as pool:
        next(response)
        readers = [pool.submit(response.read) for _ in range(2)]
        # one is refused, because the other one reads
        soon(lambda: any(reader.done() for reader in readers))
        closing = pool.submit(php.close)
        soon(lambda: "closing" in repr(php))
        gate.touch()
        [reader] = [reader for reader in readers if not isinstance(reader.exception(20), StreamBusy)]
        assert reader.result() == b"done\n"
        closing.result(20)
    assert php.closed


def test_closing_the_dispatcher_at_once_ends_it(php: Dispatcher, gate: Path) -> None:
    """The reader gets DispatcherClosed, and so does every later read; leaving raises nothing."""
    with php.stream(gated(gate)) as response, ThreadPoolExecutor(1) as pool:
        next(response)
        reading = pool.submit(next, response)
        php.close(0)
        assert isinstance(reading.exception(20), DispatcherClosed)
        with pytest.raises(DispatcherClosed):
            response.read()


def test_one_reader_at_a_time(php: Dispatcher, gate: Path) -> None:
    """A second one is refused, and the first gets its part."""
    with php.stream(gated(gate)) as response, ThreadPoolExecutor(2) as pool:
        next(response)
        readers = [pool.submit(next, response) for _ in range(2)]
        soon(lambda: any(reader.done() for reader in readers))
        gate.touch()
        [refused] = [reader for reader in readers if isinstance(reader.exception(20), StreamBusy)]
        assert [reader.result() for reader in readers if reader is not refused] == [b"done\n"]


def test_deadlines(php: Dispatcher, gate: Path) -> None:
    """One that passes before the head fails entering, one that passes later the next read."""
    query = {"seconds": 0.5, "marks": str(gate.with_name("marks"))}
    with pytest.raises(JobTimeout), php.stream(Job("stays.php", query=query), timeout=0.1):
        pass
    with php.stream(gated(gate), timeout=1.0) as response, pytest.raises(JobTimeout):
        list(response)


def test_it_can_be_entered_once(php: Dispatcher) -> None:
    """Nothing is run again by mistake."""
    manager = php.stream(said("a"))
    with manager as response:
        assert response.read() == b"a"
    with pytest.raises(ConfigurationError, match="can be entered only once"), manager:
        pass
    assert php.statistics().completed == 1


def test_ctrl_c_while_reading(php: Dispatcher, gate: Path) -> None:
    """It interrupts the reader, and leaving frees the worker."""
    with pytest.raises(KeyboardInterrupt), php.stream(gated(gate)) as response:
        next(response)
        threading.Timer(0, signal.pthread_kill, [threading.get_ident(), signal.SIGINT]).start()
        next(response)
    gate.touch()
    assert php.run(said("on")).text == "on"

"""How a dispatcher ends: by closing it, by Ctrl-C, with the program, and in a forked process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Literal

import anyio
import anyio.to_thread
import pytest

from fcgi_async import ConfigurationError, DispatcherClosed, Endpoint, Job, LocalFPM
from fcgi_async.sync import Dispatcher
from tests.eventually import soon
from tests.sync.test_dispatcher import THREADS, USES, gated, said

ROOT = Path(__file__).parents[2]


@pytest.mark.anyio
@pytest.mark.parametrize("use", [*USES, "open", "close"])
@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_in_an_event_loop(endpoint: Endpoint, use: str) -> None:
    """Each method refuses to stop the loop and names what does not; in a worker thread it works."""
    uses: dict[str, Callable[[Dispatcher], object]] = {
        **USES,
        "status": lambda php: php.statistics(),
        "open": lambda php: Dispatcher(endpoint).open(),
        "close": lambda php: php.close(),
    }
    php = await anyio.to_thread.run_sync(lambda: Dispatcher(endpoint).open())
    if use != "status":
        with pytest.raises(ConfigurationError, match=r"use fcgi_async\.Dispatcher and await it.*asyncio\.to_thread"):
            uses[use](php)
    else:
        assert php.statistics().completed == 0
    if use != "open":
        await anyio.to_thread.run_sync(uses[use], php)
    await anyio.to_thread.run_sync(php.close)


def test_closing_waits_for_jobs(php: Dispatcher, gate: Path) -> None:
    """Those that were handed in are finished, and new ones refused."""
    future = php.submit(gated(gate))
    soon(lambda: php.statistics().busy == 1)
    closer = threading.Thread(target=php.close)
    closer.start()

    def refused() -> bool:
        try:
            php.run(said("a"))
        except DispatcherClosed as error:
            return "closing and takes no more jobs" in str(error)
        return False

    soon(refused)
    assert not php.closed
    gate.touch()
    closer.join(20)
    assert php.closed
    assert future.result().ok


@pytest.mark.parametrize("again", [False, True])
def test_closing_ends_jobs(php: Dispatcher, gate: Path, again: bool) -> None:
    """With a timeout they are ended after it, whichever thread waits for them; closing again hastens that."""
    with ThreadPoolExecutor(THREADS) as pool:
        waiting = [pool.submit(php.run, gated(gate)) for _ in range(THREADS - 1)]
        soon(lambda: php.statistics().busy == 4 and php.statistics().queued == THREADS - 5)
        if again:
            closing = pool.submit(php.close, None)
            soon(lambda: "closing" in repr(php))
        php.close(0.05 if not again else 0)
        assert all(isinstance(future.exception(20), DispatcherClosed) for future in waiting)
        if again:
            closing.result(20)
    gate.touch()


def test_leaving_by_an_exception(endpoint: Endpoint, gate: Path) -> None:
    """Jobs are ended now: nobody will read them."""
    with pytest.raises(LookupError):
        with Dispatcher(endpoint) as php:
            future = php.submit(gated(gate))
            soon(lambda: php.statistics().busy == 1)
            raise LookupError
    assert isinstance(future.exception(0), DispatcherClosed)
    gate.touch()


def start(source: str, fpm: LocalFPM, *arguments: object) -> subprocess.Popen[str]:
    """Start a script that has `php`, `job`, and `gated` jobs whose gate is its first argument."""
    head = (
        "import os, sys, threading\n"
        "from fcgi_async import ConfigurationError, Endpoint, Job\n"
        "from fcgi_async.sync import Dispatcher\n"
        "address, root, gate, backend = sys.argv[1:5]\n"
        "php = Dispatcher(Endpoint(address, max_children=2, root=root, on_cancel='close'), backend=backend)\n"
        "job, gated = Job('respond.php', query={'body': 'ok'}), Job('gate.php', query={'gate': gate})\n"
        "def told():\n"
        "    statistics = php.statistics()\n"
        "    print(statistics.completed, statistics.failed, statistics.cancelled, flush=True)\n"
    )
    scripts = ROOT / "tests" / "fpm" / "scripts"
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", head + source, fpm.address, str(scripts), *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


FORGOTTEN = {
    "a job runs": "php.open().submit(gated)\nprint(php.run(job).text)",
    "a thread waits": (
        "php.open()\n"
        "settings = {'return_exceptions': True}\n"
        "threading.Thread(target=php.run_all, args=([gated],), kwargs=settings, daemon=True).start()\n"
        "print(php.run(job).text)"
    ),
    "nothing runs": "print(php.open().run(job).text)",
    "an error": "print(php.open().run(job).text)\nsys.exit(3)",
}


@pytest.mark.parametrize(("backend", "what"), [*(("asyncio", what) for what in FORGOTTEN), ("trio", "a job runs")])
def test_the_program_ends(fpm: LocalFPM, backend: str, gate: Path, what: str) -> None:
    """Although nobody closed the dispatcher: it holds up nothing, and says only which jobs it gave up."""
    process = start(FORGOTTEN[what], fpm, gate, backend)
    stdout, stderr = process.communicate(timeout=30)
    gate.touch()
    assert "Traceback" not in stderr
    assert (stdout, process.returncode) == ("ok\n", 3 if what == "an error" else 0)


INTERRUPTED = {
    "run": "php.run(gated)",
    "run_all": "php.run_all([gated])",
    "run_all of an iterator": "php.run_all(iter([gated]))",
    "map": "list(php.map(iter([gated])))",
    "submit": "php.submit(gated).result()",
}


@pytest.mark.parametrize(("backend", "what"), [*(("asyncio", what) for what in INTERRUPTED), ("trio", "run")])
def test_ctrl_c(fpm: LocalFPM, backend: str, gate: Path, what: str) -> None:
    """It ends the waiting at once and cancels the job; one that was submitted stays the dispatcher's."""
    source = (
        "with php:\n"
        "    threading.Thread(target=lambda: [None for _ in iter(lambda: php.statistics().busy, 1)]"
        " and None or print('running', flush=True)).start()\n"
        "    try:\n"
        f"        {INTERRUPTED[what]}\n"
        "    except KeyboardInterrupt:\n"
        "        while php.statistics().running: pass\n"
        "        told()\n"
        "        print(php.run(job).text, flush=True)\n"
    )
    if what == "submit":
        source = source.replace("        while php.statistics().running: pass\n", "").replace(
            "        print(php", "        open(gate, 'w').close()\n        print(php"
        )
    process = start(source, fpm, gate, backend)
    assert process.stdout is not None
    assert process.stdout.readline() == "running\n"
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=30)
    gate.touch()
    assert (stdout, stderr) == (f"0 0 {0 if what == 'submit' else 1}\nok\n", "")


def test_ctrl_c_while_closing(fpm: LocalFPM, gate: Path) -> None:
    """It ends the jobs that closing waits for."""
    source = (
        "php.open()\n"
        "future = php.submit(gated)\n"
        "while not php.statistics().busy: pass\n"
        "def tell():\n"
        "    while 'closing' not in repr(php): pass\n"
        "    print('running', flush=True)\n"
        "threading.Thread(target=tell).start()\n"
        "try:\n"
        "    php.close()\n"
        "except KeyboardInterrupt:\n"
        "    print(type(future.exception(0)).__name__, php.closed)\n"
    )
    process = start(source, fpm, gate, "asyncio")
    assert process.stdout is not None
    assert process.stdout.readline() == "running\n"
    process.send_signal(signal.SIGINT)
    stdout, _ = process.communicate(timeout=30)
    gate.touch()
    assert stdout == "DispatcherClosed True\n"


def test_after_a_fork(fpm: LocalFPM, backend: str, gate: Path) -> None:
    """A child says what to do and ends by itself; what was not open yet is opened there; the parent goes on."""
    source = (
        "unopened = Dispatcher(address, max_children=2)\n"
        "with php:\n"
        "    waiting = php.submit(gated)\n"
        "    php.run(job)\n"
        "    child = os.fork()\n"
        "    if not child:\n"
        "        for use in (lambda: php.run(job), lambda: php.submit(job), waiting.result, php.open):\n"
        "            try:\n"
        "                use()\n"
        "            except ConfigurationError as error:\n"
        "                assert 'before this process was forked from it' in str(error)\n"
        "            else:\n"
        "                raise AssertionError\n"
        "        with unopened:\n"
        "            print(unopened.ping() > 0, flush=True)\n"
        "        # leaving the block closes nothing: it is the parent's\n        sys.exit(7)\n"
        "    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), php.run(job).text, flush=True)\n"
        "    open(gate, 'w').close()\n"
        "    waiting.result()\n"
    )
    process = start(source, fpm, gate, backend)
    stdout, stderr = process.communicate(timeout=30)
    assert (stdout, stderr) == ("True\n7 ok\n", "")


def test_threads_that_close_at_once(
    endpoint: Endpoint, backend: Literal["asyncio", "trio"], caplog: pytest.LogCaptureFixture
) -> None:
    """Those that come late find nothing to hasten, and do not disturb the end of the loop."""
    with ThreadPoolExecutor(THREADS) as pool:
        for _ in range(50):
            php = Dispatcher(endpoint, backend=backend).open()
            start = threading.Barrier(THREADS)

            def close(php: Dispatcher = php, start: threading.Barrier = start) -> None:
                start.wait(20)
                php.close(0)

            for closing in [pool.submit(close) for _ in range(THREADS)]:
                closing.result(20)
            assert php.closed
    assert not caplog.records


def test_the_end_of_the_program_waits_for_no_job_to_come(php: Dispatcher) -> None:
    """A daemon thread may wait forever for the next job of its queue."""
    jobs: SimpleQueue[Job | None] = SimpleQueue()
    jobs.put(said("a"))
    pool = ThreadPoolExecutor(1)
    running = pool.submit(lambda: php.run_all(iter(jobs.get, None)))
    soon(lambda: php.statistics().completed == 1)
    try:
        php._thread.close_at_exit()
        soon(lambda: not php._thread._thread.is_alive())
    finally:
        jobs.put(None)
    with pytest.raises(DispatcherClosed):
        running.result(20)
    pool.shutdown()

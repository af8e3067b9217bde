"""An interruption such as Ctrl-C, or a signal handler, at each step of a call at which Python can run it."""

from __future__ import annotations

import dis
import sys
import threading
from collections.abc import Callable
from contextlib import nullcontext, suppress
from pathlib import Path
from types import FrameType
from typing import Any, Literal

import pytest

from fcgi_async import DispatcherClosed, Endpoint, Job
from fcgi_async.sync import Dispatcher
from tests.eventually import soon
from tests.sync.test_dispatcher import gated, said


def read(php: Dispatcher, job: Job) -> bytes:
    """Read a response while it is written."""
    with php.stream(job) as response:
        return response.read()


def wait_a_moment(php: Dispatcher, job: Job) -> None:
    """Give up waiting for a job that goes on."""
    with suppress(TimeoutError):
        php.submit(job).result(0.01)


USES: dict[str, Callable[[Dispatcher, Job], object]] = {
    "run": lambda php, job: php.run(job),
    "run_all": lambda php, job: php.run_all([job]),
    "run_all of an iterator": lambda php, job: php.run_all(iter([job])),
    "map": lambda php, job: list(php.map(iter([job]))),
    "submit": lambda php, job: php.submit(job).result(),
    "submit, and give up": wait_a_moment,
    "submit, and cancel": lambda php, job: php.submit(job).cancel(),
    "submit, and look": lambda php, job: php.submit(job).done(),
    "stream": lambda php, job: read(php, job),
}
# the interpreter looks for signals after these
LOOKS = ("CALL", "RESUME", "JUMP_BACKWARD")
# code that a call runs in the thread that makes it
PLACES = ("/fcgi_async/", "/threading.py", "/concurrent/futures/", "/asyncio/")


def raise_it() -> None:
    """Do what Ctrl-C does."""
    raise KeyboardInterrupt


def interrupt(step: int, call: Callable[[], object], handler: Callable[[], object] = raise_it) -> bool:
    """Call a handler of a signal at a step of a call; return False if the call waits, or ends, before that."""
    seen, before = 0, dict[int, int]()

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal seen
        # what is raised in __del__ is only printed
        if frame.f_code.co_name == "__del__":
            sys.settrace(None)
        if not any(place in frame.f_code.co_filename for place in PLACES):
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            last = before.get(id(frame))
            before[id(frame)] = frame.f_lasti
            if last is not None and dis.opname[frame.f_code.co_code[last]].startswith(LOOKS):
                seen += 1
                if seen == step:
                    sys.settrace(None)
                    handler()
        elif event == "call":
            before.pop(id(frame), None)
        return trace

    sys.settrace(trace)
    try:
        call()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(None)
    return seen >= step


@pytest.mark.long
@pytest.mark.parametrize("use", USES)
def test_at_each_step(php: Dispatcher, tmp_path: Path, use: str) -> None:
    """The job is cancelled, unless it was submitted; others run after it, and the dispatcher can be closed."""
    for step in range(1, 1000):
        gate = tmp_path / f"gate{step}"
        # most steps come before the call waits; what only looks must find that the job runs
        opened = threading.Timer(0.5 if use.endswith("look") else 0.1, gate.touch)
        opened.start()
        interrupted = interrupt(step, lambda gate=gate: USES[use](php, gated(gate)))  # type: ignore[misc]
        opened.cancel()
        if use.startswith("submit") or not interrupted:
            gate.touch()
        assert php.run(said("on")).text == "on"
        soon(lambda: php.statistics().running == php.statistics().queued == 0)
        gate.touch()
        if not interrupted:
            break
    assert step > 30
    closer = threading.Thread(target=php.close, daemon=True)
    closer.start()
    closer.join(20)
    assert php.closed


@pytest.mark.parametrize("closes", [False, True])
def test_a_signal_handler_uses_the_dispatcher(
    endpoint: Endpoint, backend: Literal["asyncio", "trio"], closes: bool
) -> None:
    """As `__del__` of garbage may, too. What was interrupted goes on after that, or learns that it is closed."""

    def all_steps() -> None:
        php = Dispatcher(endpoint, backend=backend).open()

        def run() -> None:
            with suppress(DispatcherClosed) if closes else nullcontext():
                assert php.run(said("on")).text == "on"

        def handle() -> None:
            if closes:
                php.close(5)
            else:
                php.run(said("handled"))

        step = 1
        while interrupt(step, run, handle):
            if closes:
                assert php.closed
                php = Dispatcher(endpoint, backend=backend).open()
            step += 1
        steps.append(step)
        php.close()

    steps: list[int] = []
    thread = threading.Thread(target=all_steps, daemon=True)
    thread.start()
    thread.join(40)
    assert steps
    assert steps[0] > 30

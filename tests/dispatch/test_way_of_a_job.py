"""The way of a job through the house is as short as docs/architecture.md says."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import pytest

import fcgi_async
from fcgi_async import Dispatcher, Job
from fcgi_async.testing import Responder
from tests.dispatch.settled import settled
from tests.handlers import ok

pytestmark = pytest.mark.anyio

PACKAGE = Path(fcgi_async.__file__).parent
ARCHITECTURE = PACKAGE.parent / "docs" / "architecture.md"
WAY = {
    "Running.run_all": "dispatch/running.py",
    "RunAll._add": "dispatch/running.py",
    "Running._start": "dispatch/running.py",
    "Scheduler.submit": "dispatch/scheduler.py",
    "Scheduler.assign": "dispatch/scheduler.py",
    "Execution.begin": "dispatch/execution.py",
    "Worker.start": "pool/worker.py",
    "Worker.data_received": "pool/worker.py",
    "Execution.attempt_over": "dispatch/execution.py",
    "RunAll._done": "dispatch/running.py",
}


@contextmanager
def calls_of(names: set[str]) -> Iterator[dict[str, str]]:
    """Yield the functions of these names in the order of their first calls, each with its file."""
    seen: dict[str, str] = {}

    def note(frame: FrameType, event: str, argument: object) -> None:
        if event == "call" and frame.f_code.co_qualname in names:
            file = Path(frame.f_code.co_filename)
            if file.is_relative_to(PACKAGE):
                seen.setdefault(frame.f_code.co_qualname, str(file.relative_to(PACKAGE)))

    sys.setprofile(note)
    try:
        yield seen
    finally:
        sys.setprofile(None)


async def test_run_all_goes_this_way(address: str) -> None:
    """From the call to the response: ten functions in four files, one after the other."""
    async with Responder(ok, address), Dispatcher(address, max_children=1) as php:
        # with a worker that waits
        await php.run(Job("/first.php"))
        await settled(php)
        with calls_of(set(WAY)) as seen:
            await php.run_all([Job("/second.php")])
    assert list(seen.items()) == list(WAY.items())
    assert (len(WAY), len(set(WAY.values()))) == (10, 4)


def test_the_way_is_told() -> None:
    """The architecture names these functions and files, in one paragraph."""
    (told,) = (text for text in ARCHITECTURE.read_text().split("\n\n") if text.startswith("With `run_all()`"))
    for name, file in WAY.items():
        assert f"{name.rpartition('.')[2]}()`" in told
        assert Path(file).stem in told or name.partition(".")[0] in told

"""The way of a job through the house is as long as docs/architecture.md says."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import pytest

import fcgi_async
from fcgi_async import Dispatcher, Job, LocalFPM
from tests.dispatch.settled import settled

pytestmark = pytest.mark.anyio

PACKAGE = Path(fcgi_async.__file__).parent
ARCHITECTURE = PACKAGE.parent / "docs" / "architecture.md"
# the functions on the stack, with their files
WAY = {
    "Running.run_all": "running",
    "RunAll.draw": "running",
    "Running._start": "running",
    "Scheduler.submit": "scheduler",
    "Scheduler.assign": "scheduler",
    "Execution.begin": "execution",
    "Worker.start": "worker",
    "Worker.data_received": "worker",
    "Execution.attempt_over": "execution",
    "RunAll._done": "running",
}
# the event loop calls this one
READS = ("Transport._readable", "transport")
# where the job's bytes leave, and where its response arrives
ENDS = ("Worker.start", "RunAll._done")


def stack(frame: FrameType | None) -> Iterator[tuple[str, str]]:
    """Yield the package's functions on the stack with their files, the innermost first, up to where a job came in."""
    while frame is not None:
        code = frame.f_code
        if Path(code.co_filename).is_relative_to(PACKAGE):
            yield code.co_qualname, Path(code.co_filename).stem
        if code.co_qualname in ("Running.run_all", "Transport._readable"):
            return
        frame = frame.f_back


@contextmanager
def stacks_of(names: tuple[str, ...]) -> Iterator[list[tuple[str, str]]]:
    """Yield the stacks of the first calls of these functions, one after the other."""
    seen: dict[str, list[tuple[str, str]]] = {}
    found: list[tuple[str, str]] = []

    def note(frame: FrameType, event: str, argument: object) -> None:
        name = frame.f_code.co_qualname
        if event == "call" and name in names and name not in seen:
            seen[name] = [*stack(frame)][::-1]
            found.extend(seen[name])

    sys.setprofile(note)
    try:
        yield found
    finally:
        sys.setprofile(None)


@pytest.mark.every_loop
async def test_run_all_goes_this_way(fpm: LocalFPM, scripts: Path) -> None:
    """From the call to the socket, and from there to the response: ten functions in four files."""
    job = Job(scripts / "echo.php")
    async with Dispatcher(fpm.address, max_children=1) as php:
        # with a worker that waits
        await php.run(job)
        await settled(php)
        with stacks_of(ENDS) as found:
            await php.run_all([job])
    assert [step for step in found if step != READS] == [*WAY.items()]
    assert (len(WAY), len(set(WAY.values()))) == (10, 4)


def test_the_way_is_told() -> None:
    """The architecture names all of these functions, in one paragraph."""
    (told,) = (text for text in ARCHITECTURE.read_text().split("\n\n") if text.startswith("With `run_all()`"))
    for name in (*WAY, READS[0]):
        assert f"{name.rpartition('.')[2]}()`" in told

"""Jobs that are put and run while something happens to their database, and what became of each."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import anyio
import attrs

from fcgi_async.fpm import LocalFPM
from fcgi_async.jobs import Jobs, StoreUnavailable
from fcgi_async.jobs.record import new_id
from tests.cluster.marks import Marks
from tests.jobs.conftest import ROOT
from tests.jobs.polling import until
from tests.jobs.worker_process import make_task

WORKERS = 2
# PHP workers of each worker, and what it claims beside
SHARE, AHEAD = 2, 1
LEASE = 15.0
# what runs, what lies ahead, and ends that are being written, of all workers
MOST_IN_HAND = WORKERS * (SHARE + AHEAD + 2 * SHARE + AHEAD)
_MILLISECONDS = 10
_PRODUCERS = 10
# how many jobs wait while more are put, so that some are put at any time
_BACKLOG = 100
# seconds without a run after which jobs are put nevertheless
_STANDSTILL = 1.0
# seconds until everything is over, whatever has happened, and between looks
_LONGEST = 180
_LOOK = 0.1


@attrs.frozen
class Seen:
    """What became of the jobs of a run.

    Attributes:
        acknowledged: of how many `enqueue()` has returned.
        lost: how many of these have never run, and are not there any more.
        gone: how many of these have run, and are not there any more.
        twice: how many have run more than once.
        left: how many are neither done nor gone, for whatever reason.
        taken_over: seconds from the fault until another server took writes.
        resumed: seconds from the fault until workers began jobs again.
    """

    acknowledged: int
    lost: int
    gone: int
    twice: int
    left: int
    taken_over: float
    resumed: float


@attrs.define
class Load:
    """The jobs of one run: put as long as workers begin them.

    Args:
        url: of the database.
        marks: into which each job writes when it begins.
        idempotent: whether their task is.
        least: how many are put at least.

    Attributes:
        enough: whether no more than the least need be put.
    """

    url: str
    marks: Marks
    idempotent: bool
    least: int
    enough: bool = attrs.field(default=False, init=False)
    _acknowledged: set[str] = attrs.field(factory=set, init=False)
    _stuck: int = attrs.field(default=0, init=False)
    _looked: float = attrs.field(default=0.0, init=False)

    async def put(self) -> None:
        """Put jobs until there are enough; one whose put is not acknowledged is put again with the same id."""
        async with Jobs(self.url, lease=LEASE) as jobs, anyio.create_task_group() as group:
            for _ in range(_PRODUCERS):
                group.start_soon(self._put_some, jobs)

    async def _put_some(self, jobs: Jobs) -> None:
        task = make_task(idempotent=self.idempotent)
        data = {"marks": str(self.marks.path), "milliseconds": _MILLISECONDS, "body": ""}
        while not (self.enough and len(self._acknowledged) >= self.least):
            id = new_id()
            while id not in self._acknowledged:
                try:
                    await jobs.enqueue(task, data, id=id)
                    self._acknowledged.add(id)
                except StoreUnavailable:
                    await anyio.sleep(0.1)
            with anyio.move_on_after(_STANDSTILL) as waited:
                while self._waiting() - self._stuck > _BACKLOG:  # noqa: ASYNC110 - PHP sets no Event
                    await anyio.sleep(0.05)
            if waited.cancelled_caught and time.monotonic() > self._looked + _STANDSTILL:
                # what has not run by now may be lost
                self._stuck, self._looked = self._waiting(), time.monotonic()

    def _waiting(self) -> int:
        return len(self._acknowledged) - self.marks.runs()

    async def end(self, taken_over: float, resumed: float) -> Seen:
        """Wait until no job is ready or running, and return what became of them."""
        async with Jobs(self.url, lease=LEASE) as jobs:
            with anyio.fail_after(_LONGEST):
                while not await _is_idle(jobs):  # noqa: ASYNC110 - what happens in a database sets no Event
                    await anyio.sleep(_LOOK)
            states = {record.id: record.state for record in await jobs.find(limit=1_000_000)}
        runs = self.marks.counts()
        gone = self._acknowledged - states.keys()
        return Seen(
            acknowledged=len(self._acknowledged),
            lost=len(gone - runs.keys()),
            gone=len(gone & runs.keys()),
            twice=sum(1 for count in runs.values() if count > 1),
            left=sum(1 for id in states.keys() & self._acknowledged if states[id] != "done"),
            taken_over=round(taken_over, 1),
            resumed=round(resumed, 1),
        )


async def _are_at_work(jobs: Jobs) -> bool:
    return len((await jobs.counts()).workers) >= WORKERS


async def _is_idle(jobs: Jobs) -> bool:
    with suppress(StoreUnavailable):
        states = (await jobs.counts()).states
        return states["ready"] == states["running"] == states["delayed"] == 0
    return False


@asynccontextmanager
async def workers(url: str, *, idempotent: bool) -> AsyncIterator[None]:
    """Workers as processes, each with a PHP-FPM of its own, within an `async with` block."""
    started: list[subprocess.Popen[bytes]] = []
    async with AsyncExitStack() as stack:
        try:
            for _ in range(WORKERS):
                fpm = await stack.enter_async_context(LocalFPM(max_children=SHARE, system_ini=False))
                said = "yes" if idempotent else "no"
                arguments = [url, str(LEASE), fpm.address, str(SHARE), str(AHEAD), said, "asyncio"]
                started.append(_start(arguments))
            async with Jobs(url, lease=LEASE) as jobs:
                # until then a worker ends without a database, and whoever started it starts it again
                await until(lambda: _are_at_work(jobs), within=_LONGEST)
            yield
            assert all(process.poll() is None for process in started), "a worker has ended"
        finally:
            for process in started:
                process.terminate()
            for process in started:
                await anyio.to_thread.run_sync(process.wait)


def _start(arguments: list[str]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.jobs.worker_process", *arguments]
    return subprocess.Popen(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)})


async def seconds_until(condition: Callable[[], object], since: float) -> float:
    """Return how long after `since`, by the monotonic clock, the condition holds."""
    with anyio.fail_after(_LONGEST):
        while not condition():  # noqa: ASYNC110 - what happens elsewhere sets no Event
            await anyio.sleep(0.02)
    return time.monotonic() - since


def tell(what: str, seen: list[Seen]) -> str:
    """Return a row of a table: the fault, how many jobs became what in all its times, and the ranges of seconds."""
    counts = Counter[str]()
    for each in seen:
        for name in ("acknowledged", "lost", "gone", "twice", "left"):
            counts[name] += getattr(each, name)
    after = [each.resumed - each.taken_over for each in seen]
    cells = [
        what,
        str(len(seen)),
        *(f"{counts[name]:,}" for name in ("acknowledged", "lost", "gone", "twice", "left")),
        f"{min(each.taken_over for each in seen):.1f} to {max(each.taken_over for each in seen):.1f}",
        f"{min(after):.1f} to {max(after):.1f}",
    ]
    return f"| {' | '.join(cells)} |"

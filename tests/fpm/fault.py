"""What happened to jobs while a fault was on: by their callers' account, and by the scripts' own."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import attrs

from fcgi_async import Dispatcher, Endpoint, FastCGIError, Job, LocalFPM, Response
from tests.conftest import SCRIPTS
from tests.dispatch.settled import settled, slots
from tests.eventually import eventually

# FPM needs a moment to replace a worker, and longer on a busy machine; a job that takes this long hangs
PATIENCE = 60.0


@attrs.frozen
class Row:
    """What the table of faults says of one."""

    sent: int
    succeeded: int
    failed: dict[str, int]
    executed: int
    twice: int
    most_at_once: int
    share: int


@attrs.define(eq=False)
class Fault:
    """Sends jobs that note when they begin and end, and writes down what their callers were told."""

    php: Dispatcher
    share: int
    marks: Path
    sent: int = 0
    succeeded: int = 0
    failed: Counter[str] = attrs.field(factory=Counter)
    # by the name of the job that failed: whether it may have run
    may_have_run: dict[str, bool] = attrs.field(factory=dict)
    # jobs whose caller has gone, and who is owed no word
    cancelled: set[str] = attrs.field(factory=set)
    idempotent: set[str] = attrs.field(factory=set)
    # whether scripts that nobody waits for may outlive their slots
    abandons: bool = False

    async def run(self, do: str = "", *, job: dict[str, Any] | None = None, **query: object) -> Response | FastCGIError:
        """Send one job and return how it ended."""
        return await self.run_as(self.new_name(), do, job=job, **query)

    def new_name(self) -> str:
        """Return a name for the next job."""
        self.sent += 1
        return str(self.sent - 1)

    async def run_as(
        self, name: str, do: str, *, job: dict[str, Any] | None = None, **query: object
    ) -> Response | FastCGIError:
        """Send one job by a name of its own."""
        fields = {"marks": self.marks, "name": name, "do": do, **query}
        settings = {"timeout": PATIENCE, **(job or {})}
        if settings.get("idempotent"):
            self.idempotent.add(name)
        try:
            response = await self.php.run(
                Job("fault.php", query={key: str(value) for key, value in fields.items()}, **settings)
            )
        except FastCGIError as error:
            self.failed[type(error).__name__] += 1
            self.may_have_run[name] = error.may_have_run
            return error
        except BaseException:
            self.cancelled.add(name)
            raise
        self.succeeded += 1
        return response

    async def run_and_kill(
        self, number: signal.Signals, *, times: int = 1, job: dict[str, Any] | None = None
    ) -> Response | FastCGIError:
        """Send a job that would not end, and kill its worker over it, as often as it is begun up to `times`."""
        name = self.new_name()
        ends: list[Response | FastCGIError] = []

        async def run() -> None:
            ends.append(await self.run_as(name, "sleep until told", job=job, gate="/nowhere"))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            for time in range(1, times + 1):
                await eventually(lambda: self.executed()[name] == time)  # noqa: B023 - called at once
                pids = [int(pid) for _, pid, ours, what in self.lines() if (ours, what) == (name, "+")]
                os.kill(pids[-1], number)
        return ends[0]

    async def load(self, jobs: int, *, at_once: int = 8, **query: object) -> None:
        """Send so many jobs of two milliseconds, some at once; see that each that succeeds has its own answer."""
        numbers = iter(range(jobs))

        async def sender() -> None:
            for _ in numbers:
                await self.run(**({"seconds": 0.002} | query))  # type: ignore[arg-type]
                assert slots(self.php.statistics()) <= self.share

        async with anyio.create_task_group() as tasks:
            for _ in range(at_once):
                tasks.start_soon(sender)

    def lines(self) -> list[list[str]]:
        """Return the marks: time, pid, name and + or -, by time."""
        if not self.marks.exists():
            return []
        return sorted(line.split() for line in self.marks.read_text().splitlines())

    def executed(self) -> Counter[str]:
        """Return how often each job began to run."""
        return Counter(name for _, _, name, what in self.lines() if what == "+")

    def ended(self) -> int:
        """Return how many scripts came to their end."""
        return sum(what == "-" for _, _, _, what in self.lines())

    def most_at_once(self) -> int:
        """Return how many scripts ran at once at most, of those that came to their end."""
        lines = self.lines()
        whole = {(pid, name) for _, pid, name, what in lines if what == "-"}
        running = most = 0
        for _, pid, name, what in lines:
            if (pid, name) in whole:
                running += 1 if what == "+" else -1
                most = max(most, running)
        return most

    def check(self) -> Row:
        """See that every promise was kept, whatever the fault."""
        executed = self.executed()
        twice = {name for name, times in executed.items() if times > 1}
        assert twice <= self.idempotent, f"run twice: {twice}"
        assert self.succeeded + self.failed.total() + len(self.cancelled) == self.sent
        untrue = [name for name, may in self.may_have_run.items() if not may and name in executed]
        assert not untrue, f"had run, and their errors said that they had not: {untrue}"
        most = self.most_at_once()
        assert most <= self.share or self.abandons
        return Row(self.sent, self.succeeded, dict(self.failed), len(executed), len(twice), most, self.share)


@asynccontextmanager
async def fault(
    target: LocalFPM | str, marks: Path, *, share: int | None = None, alive: bool = True, **settings: Any
) -> AsyncIterator[Fault]:
    """A dispatcher under a fault; checked when the fault is over, and that the next job runs where FPM is `alive`.

    Args:
        target: the FPM, or another address for it.
        marks: where scripts write when they ran.
        share: how many workers are used; of a LocalFPM all, unless told otherwise.
        alive: whether a job must run afterwards.
        settings: of the endpoint.
    """
    address = target if isinstance(target, str) else target.address
    if share is None:
        share = target.max_children if isinstance(target, LocalFPM) else 2
    merged: dict[str, Any] = {"max_children": share, "root": str(SCRIPTS), "linger": 0.2} | settings
    endpoint = Endpoint(address, **merged)
    async with Dispatcher(endpoint) as php:
        it = Fault(php, share, marks)
        yield it
        if alive:
            last = await it.run()
            assert isinstance(last, Response), last
            assert last.text == str(it.sent - 1)
        await settled(php)
        assert php.statistics().queued == 0
        await eventually(lambda: php.statistics().idle == slots(php.statistics()))
        ROWS.append(it.check())


# the rows of the faults that were checked, for the table
ROWS: list[Row] = []

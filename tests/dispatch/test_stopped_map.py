"""A map that is stopped: no more is read, what waits never runs, and every job that was read has an outcome."""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import count
from typing import Any

import anyio
import pytest

from fcgi_async import Dispatcher, Job, JobCancelled, Outcome
from fcgi_async.dispatch.outcomes import OutcomeStream
from fcgi_async.testing import Responder
from tests.eventually import eventually
from tests.handlers import Held, echo

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("kind", ["sync", "async"])]


class Source:
    """Jobs without an end, and how many of them were read."""

    def __init__(self, kind: str) -> None:
        self.read = 0
        self.jobs: Any = self._made() if kind == "async" else (self._job() for _ in count())

    def _job(self) -> Job:
        self.read += 1
        return Job("/n.php", content=str(self.read), tag=self.read)

    async def _made(self) -> AsyncIterator[Job]:
        while True:
            await anyio.lowlevel.checkpoint()
            yield self._job()


async def stopped(address: str, kind: str, *, cancel: bool) -> tuple[list[Outcome], int, int]:
    """Stop while two jobs run; return the outcomes, and how many jobs were read then and in the end."""
    held, source, outcomes = Held(), Source(kind), list[Outcome]()

    async def read(stream: OutcomeStream) -> None:
        outcomes.extend([outcome async for outcome in stream])

    async with Responder(held, address), Dispatcher(address, max_children=2) as php:
        async with php.map(source.jobs) as stream, anyio.create_task_group() as tasks:
            tasks.start_soon(read, stream)
            await eventually(lambda: len(held.running) == 2 and php.statistics().queued == 4)
            stream.stop(cancel=cancel)
            then = source.read
            held.release()
    return outcomes, then, source.read


async def test_what_runs_goes_on(address: str, kind: str) -> None:
    """The two that run end well; those that wait were never begun, and say so; nothing is read any more."""
    outcomes, then, read = await stopped(address, kind, cancel=False)
    assert read == then
    assert [outcome.job.tag for outcome in outcomes] == [*range(1, read + 1)]
    assert [outcome.error is None for outcome in outcomes] == [True, True, *[False] * (read - 2)]
    errors = [outcome.error for outcome in outcomes[2:]]
    assert all(isinstance(error, JobCancelled) and not error.may_have_run for error in errors)


async def test_what_runs_is_cancelled(address: str, kind: str) -> None:
    """With `cancel` those that run are cancelled too, and tell that PHP may have run them."""
    outcomes, then, read = await stopped(address, kind, cancel=True)
    assert read == then == len(outcomes)
    assert all(isinstance(outcome.error, JobCancelled) for outcome in outcomes)
    errors = [outcome.error.may_have_run for outcome in outcomes if outcome.error is not None]
    assert errors == [True, True, *[False] * (read - 2)]


async def test_stopped_by_its_reader(address: str, kind: str) -> None:
    """Whoever iterates may stop it, and iterates on to the end; stopping twice is no more than once."""
    source, tags = Source(kind), []
    async with Responder(echo, address), Dispatcher(address, max_children=2) as php:
        async with php.map(source.jobs) as stream:
            async for outcome in stream:
                tags.append(outcome.job.tag)
                if len(tags) == 3:
                    stream.stop()
                    stream.stop()
        assert tags == [*range(1, source.read + 1)]
        assert (await php.run(Job("/n.php", content="on"))).text == "on"

"""Every public coroutine lets other tasks run, also when it has nothing to wait for; so does a refusal."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from typing import Any

import anyio
import attrs
import pytest
import trio.testing

from fcgi_async import ConnectionLost, Dispatcher, DispatcherClosed, FastCGIError, InvalidJob, Job, QueueFull
from fcgi_async.testing import Request, Reset, Responder
from tests.eventually import eventually
from tests.handlers import HEAD, Held

pytestmark = [pytest.mark.anyio, pytest.mark.every_loop]

OK, BAD = Job("/ok.php"), Job("relative.php")


@contextmanager
def others_run(backend: str) -> Iterator[None]:
    """What stands in the block lets another task run, and on trio can be cancelled."""
    if backend == "trio":
        with trio.testing.assert_checkpoints():
            yield
        return
    turns: list[bool] = []

    async def other() -> None:
        turns.append(True)

    task = asyncio.ensure_future(other())
    yield
    assert turns, "no other task has run"
    assert task.done()


async def script(request: Request) -> None:
    """A script that answers at once, in lines."""
    await request.body()
    await request.write_stdout(HEAD + b"one\ntwo\nthree\n")


@attrs.define(eq=False)
class Situation:
    """A dispatcher, and what is open of it."""

    php: Dispatcher
    stack: AsyncExitStack

    async def stream(self) -> Any:
        """A response that is complete, and not read."""
        response = await self.stack.enter_async_context(self.php.stream(OK))
        await eventually(lambda: not self.php.statistics().running)
        return response

    async def group(self, jobs: int = 2) -> Any:
        """A group whose jobs are done."""
        group = await self.stack.enter_async_context(self.php.group())
        for _ in range(jobs):
            await group.submit(OK)
        await self.php.join()
        return group

    async def outcomes(self, jobs: int = 3) -> Any:
        """A map of which one outcome was read, and the others are there."""
        outcomes = await self.stack.enter_async_context(self.php.map([OK] * jobs))
        if jobs:
            await outcomes.__anext__()
            await self.php.join()
        return outcomes


# brings about the situation, and returns what is then awaited
Prepare = Callable[[Situation], Awaitable[Callable[[], Awaitable[object]]]]


async def handle(on: Situation) -> Any:
    done = await on.php.submit(OK)
    await on.php.join()

    async def wait() -> None:
        await done

    return wait


async def lines(on: Situation) -> Any:
    iterator = (await on.stream()).aiter_lines()
    await iterator.__anext__()
    return iterator.__anext__


async def end_of_lines(on: Situation) -> Any:
    iterator = (await on.stream()).aiter_lines()
    assert [line async for line in iterator] == ["one", "two", "three"]
    return iterator.__anext__


async def end_of_stream(on: Situation) -> Any:
    response = await on.stream()
    await response.aread()
    return response.__anext__


async def as_completed(on: Situation) -> Any:
    return (await on.group()).as_completed().__anext__


async def end_of_as_completed(on: Situation) -> Any:
    return (await on.group(0)).as_completed().__anext__


async def next_outcome(on: Situation) -> Any:
    return (await on.outcomes()).__anext__


async def end_of_outcomes(on: Situation) -> Any:
    return (await on.outcomes(0)).__anext__


async def read(on: Situation) -> Any:
    return (await on.stream()).aread


async def part(on: Situation) -> Any:
    return (await on.stream()).__anext__


async def group_submit(on: Situation) -> Any:
    group = await on.group()
    return lambda: group.submit(OK)


async def leave_group(on: Situation) -> Any:
    group = on.php.group()
    await group.__aenter__()
    return lambda: group.__aexit__(None, None, None)


async def leave_map(on: Situation) -> Any:
    outcomes = on.php.map([])
    await outcomes.__aenter__()
    return lambda: outcomes.__aexit__(None, None, None)


async def leave_slot(on: Situation) -> Any:
    slot = on.php.slot()
    await slot.__aenter__()
    return lambda: slot.__aexit__(None, None, None)


async def run_on_slot(on: Situation) -> Any:
    slot = await on.stack.enter_async_context(on.php.slot())
    return lambda: slot.run(OK)


async def second_run_on_slot(on: Situation) -> Any:
    slot = await on.stack.enter_async_context(on.php.slot())
    await slot.run(OK)
    return lambda: slot.run(OK)


def at_once(call: Callable[[Dispatcher], Awaitable[object]]) -> Prepare:
    """No preparation."""

    async def prepare(on: Situation) -> Callable[[], Awaitable[object]]:
        return lambda: call(on.php)

    return prepare


SITUATIONS: dict[str, Prepare] = {
    "submit": at_once(lambda php: php.submit(OK)),
    "submit of a bad job": at_once(lambda php: php.submit(BAD)),
    "run": at_once(lambda php: php.run(OK)),
    "run of a bad job": at_once(lambda php: php.run(BAD)),
    "run too late": at_once(lambda php: php.run(OK, timeout=0)),
    "run_all of nothing": at_once(lambda php: php.run_all([])),
    "run_all of bad jobs": at_once(lambda php: php.run_all([BAD] * 3, return_exceptions=True)),
    "join": at_once(lambda php: php.join()),
    "ping": at_once(lambda php: php.ping()),
    "wait_room": at_once(lambda php: php.wait_room(1)),
    "wait_room for too much": at_once(lambda php: php.wait_room(9)),
    "entering a slot": at_once(lambda php: php.slot().__aenter__()),
    "leaving a slot": leave_slot,
    "slot.run": run_on_slot,
    "second slot.run": second_run_on_slot,
    "entering a group": at_once(lambda php: php.group().__aenter__()),
    "entering a map": at_once(lambda php: php.map([]).__aenter__()),
    "leaving a group": leave_group,
    "leaving a map": leave_map,
    "group.submit": group_submit,
    "handle": handle,
    "next part": part,
    "end of a stream": end_of_stream,
    "aread": read,
    "next line": lines,
    "end of lines": end_of_lines,
    "as_completed": as_completed,
    "end of as_completed": end_of_as_completed,
    "next outcome": next_outcome,
    "end of outcomes": end_of_outcomes,
}


@pytest.mark.parametrize("name", SITUATIONS)
async def test_others_run(address: str, name: str, anyio_backend_name: str) -> None:
    """With all at hand that is asked for."""
    async with Responder(script, address), Dispatcher(address, max_children=2) as php, AsyncExitStack() as stack:
        await php.run(OK)
        call = await SITUATIONS[name](Situation(php, stack))
        if name == "entering a group":
            # its scope is left in this task
            group = php.group()
            with others_run(anyio_backend_name):
                await group.__aenter__()
            await group.__aexit__(None, None, None)
            return
        with others_run(anyio_backend_name):
            with suppress(FastCGIError, StopAsyncIteration):
                await call()


async def test_the_dispatcher_itself(address: str, anyio_backend_name: str) -> None:
    """Entering, leaving, leaving once more, and what is asked of a closed one."""
    php = Dispatcher(address, max_children=1)
    with others_run(anyio_backend_name):
        await php.__aenter__()
    with others_run(anyio_backend_name):
        await php.__aexit__(None, None, None)
    with others_run(anyio_backend_name):
        await php.aclose()
    for call in (php.run, php.submit):
        with others_run(anyio_backend_name), pytest.raises(DispatcherClosed):
            await call(OK)


async def test_caller_that_tries_again_at_once(address: str) -> None:
    """A full queue does not keep the jobs in it from their end, however eagerly somebody asks for room."""
    held = Held()
    async with (
        Responder(held, address),
        Dispatcher(address, max_children=1, max_queued=1, overflow="reject") as php,
    ):
        handles = [await php.submit(OK)]
        await eventually(lambda: held.running)
        handles.append(await php.submit(OK))
        held.release()
        with anyio.fail_after(20):
            while True:
                try:
                    await php.run(OK)
                except QueueFull:
                    continue
                break
        for done in handles:
            await done


async def test_cancelled_submit_hands_nothing_in(address: str) -> None:
    """A submit() that is cancelled before it began leaves no job."""
    async with Responder(script, address) as responder, Dispatcher(address, max_children=1) as php:
        async with php.group() as group:
            for submit in (php.submit, group.submit):
                with anyio.CancelScope() as scope:
                    scope.cancel()
                    await submit(OK)
                assert scope.cancelled_caught
        await php.join()
        assert php.statistics().completed == 0
        assert not responder.requests


async def test_reading_that_is_cancelled_loses_nothing(address: str) -> None:
    """Not at the checkpoint either that a read passes with all at hand."""

    async def unfinished(request: Request) -> None:
        await request.write_stdout(HEAD + b"one\ntwo\n")
        await request.fault(Reset())

    async def cancelled(call: Callable[[], Awaitable[object]]) -> None:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await call()
        assert scope.cancelled_caught

    async with Responder(unfinished, address), Dispatcher(address, max_children=1) as php, php.stream(OK) as response:
        await eventually(lambda: not php.statistics().running)
        iterator = response.aiter_lines()
        for line in ("one", "two"):
            await cancelled(iterator.__anext__)
            assert await iterator.__anext__() == line
        with pytest.raises(ConnectionLost):
            await response.aread()


async def numbers(count: int) -> AsyncIterator[Job]:
    """Jobs out of an iterable that waits for nothing."""
    for _ in range(count):
        yield BAD


async def test_async_iterable_that_waits_for_nothing(address: str) -> None:
    """run_all() of one whose jobs are refused lets others run before its end."""
    async with Dispatcher(address, max_children=1) as php:
        turns = 0

        async def other() -> None:
            nonlocal turns
            while True:
                await anyio.lowlevel.checkpoint()
                turns += 1

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(other)
            results = await php.run_all(numbers(2000), return_exceptions=True)
            assert {type(result) for result in results} == {InvalidJob}
            assert turns >= 5
            tasks.cancel_scope.cancel()

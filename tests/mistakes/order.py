"""The right calls in the wrong order, loop, thread or number."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any, Final

import anyio
import anyio.to_thread

from fcgi_async import (
    ConfigurationError,
    Dispatcher,
    DispatcherClosed,
    InvalidJob,
    Job,
    JobCancelled,
    JobNotDone,
    Limits,
    QueueFull,
    QueueTimeout,
    ResponseTooLarge,
)
from tests.conftest import SCRIPTS
from tests.dispatch.test_elsewhere import FORKING
from tests.mistakes.mistake import ADDRESS, ECHO, JOB, Here, Mistake, enter

AGAIN: Final = "can be entered only once"
BLOCK: Final = "`async with` block"
SLOW: Final = Job(str(SCRIPTS / "steps.php"))


def with_php(
    name: str,
    use: Callable[[Any], Awaitable[object]],
    error: type[BaseException],
    what: str,
    where: str,
    cure: str,
    **settings: object,
) -> Mistake:
    """A wrong use of an entered dispatcher."""

    async def cause(here: Here) -> None:
        async with here.php(**settings) as php:
            await use(php)

    return Mistake(name, cause, error, what, where, cure)


def unopened() -> Dispatcher:
    return Dispatcher(ADDRESS, max_children=1)


async def use_after_close(here: Here) -> None:
    async with here.php() as php:
        pass
    await php.run(JOB)


async def enter_after_close(here: Here) -> None:
    async with here.php() as php:
        pass
    await enter(php)


async def twice(make: Callable[[], Any]) -> None:
    made = make()
    await enter(made)
    await enter(made)


async def left(make: Callable[[], Any], use: Callable[[Any], Awaitable[object]]) -> None:
    """Use what an `async with` gives after its end."""
    async with AsyncExitStack() as stack:
        entered = await stack.enter_async_context(make())
    await use(entered)


async def iterate(outcomes: Any) -> None:
    async for outcome in outcomes:
        outcome.result()


async def iterate_map(php: Dispatcher, jobs: Any, **options: Any) -> None:
    async with php.map(jobs, **options) as outcomes:
        await iterate(outcomes)


async def in_a_thread(php: Dispatcher) -> None:
    await anyio.to_thread.run_sync(php.pause)


async def in_another_loop(php: Dispatcher) -> None:
    await anyio.to_thread.run_sync(lambda: asyncio.run(use_run(php)))


async def use_run(php: Dispatcher) -> None:
    await php.run(JOB)


async def close_in_another_task(_: Here) -> None:
    async def main() -> None:
        async with Dispatcher(ADDRESS, max_children=1) as php, anyio.create_task_group() as tasks:
            tasks.start_soon(php.aclose)

    def on_trio() -> None:
        try:
            anyio.run(main, backend="trio")
        except* ConfigurationError as group:
            raise group.exceptions[0] from None

    await anyio.to_thread.run_sync(on_trio)


async def use_after_a_fork(here: Here) -> None:
    command = [sys.executable, "-c", FORKING, here.fpm.address, "asyncio"]
    done = await anyio.run_process(command)
    raise ConfigurationError(done.stdout.decode())


async def await_a_handle_elsewhere(php: Dispatcher) -> None:
    handle = await php.submit(JOB)

    async def wait() -> None:
        await handle

    try:
        await anyio.to_thread.run_sync(lambda: asyncio.run(wait()))
    finally:
        await handle


async def ask_too_early(php: Dispatcher) -> None:
    handle = await php.submit(JOB)
    handle.result()


async def ask_a_stream_too_early(php: Dispatcher) -> None:
    async with php.stream(SLOW) as response:
        response.raise_for_status()


async def two_jobs_in_a_slot(php: Dispatcher) -> None:
    async with php.slot() as slot:
        await slot.run(JOB)
        await slot.run(JOB)


async def fill_the_queue(php: Dispatcher) -> None:
    php.pause()
    first = await php.submit(JOB)
    try:
        await php.submit(JOB)
    finally:
        first.cancel()


async def wait_while_paused(php: Dispatcher) -> None:
    php.pause()
    await php.run(JOB, timeout=0.01)


async def parse_html(php: Dispatcher) -> None:
    (await php.run(Job(ECHO, content="<html>"))).json()


NEVER_ENTERED: Final = tuple(
    Mistake(name, cause, DispatcherClosed, "not entered yet", "dispatcher", "async with Dispatcher(...)")
    for name, cause in (
        ("run() before entering", lambda _: unopened().run(JOB)),
        ("map() before entering", lambda _: unopened().map([JOB])),
        ("submit() before entering", lambda _: unopened().submit(JOB)),
        ("statistics() before entering", lambda _: unopened().statistics()),
    )
)

DISPATCHERS: Final = (
    *NEVER_ENTERED,
    Mistake("run() after the end", use_after_close, DispatcherClosed, "is closed", ECHO, "or enter a new one"),
    Mistake(
        "entered again after its end", enter_after_close, ConfigurationError, AGAIN, "Dispatcher", "make a new one"
    ),
    with_php("entered within itself", enter, ConfigurationError, AGAIN, "Dispatcher", "make a new one"),
    with_php("used in a thread", in_a_thread, ConfigurationError, "another event loop", "'MainThread'", "use it there"),
    with_php(
        "used in another loop", in_another_loop, ConfigurationError, "another event loop", "'MainThread'", "use it"
    ),
    with_php(
        "handle in another loop", await_a_handle_elsewhere, ConfigurationError, "another", "'MainThread'", "use it"
    ),
    Mistake(
        "closed in another task of trio",
        close_in_another_task,
        ConfigurationError,
        "must be closed by the task that entered it",
        "dispatcher",
        "`async with` in one task",
    ),
    Mistake(
        "used after a fork",
        use_after_a_fork,
        ConfigurationError,
        "forked from it",
        "in process",
        "enter one in each",
    ),
    with_php("run() of a path", lambda php: php.run(ECHO), InvalidJob, "not str", "a job", "write Job("),
    with_php("run() of a list", lambda php: php.run([JOB]), InvalidJob, "not list", "a job", "run_all() and map()"),
    with_php("run_all() of a job", lambda php: php.run_all(JOB), InvalidJob, "not one Job", ECHO, "use run()"),
    with_php("map() of a job", lambda php: iterate_map(php, JOB), InvalidJob, "not one Job", ECHO, "use run()"),
    with_php("map() of paths", lambda php: iterate_map(php, [ECHO]), InvalidJob, "not str", "a job", "write Job("),
    with_php("stream() of a path", lambda php: enter(php.stream(ECHO)), InvalidJob, "not str", "a job", "write Job("),
    with_php("submit() of a path", lambda php: php.submit(ECHO), InvalidJob, "not str", "a job", "write Job("),
    with_php(
        "map() without a window",
        lambda php: iterate_map(php, [JOB], limit=0),
        ConfigurationError,
        "not 0",
        "limit",
        "at least 1",
    ),
    with_php(
        "deadline as text",
        lambda php: php.run(JOB, timeout="5"),
        ConfigurationError,
        "not '5'",
        "timeout",
        "must be a number",
    ),
    with_php(
        "room for too many", lambda php: php.wait_room(9), ConfigurationError, "not 9", "wait_room(n)", "at most 2"
    ),
    with_php(
        "a full queue",
        fill_the_queue,
        QueueFull,
        "the queue is full",
        ECHO,
        "raise max_queued",
        max_queued=1,
        overflow="reject",
    ),
    with_php("a paused dispatcher", wait_while_paused, QueueTimeout, "is paused", ECHO, "call resume()"),
    with_php(
        "a response that is too long",
        lambda php: php.run(Job(ECHO, content="x" * 99)),
        ResponseTooLarge,
        "longer than",
        "Limits.response, 10",
        "stream()",
        limits=Limits(response=10),
    ),
    with_php("JSON of HTML", parse_html, ValueError, "begins b'<html>'", ECHO, "check what PHP prints"),
)

PARTS: Final = (
    with_php(
        "map() without async with",
        lambda php: iterate(php.map([JOB])),
        ConfigurationError,
        "enter map() first",
        "map()",
        "async with php.map",
    ),
    with_php(
        "map() entered again",
        lambda php: twice(lambda: php.map([JOB])),
        ConfigurationError,
        AGAIN,
        "map()",
        "call map() again",
    ),
    with_php(
        "stream() entered again",
        lambda php: twice(lambda: php.stream(JOB)),
        ConfigurationError,
        AGAIN,
        "stream()",
        "call stream() again",
    ),
    with_php(
        "group() entered again",
        lambda php: twice(php.group),
        ConfigurationError,
        AGAIN,
        "a group",
        "call group() again",
    ),
    with_php(
        "slot() entered again", lambda php: twice(php.slot), ConfigurationError, AGAIN, "a slot", "call slot() again"
    ),
    with_php(
        "group without async with",
        lambda php: php.group().submit(JOB),
        DispatcherClosed,
        "group is not open",
        ECHO,
        BLOCK,
    ),
    with_php(
        "group after its end",
        lambda php: left(php.group, lambda group: group.submit(JOB)),
        DispatcherClosed,
        "group is not open",
        ECHO,
        BLOCK,
    ),
    with_php(
        "unknown on_error",
        lambda php: enter(php.group(on_error="ignore")),
        ConfigurationError,
        "not 'ignore'",
        "on_error",
        '"cancel" or "collect"',
    ),
    with_php(
        "stream after its end",
        lambda php: left(lambda: php.stream(SLOW), lambda response: response.aread()),
        JobCancelled,
        "left before its end",
        "steps.php",
        BLOCK,
    ),
    with_php(
        "success before the end",
        ask_a_stream_too_early,
        JobNotDone,
        "only at its end",
        "steps.php",
        "read the body",
    ),
    with_php("result before the end", ask_too_early, JobNotDone, "not done yet", ECHO, "await its handle"),
    with_php(
        "slot without async with",
        lambda php: php.slot().run(JOB),
        ConfigurationError,
        "enter the slot first",
        ECHO,
        "async with php.slot()",
    ),
    with_php("two jobs in a slot", two_jobs_in_a_slot, ConfigurationError, "runs one job", ECHO, "call slot() again"),
    with_php(
        "slot after its end",
        lambda php: left(php.slot, lambda slot: slot.run(JOB)),
        ConfigurationError,
        "slot was left",
        ECHO,
        BLOCK,
    ),
    with_php(
        "view with a wrong root",
        lambda php: php.view(root="app").run(JOB),
        ConfigurationError,
        "not 'app'",
        "endpoint unix://",
        "must be an absolute path",
    ),
    with_php(
        "priority of a slot as a word",
        lambda php: enter(php.slot(priority="high")),
        ConfigurationError,
        "not 'high'",
        "slot(priority)",
        "must be a whole number",
    ),
)

"""Cancelling at the n-th checkpoint, and every way to use a dispatcher that it is done to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator
from typing import Any

import anyio
import attrs

from fcgi_async import Dispatcher, Job

# Uses a dispatcher whose endpoint answers echo.php with the body it got.
Use = Callable[[Dispatcher], Coroutine[Any, Any, None]]


@attrs.define(eq=False)
class AtCheckpoint(Awaitable[None]):
    """Awaits something, and acts in the moment in which it is suspended for the n-th time.

    Args:
        use: what to await.
        n: 0 for the first suspension.
        act: what to do then, such as cancelling; called in the task that awaits.
    """

    use: Awaitable[None]
    n: int
    act: Callable[[], object]
    reached: bool = attrs.field(default=False, init=False)

    def __await__(self) -> Generator[Any, Any, None]:
        inner = self.use.__await__()
        value: Any = None
        error: BaseException | None = None
        suspensions = 0
        while True:
            try:
                # a generator, for that is what __await__ of a coroutine behaves as
                trap = inner.send(value) if error is None else inner.throw(error)
            except StopIteration:
                return
            if suspensions == self.n:
                self.reached = True
                self.act()
            suspensions += 1
            try:
                value, error = (yield trap), None
            except BaseException as thrown:
                error = thrown


async def parts() -> AsyncIterator[bytes]:
    """A body in parts."""
    for _ in range(3):
        await anyio.lowlevel.checkpoint()
        yield b"part"


async def use_run(php: Dispatcher) -> None:
    await php.run(Job("echo.php", content=b"x" * 300_000))


async def use_upload(php: Dispatcher) -> None:
    await php.run(Job("echo.php", content=parts(), content_length=12))


async def use_stream(php: Dispatcher) -> None:
    async with php.stream(Job("echo.php", content=b"x" * 100_000)) as response:
        await response.aread()


async def use_run_all(php: Dispatcher) -> None:
    await php.run_all(Job("echo.php", content=str(n)) for n in range(5))


async def use_map(php: Dispatcher) -> None:
    async def jobs() -> AsyncIterator[Job]:
        for n in range(4):
            await anyio.lowlevel.checkpoint()
            yield Job("echo.php", content=str(n))

    async with php.map(jobs()) as outcomes:
        async for outcome in outcomes:
            outcome.result()


async def use_group(php: Dispatcher) -> None:
    async with php.group(limit=2) as group:
        for n in range(4):
            await group.submit(Job("echo.php", content=str(n)))
        async for handle in group.as_completed():
            handle.result()


async def use_submit(php: Dispatcher) -> None:
    handle = await php.submit(Job("echo.php", content=b"x"))
    await handle


async def use_join(php: Dispatcher) -> None:
    for n in range(3):
        await php.submit(Job("echo.php", content=str(n)))
    await php.join()


async def use_ping(php: Dispatcher) -> None:
    await php.ping()


async def use_slot(php: Dispatcher) -> None:
    async with php.slot() as slot:
        await slot.run(Job("echo.php", content=b"x"))
    async with php.slot():
        pass


async def use_wait_room(php: Dispatcher) -> None:
    await php.wait_room(1)


USES: list[Use] = [
    use_run,
    use_upload,
    use_stream,
    use_run_all,
    use_map,
    use_group,
    use_submit,
    use_join,
    use_ping,
    use_slot,
    use_wait_room,
]

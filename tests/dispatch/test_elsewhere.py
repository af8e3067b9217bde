"""A dispatcher used in another event loop, in another thread or after a fork says so, and waits for nothing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from fcgi_async import ConfigurationError, Dispatcher, Job, JobHandle
from fcgi_async.testing import Responder
from tests.handlers import Held, ok
from tests.listening import unix_address

JOB = Job("/a.php")


async def enter_stream(php: Dispatcher) -> None:
    async with php.stream(JOB):
        pass


async def read_map(php: Dispatcher) -> None:
    async with php.map([JOB]) as outcomes:
        await outcomes.__anext__()


async def use_group(php: Dispatcher) -> None:
    async with php.group() as group:
        await group.submit(JOB)


async def pause(php: Dispatcher) -> None:
    php.pause()


USES: dict[str, Callable[[Dispatcher], Awaitable[object]]] = {
    "run": lambda php: php.run(JOB),
    "run_all": lambda php: php.run_all([JOB]),
    "submit": lambda php: php.submit(JOB),
    "map": read_map,
    "stream": enter_stream,
    "group": use_group,
    "aclose": lambda php: php.aclose(),
    "ping": lambda php: php.ping(),
    "join": lambda php: php.join(),
    "status": lambda php: php.status(),
    "pause": pause,
}


@pytest.mark.anyio
@pytest.mark.parametrize("name", USES)
@pytest.mark.parametrize("loop", ["asyncio", "trio"])
async def test_in_another_loop(address: str, name: str, loop: str) -> None:
    """Each method names the thread that it was entered in; the dispatcher goes on where it belongs."""

    async def use() -> str:
        with pytest.raises(ConfigurationError) as caught:
            await USES[name](php)
        return caught.value.message

    async with Responder(ok, address), Dispatcher(address, max_children=1) as php:
        message = await anyio.to_thread.run_sync(lambda: anyio.run(use, backend=loop))
        assert "entered in another event loop, in thread 'MainThread'; use it there" in message
        assert (await php.run(JOB)).text == "ok"


@pytest.mark.anyio
async def test_what_was_taken_elsewhere(address: str) -> None:
    """So do a map, a group and a handle that are carried into another loop."""
    held = Held()

    async def use_handle(handle: JobHandle) -> None:
        await handle

    def elsewhere(function: Callable[..., Awaitable[object]], *args: object) -> None:
        with pytest.raises(ConfigurationError, match="entered in another event loop"):
            anyio.run(function, *args)

    async with Responder(held, address), Dispatcher(address, max_children=1) as php:
        handle = await php.submit(JOB)
        await anyio.to_thread.run_sync(elsewhere, use_handle, handle)
        for made in (php.map([JOB]), php.group()):
            await anyio.to_thread.run_sync(elsewhere, made.__aenter__)
        held.release()
        await handle


@pytest.mark.anyio
@pytest.mark.parametrize("loop", ["asyncio", "trio"])
async def test_what_runs_there(address: str, loop: str) -> None:
    """A handle, a group and a stream that are in use are not touched from another loop."""
    held = Held()

    async def use() -> None:
        async def cancel() -> None:
            handle.cancel()

        for call in (cancel, lambda: group.submit(JOB), group.as_completed().__anext__, *reads):
            with pytest.raises(ConfigurationError, match="entered in another event loop"):
                await call()

    async with Responder(ok, address) as responder, Dispatcher(address, max_children=2) as php:
        async with php.group() as group, php.stream(JOB) as response:
            responder.handler = held
            handle = await group.submit(JOB)
            reads = (response.__anext__, response.aread, response.aiter_lines().__anext__)
            await anyio.to_thread.run_sync(lambda: anyio.run(use, backend=loop))
            assert not handle.done()
            assert await response.aread() == b"ok"
            held.release()


@pytest.mark.anyio
async def test_in_a_thread_without_a_loop(address: str) -> None:
    """Methods that are no coroutines are refused in a plain thread; statistics() is free to call there."""

    def use() -> int:
        for call in (php.map, php.stream, php.group, php.pause, php.resume):
            with pytest.raises(ConfigurationError, match="another event loop"):
                call(*((JOB,) if call in (php.map, php.stream) else ()))
                # a stream is begun when it is entered
                php.resume()
        return php.statistics().share

    async with Dispatcher(address, max_children=3) as php:
        assert await anyio.to_thread.run_sync(use) == 3


FORKING = """
import os, sys
import anyio
from fcgi_async import ConfigurationError, Dispatcher, Job

async def main():
    async with Dispatcher(sys.argv[1], max_children=1) as php:
        if os.fork():
            assert os.waitstatus_to_exitcode(os.wait()[1]) == 0
            print("parent", php.statistics().share)
            return
        try:
            php.map([Job("/a.php")])
        except ConfigurationError as error:
            print("child", error, flush=True)
        os._exit(0)

anyio.run(main, backend=sys.argv[2])
"""


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_after_a_fork(tmp_path: Path, backend: str) -> None:
    """A child that inherited a dispatcher learns which process entered it."""
    command = [sys.executable, "-c", FORKING, unix_address(tmp_path), backend]
    child, parent = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert child.startswith("child the dispatcher was entered in process ")
    assert "enter one in each process, after the fork" in child
    assert parent == "parent 1"

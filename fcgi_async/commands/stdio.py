"""Standard input and output, without blocking asyncio's event loop.

Neither threads nor O_NONBLOCK: a thread blocked in read() would hold up the end of the process, and the flag would be
set for everyone else who has the same terminal or pipe.
"""

from __future__ import annotations

import asyncio
import os
import select
from collections.abc import AsyncIterator, Callable

from fcgi_async.commands.errors import UsageError

__all__ = ("STDERR", "STDIN", "STDOUT", "read_all", "read_lines", "write")

STDIN, STDOUT, STDERR = 0, 1, 2

_READ_SIZE = 64 * 1024


async def read_all() -> bytes:
    """Return standard input to its end; cancelling loses what was read.

    Raises:
        UsageError: it cannot be read.
    """
    parts = []
    while data := await _read():
        parts.append(data)
    return b"".join(parts)


async def read_lines() -> AsyncIterator[bytes]:
    """Iterate over the lines of standard input, without their ends; at most 64 KiB are read ahead.

    Raises:
        UsageError: it cannot be read.
    """
    rest = bytearray()
    while data := await _read():
        *ends, start = data.split(b"\n")
        for end in ends:
            yield bytes(rest + end)
            rest.clear()
        rest += start
    if rest:
        yield bytes(rest)


async def write(fd: int, data: bytes) -> None:
    """Write everything, waiting as long as the reader takes; cancelling may leave a part written.

    Raises:
        BrokenPipeError: nobody reads any more.
        OSError: it cannot be written.
    """
    view = memoryview(data)
    while view:
        if not select.select((), (fd,), (), 0)[1]:
            await _writable(fd)
        try:
            # what a pipe that is ready for writing surely takes without blocking
            view = view[os.write(fd, view[: select.PIPE_BUF]) :]
        except BlockingIOError:
            # somebody else set O_NONBLOCK, and took the room first
            continue


async def _read() -> bytes:
    loop = asyncio.get_running_loop()
    while True:
        try:
            await _ready(lambda wake: loop.add_reader(STDIN, wake), lambda: loop.remove_reader(STDIN))
            return os.read(STDIN, _READ_SIZE)
        except BlockingIOError:
            continue
        except OSError as error:
            raise UsageError(f"standard input cannot be read: {error.strerror}") from error


async def _writable(fd: int) -> None:
    loop = asyncio.get_running_loop()
    await _ready(lambda wake: loop.add_writer(fd, wake), lambda: loop.remove_writer(fd))


async def _ready(watch: Callable[[Callable[[], None]], object], unwatch: Callable[[], object]) -> None:
    future = asyncio.get_running_loop().create_future()

    def wake() -> None:
        if not future.done():
            future.set_result(None)

    try:
        watch(wake)
    except PermissionError:
        # epoll refuses regular files and /dev/null, which never block
        return
    try:
        await future
    finally:
        unwatch()

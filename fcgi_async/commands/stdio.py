"""Standard input and output, without blocking asyncio's event loop.

This uses neither threads nor O_NONBLOCK: a thread blocked in read() would hold up the end of the process, and the flag
would affect all other processes with the same terminal or pipe.
"""

from __future__ import annotations

import asyncio
import os
import select
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress

from fcgi_async.commands.errors import UsageError

__all__ = ("STDERR", "STDIN", "STDOUT", "read_all", "read_lines", "write", "write_at_once")

STDIN, STDOUT, STDERR = 0, 1, 2

_READ_SIZE = 64 * 1024
# seconds
_SILENCE = 1.0


async def read_all(when_silent: Callable[[], object] | None = None) -> bytes:
    """Return standard input to its end; cancelling loses what was read.

    Args:
        when_silent: called once if nothing has come within a second; None calls nothing.

    Raises:
        UsageError: standard input cannot be read.
    """
    silence = None if when_silent is None else asyncio.get_running_loop().call_later(_SILENCE, when_silent)
    parts = []
    try:
        while data := await _read():
            parts.append(data)
            if silence is not None:
                silence.cancel()
    finally:
        if silence is not None:
            silence.cancel()
    return b"".join(parts)


async def read_lines() -> AsyncGenerator[bytes]:
    """Iterate over the lines of standard input, without line ends; at most 64 KiB are read ahead.

    Raises:
        UsageError: standard input cannot be read.
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
    """Write everything, however long the reader takes; after a cancellation, a part may be written.

    Raises:
        BrokenPipeError: the reader has closed.
        OSError: standard output cannot be written.
    """
    view = memoryview(data)
    while view:
        if not select.select((), (fd,), (), 0)[1]:
            await _writable(fd)
        try:
            # a pipe that is ready for writing takes at least this much without blocking
            view = view[os.write(fd, view[: select.PIPE_BUF]) :]
        except BlockingIOError:
            # another process has set O_NONBLOCK, and used the room first
            continue


def write_at_once(fd: int, data: bytes) -> None:
    """Write as much as possible without waiting, for a last message; drop the rest."""
    with suppress(OSError):
        while data and select.select((), (fd,), (), 0)[1]:
            data = data[os.write(fd, data[: select.PIPE_BUF]) :]


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

"""Bells: datagrams to unix sockets in a folder beside the database, which wake who waits for jobs or for their ends.

Each listener has a socket of its own there, named after what it listens for. Ringing never waits: if a socket is full,
its listener will look anyway, and a socket that nobody reads any more is removed. Nobody relies on it: those who wait
look by themselves from time to time.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from pathlib import Path

import anyio
import anyio.lowlevel
import attrs

__all__ = ("Listener", "ring")

_RING = b"\a"
_ENDING = ".bell"


def ring(folder: Path, bell: str) -> None:
    """Wake all that listen for `bell`; raises nothing."""
    try:
        names = [name for name in os.listdir(folder) if name.startswith(f"{bell}-") and name.endswith(_ENDING)]
        if not names:
            return
        directory = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    except OSError:
        return
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sender:
            for name in names:
                try:
                    sender.sendto(_RING, _short(directory, name))
                except ConnectionRefusedError:
                    with suppress(OSError):
                        os.unlink(name, dir_fd=directory)
                except OSError:
                    continue
    finally:
        os.close(directory)


@attrs.define(eq=False)
class Listener:
    """Hears one bell, for any number of tasks of one event loop.

    Args:
        folder: where the sockets are; made if it is not there.
        bell: what it listens for.
        name: its own name, unlike any other's.
        mode: who may ring, as a file's permissions.

    Raises:
        OSError: the socket cannot be made there.
    """

    _folder: Path
    _bell: str
    _name: str
    _mode: int = 0o600
    _socket: socket.socket = attrs.field(init=False)
    _count: int = attrs.field(default=0, init=False)
    _reading: bool = attrs.field(default=False, init=False)
    _changed: anyio.Event = attrs.field(factory=anyio.Event, init=False)

    def __attrs_post_init__(self) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            directory = os.open(self._folder, os.O_PATH | os.O_DIRECTORY)
            try:
                self._socket.bind(_short(directory, self._file))
                os.chmod(self._folder / self._file, self._mode)
            finally:
                os.close(directory)
        except BaseException:
            self._socket.close()
            raise

    @property
    def count(self) -> int:
        """Another number after each ring."""
        return self._count

    async def wait(self, heard: int, timeout: float) -> int:
        """Wait until `count` is not `heard`, `timeout` seconds at most, and return it."""
        with anyio.move_on_after(timeout):
            while self._count == heard:
                if self._reading:
                    await self._changed.wait()
                    continue
                self._reading = True
                try:
                    await anyio.wait_readable(self._socket)
                    self._drain()
                    self._count += 1
                finally:
                    # others wait again, and one of them reads
                    self._reading = False
                    self._changed.set()
                    self._changed = anyio.Event()
            else:
                await anyio.lowlevel.checkpoint()
        return self._count

    def close(self) -> None:
        """Listen no more."""
        with suppress(OSError):
            os.unlink(self._folder / self._file)
        self._socket.close()

    @property
    def _file(self) -> str:
        return f"{self._bell}-{self._name}{_ENDING}"

    def _drain(self) -> None:
        with suppress(BlockingIOError):
            while True:
                self._socket.recv(16)


def _short(directory: int, name: str) -> str:
    # a path of any length is more than a socket's address holds
    return f"/proc/self/fd/{directory}/{name}"

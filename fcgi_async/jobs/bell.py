"""Bells: datagrams to unix sockets in a folder beside the database; they wake tasks that wait for jobs or their ends.

Each listener has its own socket there, named after its bell. Ringing never waits: if a socket is full, its listener
will wake anyway, and a socket without a reader is removed. Nothing relies on bells: waiting tasks also check from time
to time.
"""

from __future__ import annotations

import os
import socket
from abc import abstractmethod
from contextlib import suppress
from pathlib import Path

import anyio
import anyio.lowlevel
import attrs

__all__ = ("Hearing", "Listener", "ring")

_RING = b"\a"
_ENDING = ".bell"


def ring(folder: Path, bell: str) -> None:
    """Wake all listeners of `bell`; never raises."""
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
class Hearing:
    """Lets any number of tasks of one event loop wait for the next ring; one of them reads at a time."""

    _count: int = attrs.field(default=0, init=False)
    _reading: bool = attrs.field(default=False, init=False)
    _changed: anyio.Event = attrs.field(factory=anyio.Event, init=False)

    @property
    def count(self) -> int:
        """A number that changes with each ring."""
        return self._count

    async def wait(self, heard: int, timeout: float) -> int:
        """Wait until `count` is not `heard`, at most `timeout` seconds, and return `count`."""
        with anyio.move_on_after(timeout):
            while self._count == heard:
                if self._reading:
                    await self._changed.wait()
                    continue
                self._reading = True
                try:
                    if await self._read():
                        self._count += 1
                finally:
                    # the others wait again, and one of them reads
                    self._reading = False
                    self._changed.set()
                    self._changed = anyio.Event()
            else:
                await anyio.lowlevel.checkpoint()
        return self._count

    @abstractmethod
    async def _read(self) -> bool:
        """Wait for datagrams, read all of them, and return whether one was a ring."""


@attrs.define(eq=False)
class Listener(Hearing):
    """Listens to one bell, for any number of tasks of one event loop.

    Args:
        folder: the folder of the sockets; created if it does not exist.
        bell: the bell to listen to.
        name: a unique name.
        mode: file permissions that decide who may ring.

    Raises:
        OSError: the socket cannot be created there.
    """

    _folder: Path
    _bell: str
    _name: str
    _mode: int = 0o600
    _socket: socket.socket = attrs.field(init=False)

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

    def close(self) -> None:
        """Stop listening."""
        with suppress(OSError):
            os.unlink(self._folder / self._file)
        self._socket.close()

    @property
    def _file(self) -> str:
        return f"{self._bell}-{self._name}{_ENDING}"

    async def _read(self) -> bool:
        await anyio.wait_readable(self._socket)
        with suppress(BlockingIOError):
            while True:
                self._socket.recv(16)
        return True


def _short(directory: int, name: str) -> str:
    # the path may be too long for a socket's address
    return f"/proc/self/fd/{directory}/{name}"

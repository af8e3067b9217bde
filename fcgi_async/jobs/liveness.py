"""Which workers of one machine are alive: a file for each worker, locked as long as its process lives.

The kernel releases the lock when the process ends, even by SIGKILL, and keeps it while the process is frozen: no lease
and no clock are needed. The file also tells which claimed jobs the worker has not started: they certainly have not run.
It is written without a sync, because it is only read after a process has ended. After a reboot it is ignored, because
the boot id differs.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import attrs

__all__ = ("WorkerFile", "lost_workers")

_ENDING = ".worker"
_HEAD = 64
_NUMBER = struct.Struct("<q")
_NOTHING = _NUMBER.pack(0)


@attrs.define(eq=False)
class WorkerFile:
    """The file of a worker of this process.

    Args:
        folder: the folder of the file.
        worker: the worker's id, which names the file.

    Raises:
        OSError: the file cannot be created there.
    """

    _folder: Path
    _worker: str
    _fd: int = attrs.field(init=False)
    # the position of each number, and the free positions
    _places: dict[int, int] = attrs.field(factory=dict, init=False)
    _free: list[int] = attrs.field(factory=list, init=False)
    # the claiming thread adds, the event loop removes
    _lock: threading.Lock = attrs.field(factory=threading.Lock, init=False)

    def __attrs_post_init__(self) -> None:
        new = self._folder / f".{self._worker}.new"
        self._fd = os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.pwrite(self._fd, _boot().ljust(_HEAD, b"\n"), 0)
            # others see the file only after it is locked
            os.rename(new, self._path)
        except BaseException:
            os.close(self._fd)
            with suppress(OSError):
                os.unlink(new)
            raise

    def add(self, numbers: Iterable[int]) -> None:
        """Write that these jobs are claimed and not started.

        Raises:
            OSError: the disk is full.
        """
        with self._lock:
            for number in numbers:
                if number not in self._places:
                    place = self._free.pop() if self._free else len(self._places)
                    self._places[number] = place
                    os.pwrite(self._fd, _NUMBER.pack(number), _HEAD + place * _NUMBER.size)

    def remove(self, number: int) -> None:
        """Write that a job is about to start, or no longer belongs to this worker."""
        with self._lock:
            place = self._places.pop(number, None)
            if place is not None:
                os.pwrite(self._fd, _NOTHING, _HEAD + place * _NUMBER.size)
                self._free.append(place)

    def close(self) -> None:
        """Remove the file: the worker has left."""
        with suppress(OSError):
            os.unlink(self._path)
        os.close(self._fd)

    @property
    def _path(self) -> Path:
        return self._folder / f"{self._worker}{_ENDING}"


@contextmanager
def lost_workers(folder: Path) -> Iterator[dict[str, frozenset[int] | None]]:
    """Yield the workers there by id, with None for a live one, otherwise the numbers of the jobs that it had not
    started.

    Files of lost workers are locked meanwhile, so that no other worker decides about them, and removed at the end,
    unless there is an exception.
    """
    found: dict[str, frozenset[int] | None] = {}
    locked: list[tuple[Path, int]] = []
    try:
        for path in sorted(folder.glob(f"*{_ENDING}")):
            fd = _lock(path)
            found[path.name.removesuffix(_ENDING)] = None if fd is None else _unstarted(fd)
            if fd is not None:
                locked.append((path, fd))
        yield found
        for path, _ in locked:
            path.unlink(missing_ok=True)
    finally:
        for _, fd in locked:
            os.close(fd)


def _lock(path: Path) -> int | None:
    """Lock the file and return its descriptor; None if its worker lives or the file was removed."""
    try:
        fd = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(fd)
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return None
        raise
    return fd


def _unstarted(fd: int) -> frozenset[int]:
    with open(fd, "rb", closefd=False) as file:
        content = file.read()
    if content[:_HEAD].rstrip(b"\n") != _boot():
        return frozenset()
    body = content[_HEAD : len(content) - (len(content) - _HEAD) % _NUMBER.size]
    return frozenset(number for (number,) in _NUMBER.iter_unpack(body) if number)


def _boot() -> bytes:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_bytes().strip()
    except OSError:
        return b"unknown"

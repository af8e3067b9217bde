"""SQLiteStore: jobs in an SQLite file; locked files show which workers are alive, and datagrams wake them."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import ClassVar

import anyio.lowlevel

from fcgi_async.jobs.bell import Listener, ring
from fcgi_async.jobs.errors import StoreUnavailable
from fcgi_async.jobs.liveness import WorkerFile, lost_workers
from fcgi_async.jobs.record import Claimed, Key, Lane
from fcgi_async.jobs.sql.sqlite import SQLiteDialect
from fcgi_async.jobs.sql.statements import HOLDERS
from fcgi_async.jobs.sql.store import DeadWorker, SQLStore
from fcgi_async.jobs.store import Bell

__all__ = ("SQLiteStore",)


class SQLiteStore(SQLStore[SQLiteDialect]):
    """Jobs in an SQLite file, for processes of one machine.

    Args:
        path: the file.
        clock: returns the seconds since 1970; None for the system's clock.
    """

    placeholder: ClassVar[str] = "?"

    def __init__(self, path: Path, *, clock: Callable[[], float] | None = None) -> None:
        path = path.absolute()
        super().__init__(SQLiteDialect(path) if clock is None else SQLiteDialect(path, clock=clock))
        self._files: dict[str, WorkerFile] = {}
        self._listeners: dict[Bell, Listener] = {}

    @property
    def path(self) -> Path:
        """The file."""
        return self._dialect.path

    async def aclose(self) -> None:
        """Perform the waiting calls, then disconnect."""
        await super().aclose()
        for listener in self._listeners.values():
            listener.close()
        self._listeners.clear()
        for file in self._files.values():
            file.close()
        self._files.clear()

    async def register(self, worker: str, lanes: Sequence[Lane]) -> None:
        """As `Store.register()`: creates the worker's file."""
        with _files_failing(self._dialect.folder):
            file = self._files[worker] = WorkerFile(self._dialect.folder, worker)
        try:
            await self._announce(worker, lanes, None)
        except BaseException:
            del self._files[worker]
            file.close()
            raise

    async def leave(self, worker: str, ended: Collection[Key] = ()) -> None:
        """As `Store.leave()`: removes the worker's file last."""
        await super().leave(worker, ended)
        file = self._files.pop(worker, None)
        if file is not None:
            file.close()

    async def renew(self, worker: str) -> bool:
        """Return True: the lock of the worker's file needs no renewal."""
        await anyio.lowlevel.checkpoint()
        return True

    def renewed_each(self) -> float | None:
        """Return None: there is no lease."""
        return None

    async def recover(self) -> int:
        """As `Store.recover()`: a worker is dead if its file is unlocked or missing."""
        folder, recovered = self._dialect.folder, 0
        with _files_failing(folder), lost_workers(folder) as found:
            holders = await self._committer.call(_holders, durable=False)
            # a worker may have registered since the folder was read
            unknown = [id for id in holders if id not in found and not (folder / f"{id}.worker").exists()]
            dead = [DeadWorker(id, unstarted) for id, unstarted in found.items() if unstarted is not None]
            for worker in (*dead, *map(DeadWorker, unknown)):
                recovered += await self._recover_from(worker)
        return recovered

    def begun(self, worker: str, job: Claimed) -> None:
        """As `Store.begun()`."""
        file = self._files.get(worker)
        if file is not None:
            file.remove(job.number)

    async def wait(self, bell: Bell, heard: int, timeout: float) -> int:
        """As `Store.wait()`; without a socket, which only shortens it, it lasts until the timeout."""
        listener = self._listeners.get(bell)
        if listener is None:
            listener = self._listen(bell)
            if listener is None:
                await anyio.sleep(timeout if heard >= 0 else 0)
                return heard + 1
        return await listener.wait(heard, timeout)

    def php_params(self) -> Mapping[str, str]:
        """Return PDO's arguments, for `fcgi_jobs.php`."""
        return {"FCGI_JOB_DSN": f"sqlite:{self._dialect.path}"}

    def ring(self) -> None:
        """As `Store.ring()`."""
        ring(self._dialect.folder, "work")

    def _listen(self, bell: Bell) -> Listener | None:
        mode = 0o600
        with suppress(OSError):
            mode = os.stat(self._dialect.path).st_mode & 0o666
        try:
            listener = self._listeners[bell] = Listener(self._dialect.folder, bell, secrets.token_hex(8), mode)
        except OSError:
            return None
        return listener

    def _taken(self, worker: str, numbers: Sequence[int]) -> None:
        file = self._files.get(worker)
        if file is not None:
            file.add(numbers)


@contextmanager
def _files_failing(folder: Path) -> Iterator[None]:
    """Turn errors of the folder's files into errors of the store."""
    try:
        yield
    except OSError as error:
        raise StoreUnavailable(
            f"{folder}: {error.strerror or error}; the folder must be there, and writable"
        ) from error


def _holders(dialect: SQLiteDialect) -> list[str]:
    return [str(row[0]) for row in dialect.query(HOLDERS)]

"""SQLStore: the store on any SQL database that there is a dialect for."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import ClassVar, Generic, TypeVar

import attrs

from fcgi_async.jobs.committer import Committer
from fcgi_async.jobs.record import BatchRecord, Claimed, Counts, Lane, NewBatch, NewJob, Query, Record, Settlement
from fcgi_async.jobs.schedule import Cron
from fcgi_async.jobs.sql import administration, batches, claiming, putting, schedule, settling, workers
from fcgi_async.jobs.sql.dialect import Dialect
from fcgi_async.jobs.store import Action, Bell, Claim
from fcgi_async.jobs.turns import Turns

__all__ = ("DeadWorker", "SQLStore")

D = TypeVar("D", bound=Dialect)


@attrs.frozen
class DeadWorker:
    """A worker that is known to be dead.

    Attributes:
        id: its name.
        unstarted: numbers of jobs that it certainly had not begun.
    """

    id: str
    unstarted: frozenset[int] = frozenset()


class SQLStore(Generic[D]):
    """A store (`fcgi_async.jobs.store.Store`) whose calls are performed by a committer's thread on a dialect.

    A database is added by a subclass with the abstract methods, which say who is alive and how bells are heard.

    Args:
        dialect: the connection.
    """

    # how parameters are written in `statement()`
    placeholder: ClassVar[str]

    def __init__(self, dialect: D) -> None:
        self._dialect = dialect
        self._committer: Committer[D] = Committer(dialect)
        self._turns = Turns()

    async def open(self) -> None:
        """Connect, and make the tables or migrate them."""
        await self._committer.start()

    async def aclose(self) -> None:
        """Perform what was called, then disconnect."""
        await self._committer.aclose()

    # who is alive

    @abstractmethod
    async def register(self, worker: str, lanes: Sequence[Lane]) -> None:
        """As `Store.register()`."""

    @abstractmethod
    async def renew(self, worker: str) -> bool:
        """As `Store.renew()`."""

    @abstractmethod
    def renewed_each(self) -> float | None:
        """As `Store.renewed_each()`."""

    @abstractmethod
    async def recover(self) -> int:
        """As `Store.recover()`; by `_recover_from()` for each worker that is dead."""

    @abstractmethod
    def begun(self, worker: str, job: Claimed) -> None:
        """As `Store.begun()`."""

    @abstractmethod
    def _taken(self, worker: str, numbers: Sequence[int]) -> None:
        """Note, in the thread and before the commit, that a worker will have these jobs, not begun."""

    @abstractmethod
    async def wait(self, bell: Bell, heard: int, timeout: float) -> int:
        """As `Store.wait()`."""

    @abstractmethod
    def ring(self) -> None:
        """As `Store.ring()`."""

    def php_params(self) -> Mapping[str, str]:
        """As `Store.php_params()`."""
        return {}

    # what all databases do alike

    async def put(self, jobs: Sequence[NewJob]) -> list[str | None]:
        """As `Store.put()`."""
        return await self._committer.call(partial(putting.put, jobs=jobs))

    async def make_batch(self, batch: NewBatch, open_for: float) -> None:
        """As `Store.make_batch()`."""
        await self._committer.call(partial(batches.make, batch=batch, open_for=open_for))

    async def add(self, batch: str, jobs: Sequence[NewJob], open_for: float) -> None:
        """As `Store.add()`."""
        await self._committer.call(partial(batches.add, batch=batch, jobs=jobs, open_for=open_for))

    async def close_batch(self, batch: str, *, abandoned: bool) -> None:
        """As `Store.close_batch()`."""
        await self._committer.call(partial(batches.close, batch=batch, abandoned=abandoned))

    async def find_batch(self, batch: str) -> BatchRecord | None:
        """As `Store.find_batch()`."""
        return await self._committer.call(partial(batches.find, batch=batch), durable=False, writes=False)

    def statement(self, job: NewJob) -> tuple[str, tuple[object, ...]]:
        """As `Store.statement()`."""
        return putting.statement(self._dialect, job, self.placeholder)

    async def claim(self, worker: str, lanes: Sequence[Lane], count: int, *, durable: bool) -> Claim:
        """As `Store.claim()`."""

        def perform(dialect: D) -> Claim:
            claim = claiming.claim(dialect, worker, lanes, count, self._turns)
            self._taken(worker, [job.number for job in claim.jobs])
            return claim

        def undo(dialect: D, claim: Claim) -> None:
            workers.give_back(dialect, worker, claim.jobs)

        return await self._committer.call(perform, durable=durable, undo=undo)

    async def settle(self, worker: str, settlements: Sequence[Settlement]) -> list[bool]:
        """As `Store.settle()`."""
        return await self._committer.call(
            partial(settling.settle, worker=worker, settlements=settlements),
            durable=any(settlement.durable for settlement in settlements),
        )

    async def reconcile(self, worker: str, held: Collection[int]) -> int:
        """As `Store.reconcile()`."""
        return await self._committer.call(partial(workers.reconcile, worker=worker, held=held))

    async def leave(self, worker: str) -> None:
        """As `Store.leave()`."""
        await self._committer.call(partial(workers.leave, worker=worker))

    async def begin_crons(self, crons: Sequence[Cron]) -> None:
        """As `Store.begin_crons()`."""
        await self._committer.call(partial(schedule.begin, crons=crons))

    async def tick(self, crons: Sequence[Cron]) -> float | None:
        """As `Store.tick()`."""
        return await self._committer.call(partial(schedule.tick, crons=crons))

    async def find(self, query: Query) -> list[Record]:
        """As `Store.find()`."""
        return await self._committer.call(partial(administration.find, query=query), durable=False, writes=False)

    async def counts(self) -> Counts:
        """As `Store.counts()`."""
        return await self._committer.call(administration.counts, durable=False, writes=False)

    async def change(self, action: Action, query: Query) -> int:
        """As `Store.change()`."""
        return await self._committer.call(partial(administration.change, action=action, query=query))

    async def note(self, id: str, error: str) -> bool:
        """As `Store.note()`."""
        return await self._committer.call(partial(administration.note, id=id, error=error), durable=False)

    async def pause(self, queue: str, *, paused: bool) -> None:
        """As `Store.pause()`."""
        await self._committer.call(partial(administration.pause, queue=queue, paused=paused))

    async def sweep(self) -> int:
        """As `Store.sweep()`."""
        return await self._committer.call(administration.sweep, durable=False)

    async def version(self) -> int:
        """As `Store.version()`."""
        return await self._committer.call(lambda dialect: dialect.schema_version(), durable=False)

    async def check(self) -> list[str]:
        """As `Store.check()`."""
        return await self._committer.call(administration.check, durable=False)

    async def _announce(self, worker: str, lanes: Sequence[Lane], lease: float | None) -> None:
        await self._committer.call(partial(workers.announce, worker=worker, lanes=lanes, lease=lease))

    async def _recover_from(self, dead: DeadWorker) -> int:
        return await self._committer.call(
            partial(workers.recover, worker=dead.id, unstarted=dead.unstarted), durable=True
        )

"""SQLStore: the store on any SQL database with a dialect."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import ClassVar, Generic, TypeVar

import attrs

from fcgi_async.jobs.committer import Committer
from fcgi_async.jobs.errors import StoreUnavailable
from fcgi_async.jobs.record import BatchRecord, Claimed, Counts, Key, Lane, NewBatch, NewJob, Query, Record, Settlement
from fcgi_async.jobs.schedule import Cron
from fcgi_async.jobs.sql import administration, batches, claiming, putting, schedule, settling, workers
from fcgi_async.jobs.sql.dialect import Dialect
from fcgi_async.jobs.store import Action, Bell, Claim, Comparison
from fcgi_async.jobs.turns import Turns

__all__ = ("DeadWorker", "SQLStore")

D = TypeVar("D", bound=Dialect)


@attrs.frozen
class DeadWorker:
    """A worker that is known to be lost.

    Attributes:
        id: its name.
        unstarted: numbers of jobs that it certainly had not started.
    """

    id: str
    unstarted: frozenset[int] = frozenset()


class SQLStore(Generic[D]):
    """A store (`fcgi_async.jobs.store.Store`); a committer's thread performs its calls on a dialect.

    A database is added with a subclass that implements the abstract methods: which workers are alive, and how to wait
    for bells.

    Args:
        dialect: the connection.
    """

    # the form of parameters in `statement()`
    placeholder: ClassVar[str]

    def __init__(self, dialect: D) -> None:
        self._dialect = dialect
        self._committer: Committer[D] = Committer(dialect)
        self._turns = Turns()
        self._crowd = 1

    @property
    def crowd(self) -> int:
        """As `Store.crowd`."""
        return self._crowd

    async def open(self, *, waits: bool = False) -> StoreUnavailable | None:
        """As `Store.open()`."""
        return await self._committer.start(waits=waits)

    async def aclose(self) -> None:
        """Perform the waiting calls, then disconnect."""
        await self._committer.aclose()

    # which workers are alive

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
        """See `Store.recover()`; calls `_recover_from()` for each lost worker."""

    @abstractmethod
    def begun(self, worker: str, job: Claimed) -> None:
        """As `Store.begun()`."""

    @abstractmethod
    def _taken(self, worker: str, numbers: Sequence[int]) -> None:
        """Called in the thread before the commit: a worker will have these jobs, not started."""

    @abstractmethod
    async def wait(self, bell: Bell, heard: int, timeout: float) -> int:
        """As `Store.wait()`."""

    @abstractmethod
    def ring(self) -> None:
        """As `Store.ring()`."""

    def php_params(self) -> Mapping[str, str]:
        """As `Store.php_params()`."""
        return {}

    # the same for all databases

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

    async def settle(self, worker: str, settlements: Sequence[Settlement]) -> list[bool | None]:
        """As `Store.settle()`."""
        return await self._committer.call(
            partial(settling.settle, worker=worker, settlements=settlements),
            durable=any(settlement.durable for settlement in settlements),
        )

    async def reconcile(self, worker: str, held: Collection[Claimed]) -> Comparison:
        """As `Store.reconcile()`."""
        return await self._committer.call(partial(workers.reconcile, worker=worker, held=tuple(held)))

    async def leave(self, worker: str, ended: Collection[Key] = ()) -> None:
        """As `Store.leave()`."""
        await self._committer.call(partial(workers.leave, worker=worker, ended=frozenset(ended)))

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
        recovered = await self._committer.call(
            partial(workers.recover, worker=dead.id, unstarted=dead.unstarted), durable=True
        )
        return recovered.count

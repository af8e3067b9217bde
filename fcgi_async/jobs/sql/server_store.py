"""ServerStore: jobs on a database server, which workers of many machines share.

Theory of operation. Each worker has a row with a lease by the server's clock, and renews it. A worker whose lease is
over is dead for all others. It notices: its row is gone, and it can claim nothing. After an outage of the server all
workers get time to come back: a worker is dead only when the server has answered for as long as the lease. A worker
that has been connected for so long knows that. Others add up in the row how long they saw the server answer, since
workers may restart more often than that.

Claims and settlements of idempotent tasks need not be on disk when they are answered, so a server that crashes may lose
the last of them. A COMMIT whose answer was lost may have been performed, or not. So after each reconnect, and before
anything is claimed, the worker's jobs in hand are compared with the table: lost settlements are written again, lost
claims are made again, and jobs that the worker does not know are given back.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import ClassVar, Final, Generic, TypeVar, cast

import anyio
import attrs

from fcgi_async.jobs.errors import StoreUnavailable
from fcgi_async.jobs.record import Claimed, Key, Lane, Limits, Settlement
from fcgi_async.jobs.sql import claiming, settling, workers
from fcgi_async.jobs.sql.dialect import Dialect
from fcgi_async.jobs.sql.statements import ANNOUNCED, HOW_MANY, ORPHANS, OUT_OF_LEASE, RETAKE, SEEN, WATCH
from fcgi_async.jobs.sql.store import SQLStore
from fcgi_async.jobs.sql.workers import Recovered
from fcgi_async.jobs.store import Claim, Comparison

__all__ = ("ServerDialect", "ServerStore")

# seconds between looks for jobs of workers that are not announced, which a person's DELETE leaves; a recovery that left
# locked jobs looks for them sooner
_ORPHANS: Final = 5.0
_LEFT: Final = 0.5
# the settlement of a longer response, in bytes, is written to disk at once instead of being remembered
_LARGE: Final = 64 << 10
# how often calls of a worker may wait for locks within its lease, and for how many seconds each at most
_WAITS: Final = 6
_LONGEST_WAIT: Final = 10.0
_RECONNECTED: Final = (
    "the connection was lost: the jobs in hand are compared with the table first, then claiming goes on; if this comes "
    "repeatedly, see the server's log, and how long it and what is in between keep an idle connection"
)
# seconds for which closing waits for the server
_CLOSING: Final = 10.0


class ServerDialect(Dialect):
    """A connection to a server.

    Attributes:
        generation: counts connections; 0 before the first.
        forgets: seconds after which the server has on disk what need not have been; 0 if it forgets nothing.
        connected: when this connection was made, by the monotonic clock.
    """

    generation: int = 0
    forgets: float = 0.0
    connected: float = 0.0

    @abstractmethod
    def limit_waits(self, seconds: float) -> None:
        """Let statements wait for others' locks for so long at most, on later connections too."""

    @abstractmethod
    def interrupt(self) -> None:
        """Make a call that waits for the server fail; called by another thread."""


D = TypeVar("D", bound=ServerDialect)


@attrs.define
class _Worker:
    """A worker of this process."""

    tasks: Mapping[str, Limits]
    # the connection on which its jobs in hand were compared
    compared: int = -1
    # settlements that the server may lose, and when they were written
    written: deque[tuple[float, Settlement]] = attrs.field(factory=deque)


class ServerStore(SQLStore[D], Generic[D]):
    """A store on a server; see `SQLStore`.

    Args:
        dialect: the connection.
        lease: seconds after its last sign in which a worker is dead.
    """

    # whether the server takes commits that need not be on disk
    relaxed: ClassVar[bool] = False

    def __init__(self, dialect: D, lease: float) -> None:
        super().__init__(dialect)
        self._lease = lease
        self._own: dict[str, _Worker] = {}
        self._orphans_due = 0.0

    async def aclose(self) -> None:
        """Perform what was called, then disconnect; a server that does not answer is waited for 10 s."""

        async def interrupt() -> None:
            while True:
                await anyio.sleep(_CLOSING)
                self._dialect.interrupt()

        with anyio.CancelScope(shield=True):
            async with anyio.create_task_group() as closing:
                closing.start_soon(interrupt)
                await super().aclose()
                closing.cancel_scope.cancel()

    # who is alive

    async def register(self, worker: str, lanes: Sequence[Lane]) -> None:
        """As `Store.register()`: makes the worker's row."""
        tasks = {limits.task: limits for lane in lanes for limits in lane.tasks}
        own = self._own.setdefault(worker, _Worker(tasks))

        def perform(dialect: D) -> int:
            # a call that waits for others must not cost us the lease
            dialect.limit_waits(min(self._lease / _WAITS, _LONGEST_WAIT))
            workers.announce(dialect, worker, lanes, self._lease)
            return dialect.generation

        own.compared = await self._committer.call(perform)

    async def leave(self, worker: str, ended: Collection[Key] = ()) -> None:
        """As `Store.leave()`."""
        await super().leave(worker, ended)
        self._own.pop(worker, None)

    def renewed_each(self) -> float | None:
        """Return a third of the lease."""
        return self._lease / 3

    async def renew(self, worker: str) -> bool:
        """As `Store.renew()`."""
        return await self._committer.call(lambda dialect: self._sign(dialect, worker), durable=False, urgent=True)

    def _sign(self, dialect: D, worker: str) -> bool:
        return dialect.change(SEEN, {"worker": worker, "lease": round(self._lease * 1000)}) == 1

    async def recover(self) -> int:
        """As `Store.recover()`: workers whose lease is over are dead."""
        orphans = time.monotonic() >= self._orphans_due
        found_dead = await self._committer.call(partial(_find_dead, orphans=orphans), durable=False)
        dead, orphaned, self._crowd = found_dead
        if orphans:
            self._orphans_due = time.monotonic() + _ORPHANS
        found = [await self._committer.call(partial(_recover_dead, worker=worker)) for worker in dead]
        found += [await self._committer.call(partial(_recover_orphaned, worker=worker)) for worker in orphaned]
        if any(recovered.left for recovered in found):
            self._orphans_due = time.monotonic() + _LEFT
        return sum(recovered.count for recovered in found)

    # what is in hand

    async def claim(self, worker: str, lanes: Sequence[Lane], count: int, *, durable: bool) -> Claim:
        """As `Store.claim()`; refused after a reconnect until `reconcile()`; a lost worker gets nothing."""

        def perform(dialect: D) -> Claim:
            if count:
                own = self._own.get(worker)
                if own is not None and own.compared != dialect.generation:
                    raise StoreUnavailable(_RECONNECTED)
            return claiming.claim(dialect, worker, lanes, count, self._turns, lease=self._lease if count else None)

        def undo(dialect: D, claim: Claim) -> None:
            workers.give_back(dialect, worker, claim.jobs)

        return await self._committer.call(perform, durable=durable, undo=undo)

    async def settle(self, worker: str, settlements: Sequence[Settlement]) -> list[bool | None]:
        """As `Store.settle()`."""
        own = self._own.get(worker)
        durable = not self.relaxed or any(map(_must_be_durable, settlements))

        def perform(dialect: D) -> tuple[list[bool | None], int]:
            if own is not None and own.compared != dialect.generation:
                _take_again(dialect, worker, [(each, None) for each in settlements])
            return settling.settle(dialect, worker, settlements), dialect.generation

        settled, generation = await self._committer.call(perform, durable=durable)
        if own is not None and not durable:
            now = time.monotonic()
            own.written.extend(
                (now, settlement)
                for settlement, was_ours in zip(settlements, settled, strict=True)
                if was_ours is not None
            )
            # an older connection's are kept until they were compared
            while generation == own.compared and own.written and own.written[0][0] < now - self._dialect.forgets:
                own.written.popleft()
        return settled

    async def reconcile(self, worker: str, held: Collection[Claimed]) -> Comparison:
        """As `Store.reconcile()`."""
        own = self._own.get(worker)
        if own is None:
            return await super().reconcile(worker, held)
        written = len(own.written)
        keys = {claimed.key for claimed in held}
        forgotten = [settlement for _, settlement in own.written if settlement.key not in keys]

        def perform(dialect: D) -> tuple[Comparison, int]:
            if own.compared != dialect.generation:
                if dialect.optimistic:
                    # a claim that is on its way through another node comes too late then
                    self._sign(dialect, worker)
                _take_again(dialect, worker, [(each, None) for each in forgotten])
                settling.settle(dialect, worker, forgotten)
                _take_again(dialect, worker, [(each, own.tasks.get(each.task)) for each in held])
            return workers.reconcile(dialect, worker, held), dialect.generation

        compared, own.compared = await self._committer.call(perform)
        for _ in range(min(written, len(own.written))):
            own.written.popleft()
        return compared

    def begun(self, worker: str, job: Claimed) -> None:
        """Do nothing: other machines could not know it without a write."""

    def _taken(self, worker: str, numbers: Sequence[int]) -> None:
        """Do nothing, likewise."""


def _must_be_durable(settlement: Settlement) -> bool:
    response = settlement.response
    return settlement.durable or (response is not None and len(response.content) > _LARGE)


def _take_again(dialect: Dialect, worker: str, claims: Sequence[tuple[Claimed | Settlement, Limits | None]]) -> None:
    for claim, limits in claims:
        dialect.change(
            RETAKE,
            {
                "number": claim.number,
                "id": claim.id,
                "attempt": claim.attempt,
                "worker": worker,
                "on_loss": None if limits is None else limits.on_loss,
                "attempts": None if limits is None else limits.attempts,
            },
        )


def _find_dead(dialect: ServerDialect, orphans: bool) -> tuple[list[str], list[str], int]:
    """Return the dead workers; unannounced workers with jobs, if `orphans`; and how many are announced."""
    found = _out_of_lease(dialect)
    dead = [worker for worker, verdict in found.items() if verdict == "dead"]
    watched = [{"worker": worker} for worker, verdict in found.items() if verdict == "watch"]
    if watched:
        dialect.change_many(WATCH, watched)
    [(crowd,)] = cast("list[tuple[int]]", dialect.query(HOW_MANY))
    return dead, [str(row[0]) for row in dialect.query(ORPHANS)] if orphans else [], max(crowd, 1)


def _out_of_lease(dialect: ServerDialect) -> dict[str, str]:
    """Return the workers whose lease is over, each with "dead", or "watch" or "later" for when to watch it."""
    watched = {"watched": int((time.monotonic() - dialect.connected) * 1000)}
    return dict(cast("list[tuple[str, str]]", dialect.query(OUT_OF_LEASE, watched)))


def _recover_dead(dialect: ServerDialect, worker: str) -> Recovered:
    # it may have renewed meanwhile, or another worker decides
    if _out_of_lease(dialect).get(worker) != "dead":
        return Recovered(0, left=False)
    return workers.recover(dialect, worker, ())


def _recover_orphaned(dialect: ServerDialect, worker: str) -> Recovered:
    # it may have announced itself meanwhile
    if dialect.query(ANNOUNCED, {"worker": worker}):
        return Recovered(0, left=False)
    return workers.recover(dialect, worker, ())

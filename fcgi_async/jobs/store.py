"""Store: the interface of a database for durable jobs. A store is opened and closed in one event loop."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Literal, Protocol

import attrs

from fcgi_async.jobs.errors import StoreUnavailable
from fcgi_async.jobs.record import BatchRecord, Claimed, Counts, Key, Lane, NewBatch, NewJob, Query, Record, Settlement
from fcgi_async.jobs.schedule import Cron

__all__ = ("Action", "Bell", "Claim", "Comparison", "Store")

# the actions of a person on jobs: run them again, cancel them, or delete them
Action = Literal["retry", "cancel", "purge"]
# what a caller can wait for: jobs that may be ready, or jobs that have ended
Bell = Literal["work", "ends"]


@attrs.frozen(kw_only=True)
class Claim:
    """The result of a claim.

    Attributes:
        jobs: the claimed jobs, in the order in which they should start.
        more: whether there were more jobs that it could have claimed.
        wait: seconds until a delayed job is due or a rate allows more; None if not known.
    """

    jobs: tuple[Claimed, ...]
    more: bool = False
    wait: float | None = None


@attrs.frozen(kw_only=True)
class Comparison:
    """The result of comparing a worker's jobs in hand with the database.

    Attributes:
        given_back: number of jobs that the worker had in the database but not in hand; they are ready again.
        lost: keys of jobs that it has in hand but not in the database: they belong to others now.
        complete: whether all were given back; if not, another transaction has locked some: compare again later.
    """

    given_back: int
    lost: frozenset[Key]
    complete: bool = True


class Store(Protocol):
    """A database of jobs.

    Every method may raise `StoreUnavailable`, `StoreFull`, `StoreCorrupt` or `SchemaMismatch`. Methods that store the
    caller's values may also raise `StoreRefused` for a value that the database cannot hold, and `PayloadTooLarge` for
    one that is too long. Nothing is written then, unless `StoreError.may_be_stored` says that it may be. Cancelling
    withdraws a call that has not begun; a call that has begun is performed, and its answer is lost, except that
    `claim()` gives the jobs back.
    """

    @property
    def crowd(self) -> int:
        """How many workers there were when `recover()` last looked; 1 if that is not known."""
        ...

    async def open(self, *, waits: bool = False) -> StoreUnavailable | None:
        """Connect, and create or migrate the tables; several processes may do so at once.

        Args:
            waits: whether to go on without a database that is away: each later call tries to connect.

        Returns:
            Why it is not connected yet; None if it is.
        """
        ...

    async def aclose(self) -> None:
        """Perform the waiting calls, then disconnect."""

    async def put(self, jobs: Sequence[NewJob]) -> list[str | None]:
        """Store jobs in one transaction; they are on disk when this returns.

        Returns:
            For each job, None if it is stored, or was stored before with the same id; otherwise the id of the job that
            holds its unique key ("" if it no longer does).
        """
        ...

    async def make_batch(self, batch: NewBatch, open_for: float) -> None:
        """Store an open batch, unless it exists; it is abandoned if no job is added for `open_for` seconds.

        Raises:
            BatchClosed: it exists and is closed.
        """

    async def add(self, batch: str, jobs: Sequence[NewJob], open_for: float) -> None:
        """Put jobs of a batch in one transaction; they are on disk when this returns.

        Raises:
            BatchClosed: it is closed or does not exist; nothing is stored.
        """

    async def close_batch(self, batch: str, *, abandoned: bool) -> None:
        """Close a batch, and put the jobs that follow if all have ended; an abandoned batch fails.

        Raises:
            BatchClosed: it is closed or does not exist.
        """

    async def find_batch(self, batch: str) -> BatchRecord | None:
        """Return the record of a batch; None if it does not exist, or no longer."""
        ...

    async def register(self, worker: str, lanes: Sequence[Lane]) -> None:
        """Register a worker and its tasks before it claims jobs; it counts as alive until it leaves or is lost."""

    async def leave(self, worker: str, ended: Collection[Key] = ()) -> None:
        """Unregister a worker, and give back its jobs as not started; settle the others before.

        Jobs that could not be settled are in `ended`, by key: others decide about them, as if the worker was lost.
        """

    async def renew(self, worker: str) -> bool:
        """Renew the worker's sign of life. Return False if it was considered lost, and its jobs went to others."""
        ...

    def renewed_each(self) -> float | None:
        """Return the most seconds between two calls of `renew()`; None if it need not be called."""
        ...

    async def recover(self) -> int:
        """Find lost workers, and decide about their jobs with `decide_lost`; return the number of jobs.

        A job that another transaction has locked is left to a later call.
        """
        ...

    async def claim(self, worker: str, lanes: Sequence[Lane], count: int, *, durable: bool) -> Claim:
        """Claim jobs that are ready, or delayed and due: by weight of their queues, priority, due time and number.

        Args:
            worker: the worker that claims them; it must be registered.
            lanes: the queues that it serves; nothing is claimed from paused ones.
            count: most jobs to claim; 0 only checks whether there are any.
            durable: whether the claim must be on disk before this returns.
        """
        ...

    def begun(self, worker: str, job: Claimed) -> None:
        """Called when a job is about to be sent to PHP; does not wait, and does not write to the database."""

    async def settle(self, worker: str, settlements: Sequence[Settlement]) -> list[bool | None]:
        """Write how attempts ended.

        Returns:
            For each, whether it still belonged to this worker; if not, it was not changed. None if another transaction
            has locked the job: nothing was written for it, so repeat that later.
        """
        ...

    async def reconcile(self, worker: str, held: Collection[Claimed]) -> Comparison:
        """Compare the worker's jobs in hand with its jobs in the database.

        A claim whose answer was lost leaves jobs that the worker does not know. No claim may be in progress.
        """
        ...

    async def begin_crons(self, crons: Sequence[Cron]) -> None:
        """Start new schedules now, and restart schedules whose line or time zone has changed."""

    async def tick(self, crons: Sequence[Cron]) -> float | None:
        """Put the jobs of schedules that are due, one for each time, with any number of callers.

        Returns:
            Seconds until the next time; None if there is none.
        """
        ...

    async def find(self, query: Query) -> list[Record]:
        """Return the selected jobs."""
        ...

    async def counts(self) -> Counts:
        """Return the number of jobs in each state."""
        ...

    async def change(self, action: Action, query: Query) -> int:
        """Retry, cancel or purge jobs; return how many. Jobs in other states are not changed.

        "retry" makes dead, cancelled and in-doubt jobs ready with all their attempts. "cancel" ends delayed, ready and
        in-doubt jobs; a running one is not retried. "purge" deletes jobs that are done, dead, cancelled or in doubt.
        """
        ...

    async def note(self, id: str, error: str) -> bool:
        """Write an explanation to a job in doubt. Return False if it is no longer in doubt."""
        ...

    async def pause(self, queue: str, *, paused: bool) -> None:
        """Stop workers from taking jobs of a queue, or allow it again."""

    async def sweep(self) -> int:
        """Delete some of the jobs whose time to be kept has passed, return how many, and close abandoned batches."""
        ...

    async def version(self) -> int:
        """Return the version of the tables."""
        ...

    async def check(self) -> list[str]:
        """Return the faults of the database and of the jobs in it; [] if there are none."""
        ...

    async def wait(self, bell: Bell, heard: int, timeout: float) -> int:
        """Wait until there may be something new, at most `timeout` seconds.

        Args:
            bell: what to wait for.
            heard: the result of the last call; -1 at first, which starts listening and returns at once.
            timeout: seconds.

        Returns:
            A number other than `heard` if there may be something new, `heard` after the timeout.
        """
        ...

    def statement(self, job: NewJob) -> tuple[str, tuple[object, ...]]:
        """Return an INSERT and its parameters to put a job, for the caller's own connection and transaction."""
        ...

    def php_params(self) -> Mapping[str, str]:
        """Return FastCGI parameters that tell a script the database; never a secret."""
        ...

    def ring(self) -> None:
        """Wake workers after jobs were put without this store."""

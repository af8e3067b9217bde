"""Store: what durable jobs ask of a database. A store is opened on one event loop and closed there."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Literal, Protocol

import attrs

from fcgi_async.jobs.record import BatchRecord, Claimed, Counts, Lane, NewBatch, NewJob, Query, Record, Settlement
from fcgi_async.jobs.schedule import Cron

__all__ = ("Action", "Bell", "Claim", "Store")

# what a person does to jobs: run them again, take them out, or delete them
Action = Literal["retry", "cancel", "purge"]
# what is waited for: jobs that may be ready, or jobs that have ended
Bell = Literal["work", "ends"]


@attrs.frozen(kw_only=True)
class Claim:
    """What a claim brought.

    Attributes:
        jobs: those that are the worker's now, in the order in which they are to begin.
        more: whether there was more that it might have taken.
        wait: seconds until something delayed is due or a rate allows more, if that is known; None if not.
    """

    jobs: tuple[Claimed, ...]
    more: bool = False
    wait: float | None = None


class Store(Protocol):
    """A database of jobs.

    Every method raises `StoreUnavailable`, `StoreFull`, `StoreCorrupt` or `SchemaMismatch`, and nothing else; what it
    was to write is then not written, unless `StoreError.may_be_stored` says that it may be. Cancelling a call that has
    not begun withdraws it; one that has begun is performed, and its answer is lost, save that `claim()` gives back what
    it took.
    """

    async def open(self) -> None:
        """Connect, and create the tables or migrate them; several processes may do so at once."""

    async def aclose(self) -> None:
        """Perform what was called, then disconnect."""

    async def put(self, jobs: Sequence[NewJob]) -> list[str | None]:
        """Store jobs in one transaction; on disk when it returns.

        Returns:
            For each job None if it is stored, or was before under the same id; otherwise the id of the job that holds
            its unique key ("" if that has let go meanwhile).
        """
        ...

    async def make_batch(self, batch: NewBatch, open_for: float) -> None:
        """Store a batch that jobs can be added to, unless it is there; abandoned if none is for `open_for` seconds.

        Raises:
            BatchClosed: it is there and closed.
        """

    async def add(self, batch: str, jobs: Sequence[NewJob], open_for: float) -> None:
        """Put jobs that name the batch, in one transaction; on disk when it returns.

        Raises:
            BatchClosed: it is closed or not there; nothing is stored.
        """

    async def close_batch(self, batch: str, *, abandoned: bool) -> None:
        """Let nothing be added any more, and put what follows if it is time; an abandoned batch has failed.

        Raises:
            BatchClosed: it is closed or not there.
        """

    async def find_batch(self, batch: str) -> BatchRecord | None:
        """Return what is known of a batch; None if it is not there (any more)."""
        ...

    async def register(self, worker: str, lanes: Sequence[Lane]) -> None:
        """Announce a worker and its tasks, before it claims anything; it is alive until it leaves or is found dead."""

    async def leave(self, worker: str) -> None:
        """Take a worker's announcement back, and give back what it still has as not begun; settle before what was."""

    async def renew(self, worker: str) -> bool:
        """Say that the worker is alive; return False if it was taken for dead, and its jobs given to others."""
        ...

    def renewed_each(self) -> float | None:
        """Return how many seconds may lie between two calls of `renew()`; None if it need not be called."""
        ...

    async def recover(self) -> int:
        """Find workers that are dead, and decide about their jobs as `decide_lost` says; return how many jobs."""
        ...

    async def claim(self, worker: str, lanes: Sequence[Lane], count: int, *, durable: bool) -> Claim:
        """Take jobs that are ready, or delayed and due: by weight of their queues, priority, time due and number.

        Args:
            worker: who takes them; announced before.
            lanes: the queues that it serves; those paused give nothing.
            count: how many at most; 0 only looks whether there are any.
            durable: whether the claim must be on disk before it is told.
        """
        ...

    def begun(self, worker: str, job: Claimed) -> None:
        """Note that a job is about to be given to PHP; does not wait, and does not write to the database."""

    async def settle(self, worker: str, settlements: Sequence[Settlement]) -> list[bool]:
        """Write how attempts ended.

        Returns:
            For each whether it was still this worker's; what is not is left as it is.
        """
        ...

    async def reconcile(self, worker: str, held: Collection[int]) -> int:
        """Make ready what the worker has by the database, and not in hand: numbers in `held`. Return how many.

        A claim whose answer was lost leaves such jobs. There must be no claim under way.
        """
        ...

    async def begin_crons(self, crons: Sequence[Cron]) -> None:
        """Make schedules that are not known begin now, and those with another line or time zone begin anew."""

    async def tick(self, crons: Sequence[Cron]) -> float | None:
        """Put jobs of schedules whose time has come, one for each time however many call this.

        Returns:
            Seconds until the next time; None if there is none.
        """
        ...

    async def find(self, query: Query) -> list[Record]:
        """Return the jobs that are meant."""
        ...

    async def counts(self) -> Counts:
        """Return how many jobs there are in each state."""
        ...

    async def change(self, action: Action, query: Query) -> int:
        """Retry, cancel or purge jobs; return how many. What does not fit their state is left as it is.

        "retry" makes dead, cancelled and in-doubt jobs ready with all their attempts. "cancel" ends delayed, ready and
        in-doubt ones; a running one is not tried again. "purge" deletes those that are done, dead, cancelled or in
        doubt.
        """
        ...

    async def note(self, id: str, error: str) -> bool:
        """Write what is known of a job in doubt; return False if it is not in doubt any more."""
        ...

    async def pause(self, queue: str, *, paused: bool) -> None:
        """Let nobody take jobs of a queue any more, or again."""

    async def sweep(self) -> int:
        """Delete jobs whose time to be kept is over, some at a time; return how many. Close abandoned batches."""
        ...

    async def version(self) -> int:
        """Return the version of the tables."""
        ...

    async def check(self) -> list[str]:
        """Return what is wrong with the database and with the jobs in it; [] if nothing is."""
        ...

    async def wait(self, bell: Bell, heard: int, timeout: float) -> int:
        """Wait until there may be something new, `timeout` seconds at most.

        Args:
            bell: for what.
            heard: what the last call returned; -1 at first, which begins to listen and returns at once.
            timeout: seconds.

        Returns:
            A number other than `heard` if there may be something new, `heard` if the time is over.
        """
        ...

    def statement(self, job: NewJob) -> tuple[str, tuple[object, ...]]:
        """Return the INSERT and its parameters that put a job, for the caller's own connection and transaction."""
        ...

    def php_params(self) -> Mapping[str, str]:
        """Return FastCGI parameters by which a script finds the database; never a secret."""
        ...

    def ring(self) -> None:
        """Wake workers, after jobs were put by others than this store."""

"""What a database keeps of a job, and what is said to it: values that stores and their callers share.

Times are seconds since 1970 by the clock of who keeps the jobs: the machine's with SQLite, the server's elsewhere.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from typing import Final, Literal

import attrs

__all__ = (
    "FINISHED",
    "STATES",
    "BatchRecord",
    "Claimed",
    "Counts",
    "Lane",
    "Limits",
    "NewBatch",
    "NewJob",
    "Query",
    "Record",
    "Settlement",
    "State",
    "StoredResponse",
    "WorkerRecord",
    "new_id",
)

State = Literal["delayed", "ready", "running", "done", "dead", "cancelled", "in_doubt"]
STATES: Final[tuple[State, ...]] = ("delayed", "ready", "running", "done", "dead", "cancelled", "in_doubt")
# what nobody will change any more, unless a person retries it
FINISHED: Final[frozenset[State]] = frozenset({"done", "dead", "cancelled"})


def new_id() -> str:
    """Return an id for a job: 32 hexadecimal digits, the first 12 of which are the time in milliseconds."""
    return f"{time.time_ns() // 1_000_000:012x}{os.urandom(10).hex()}"


@attrs.frozen(kw_only=True)
class NewJob:
    """A job to be put.

    Attributes:
        id: the client's; putting it twice stores it once.
        task: the task's name.
        data: JSON.
        delay: seconds until it may run.
        unique: a key that at most one job of its task holds, until it is done and `unique_for` seconds have passed.
        batch: the id of the batch that counts it.
        chain: the jobs that follow once it is done, as JSON.
        trace: a W3C traceparent.
    """

    id: str
    task: str
    data: str = attrs.field(repr=False)
    delay: float = 0.0
    priority: int = 0
    unique: str | None = None
    unique_for: float = 0.0
    batch: str | None = None
    chain: str | None = None
    trace: str | None = None


@attrs.frozen(kw_only=True)
class NewBatch:
    """A batch to be stored.

    Attributes:
        id: the client's; storing it twice stores it once.
        next_done: the jobs that are put once all of it are done, as JSON.
        next_failed: the jobs that are put once one of it has failed, as JSON.
    """

    id: str
    next_done: str | None = None
    next_failed: str | None = None


@attrs.frozen(kw_only=True)
class BatchRecord:
    """What the database knows of a batch.

    Attributes:
        open: whether jobs may still be added.
        total: how many were added.
        pending: how many of them have not ended.
        failed: how many of them are dead, cancelled or in doubt; and 1 if the batch was abandoned.
        finished: when the last one ended; None if it has not, or the batch is open.
    """

    id: str
    open: bool
    total: int
    pending: int
    failed: int
    finished: float | None


@attrs.frozen(kw_only=True)
class Claimed:
    """A job that a worker has taken: what it needs to run it.

    Attributes:
        number: where it stands in the database.
        attempt: which claim of the job this is, the fence of its settlement.
        failed: how many attempts before counted as failed.
        follows: whether a batch or a chain waits for its end.
        answers: whether the next of its chain gets what it answers.
        taken: when it was claimed, by the monotonic clock of who claimed it.
    """

    number: int
    id: str
    task: str
    data: str = attrs.field(repr=False)
    attempt: int
    failed: int
    created: float
    due: float
    trace: str | None
    follows: bool
    answers: bool = False
    taken: float = attrs.field(factory=time.monotonic, eq=False)


@attrs.frozen(kw_only=True)
class StoredResponse:
    """The response of a job that is done, as far as it is kept.

    Attributes:
        status: of the response.
        headers: by their names in lower case.
        content: the body.
    """

    status: int
    headers: Mapping[str, str]
    content: bytes = attrs.field(repr=False)

    @property
    def text(self) -> str:
        """The body as UTF-8; what cannot be decoded is replaced."""
        return self.content.decode("utf-8", "replace")

    def json(self) -> object:
        """Return the body parsed as JSON.

        Raises:
            ValueError: it is not JSON.
        """
        loaded: object = json.loads(self.content)
        return loaded


@attrs.frozen(kw_only=True)
class Record:
    """All that the database knows of a job.

    Attributes:
        number: the order in which jobs were put.
        id: the client's name for it.
        queue: of its task, as the last worker that runs it said; None if none has.
        data: JSON.
        due: when it may run.
        attempt: how often it was claimed.
        failed: how many attempts counted as failed.
        worker: who has it in hand; None if nobody.
        started: when it was claimed last.
        finished: when it was done, dead or cancelled.
        unique: the key that it holds now.
        progress: how far the script said it was, and `progress_of` of how much.
        cancel: whether it is to be cancelled instead of tried again.
        status: of its last response.
        error: what was wrong with its last attempt.
        stderr: what PHP logged meanwhile.
        keep_until: when it leaves the database.
        response: what was stored of the response, if asked for.
    """

    number: int
    id: str
    task: str
    queue: str | None
    data: str = attrs.field(repr=False)
    state: State
    priority: int
    created: float
    due: float
    attempt: int
    failed: int
    worker: str | None
    started: float | None
    finished: float | None
    unique: str | None
    batch: str | None
    chain: str | None = attrs.field(repr=False)
    trace: str | None
    progress: int | None
    progress_of: int | None
    cancel: bool
    status: int | None
    error: str | None
    stderr: str | None = attrs.field(repr=False)
    keep_until: float | None
    response: StoredResponse | None = None


@attrs.frozen(kw_only=True)
class Settlement:
    """How an attempt ended: it is written only while the same worker holds the same attempt.

    Attributes:
        state: "ready", "delayed", "done", "dead", "cancelled" or "in_doubt".
        delay: seconds until it is ready again, if delayed.
        counts: whether it counts as a failed attempt.
        keep: seconds until it leaves the database; None to keep it.
        response: what is stored of the response.
        follows: whether a batch or a chain waits for its end.
        answer: the JSON that it answered with, for the next of its chain.
        frees: whether others may be waiting for one job less of its task to run.
        durable: whether it must be on disk before anyone is told.
    """

    number: int
    attempt: int
    state: State
    delay: float = 0.0
    counts: bool = False
    status: int | None = None
    error: str | None = None
    stderr: str | None = attrs.field(default=None, repr=False)
    keep: float | None = None
    response: StoredResponse | None = None
    follows: bool = False
    answer: str | None = attrs.field(default=None, repr=False)
    frees: bool = False
    durable: bool = True


@attrs.frozen(kw_only=True)
class Limits:
    """What a claim has to observe of a task.

    Attributes:
        task: its name.
        on_loss: what becomes of its jobs if the claimer is lost: "again", "hold" or "dead".
        attempts: how many may fail before a job is dead.
        rate: how many may begin, and in how many seconds; None for any number.
        running: how many may run at once; None for any number.
    """

    task: str
    on_loss: Literal["again", "hold", "dead"]
    attempts: int
    rate: tuple[int, float] | None = None
    running: int | None = None


@attrs.frozen(kw_only=True)
class Lane:
    """A queue that a worker takes from.

    Attributes:
        queue: its name.
        weight: its part beside the other queues', 1 or more.
        tasks: those whose jobs it holds.
    """

    queue: str
    weight: int
    tasks: tuple[Limits, ...]


@attrs.frozen(kw_only=True)
class Query:
    """Which jobs are meant. What is None or empty does not matter.

    Attributes:
        queue: of their tasks, as the last worker that runs them said.
        older: jobs that ended, or began last, so many seconds ago at least.
        after: jobs whose number is higher.
        limit: so many at most, in the order of their numbers.
        content: whether the stored response is read too.
    """

    ids: tuple[str, ...] = ()
    states: tuple[State, ...] = ()
    task: str | None = None
    batch: str | None = None
    queue: str | None = None
    older: float | None = None
    after: int = 0
    limit: int = 100
    content: bool = False


@attrs.frozen(kw_only=True)
class WorkerRecord:
    """A worker that has announced itself.

    Attributes:
        id: its name; it is the name of a file too.
        seen: when it was known to be there.
    """

    id: str
    host: str
    pid: int
    started: float
    seen: float


@attrs.frozen(kw_only=True)
class Counts:
    """How many jobs there are.

    Attributes:
        states: by state, 0 included.
        tasks: by task and state.
        paused: queues that are.
        oldest: seconds for which the oldest ready job has been due; None if none is.
        workers: those that are announced.
        queues: by task, as the last worker that runs it said.
        ages: by task, the seconds for which its oldest ready job has been due.
    """

    states: Mapping[State, int]
    tasks: Mapping[str, Mapping[State, int]]
    paused: tuple[str, ...]
    oldest: float | None
    workers: tuple[WorkerRecord, ...]
    queues: Mapping[str, str] = attrs.field(factory=dict)
    ages: Mapping[str, float] = attrs.field(factory=dict)

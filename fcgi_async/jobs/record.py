"""Values that stores and their callers share: the records of jobs, and the arguments of calls.

Times are seconds since 1970 by the database's clock: the machine's with SQLite, otherwise the server's.
"""

from __future__ import annotations

import json
import os
import time
from collections import ChainMap
from collections.abc import Iterable, Mapping
from typing import Final, Literal

import attrs

__all__ = (
    "FINISHED",
    "STATES",
    "BatchRecord",
    "Claimed",
    "Counts",
    "Key",
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
    "add_counts",
    "new_id",
    "new_ids",
)

# the number, id and attempt of a claimed job: a server that lost its last transactions may give a number again, and a
# client its id
Key = tuple[int, str | None, int]

State = Literal["delayed", "ready", "running", "done", "dead", "cancelled", "in_doubt"]
STATES: Final[tuple[State, ...]] = ("delayed", "ready", "running", "done", "dead", "cancelled", "in_doubt")
# states that do not change, unless a person retries the job
FINISHED: Final[frozenset[State]] = frozenset({"done", "dead", "cancelled"})


def new_id() -> str:
    """Return an id for a job: 32 hexadecimal digits, the first 12 of which are the time in milliseconds."""
    return new_ids(1)[0]


def new_ids(count: int) -> list[str]:
    """Return ids for several jobs, as `new_id()` makes them."""
    now, digits = f"{time.time_ns() // 1_000_000:012x}", os.urandom(10 * count).hex()
    return [now + digits[begin : begin + 20] for begin in range(0, 20 * count, 20)]


@attrs.frozen(kw_only=True)
class NewJob:
    """A job to be put.

    Attributes:
        id: chosen by the client; putting it twice stores it once.
        task: the task's name.
        data: JSON.
        delay: seconds until it may run.
        unique: a key that at most one job of its task holds, until it is done and `unique_for` seconds have passed.
        batch: the id of the batch that counts it.
        chain: the jobs that follow when it is done, as JSON.
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
        id: chosen by the client; storing it twice stores it once.
        next_done: the jobs to put when all of its jobs are done, as JSON.
        next_failed: the jobs to put when one of its jobs has failed, as JSON.
    """

    id: str
    next_done: str | None = None
    next_failed: str | None = None


@attrs.frozen(kw_only=True)
class BatchRecord:
    """The record of a batch.

    Attributes:
        open: whether jobs may still be added.
        total: number of jobs that were added.
        pending: number of jobs that have not ended.
        failed: number of jobs that are dead, cancelled or in doubt; plus 1 if the batch was abandoned.
        finished: when the last job ended; None if it has not, or the batch is open.
    """

    id: str
    open: bool
    total: int
    pending: int
    failed: int
    finished: float | None


@attrs.frozen(kw_only=True)
class Claimed:
    """A job that a worker has claimed, with what it needs to run it.

    Attributes:
        number: its number in the database.
        attempt: the number of this claim; a settlement is valid only for it.
        failed: number of earlier attempts that counted as failed.
        follows: whether a batch or a chain waits for its end.
        answers: whether the next job of its chain gets its answer.
        taken: when it was claimed, by the worker's monotonic clock.
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

    @property
    def key(self) -> Key:
        """What tells it apart from all other claims of the worker."""
        return self.number, self.id, self.attempt


@attrs.frozen(kw_only=True)
class StoredResponse:
    """The stored response of a done job.

    Attributes:
        status: the HTTP status.
        headers: the headers, by lower-case names.
        content: the body.
    """

    status: int
    headers: Mapping[str, str]
    content: bytes = attrs.field(repr=False)

    @property
    def text(self) -> str:
        """The body as UTF-8; bytes that cannot be decoded are replaced."""
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
    """The record of a job.

    Attributes:
        number: the order in which jobs were put.
        id: its id, chosen by the client.
        queue: the queue of its task, as reported by the last worker of the task; None if there was none.
        data: JSON.
        due: when it may run.
        attempt: how many times it was claimed.
        failed: number of attempts that counted as failed.
        worker: the worker that has it; None if no worker has.
        started: when it was last claimed.
        finished: when it was done, dead or cancelled.
        unique: the key that it holds now.
        progress: the progress that the script reported, out of `progress_of`.
        cancel: whether it will be cancelled instead of retried.
        status: the status of its last response.
        error: what was wrong with its last attempt.
        stderr: what PHP wrote to STDERR meanwhile.
        keep_until: when it is deleted.
        response: the stored response, if requested.
        lengths: of those that were read in part only, "data", "chain", "error", "stderr" and "response": how long they
            are in whole, in characters, and the response's body in bytes.
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
    lengths: Mapping[str, int] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class Settlement:
    """The end of an attempt; it is written only if the same worker still holds the same attempt.

    Attributes:
        id: its job's id: a server that lost its last transactions may give a number again. None for a job that was
            read in the same transaction.
        state: "ready", "delayed", "done", "dead", "cancelled" or "in_doubt".
        delay: seconds until it is ready again, if delayed.
        counts: whether it counts as a failed attempt.
        keep: seconds until it is deleted; None to keep it.
        response: the response to store.
        follows: whether a batch or a chain waits for its end.
        answer: its JSON answer, for the next job of its chain.
        frees: whether other jobs may be waiting for fewer running jobs of its task.
        durable: whether it must be on disk before it is reported.
    """

    number: int
    attempt: int
    state: State
    id: str | None = None
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

    @property
    def key(self) -> Key:
        """The key of the claim that it settles."""
        return self.number, self.id, self.attempt


@attrs.frozen(kw_only=True)
class Limits:
    """The limits of a task that a claim must respect.

    Attributes:
        task: its name.
        on_loss: what happens to its jobs if the worker is lost: "again", "hold" or "dead".
        attempts: number of failed attempts after which a job is dead.
        rate: most jobs that may start, and in how many seconds; None for no limit.
        running: most jobs that may run at once; None for no limit.
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
        weight: its weight relative to other queues, 1 or more.
        tasks: the tasks whose jobs it has.
    """

    queue: str
    weight: int
    tasks: tuple[Limits, ...]


@attrs.frozen(kw_only=True)
class Query:
    """Selects jobs. A criterion that is None or empty matches all jobs.

    Attributes:
        queue: the queue of their tasks, as reported by the tasks' last worker.
        older: jobs that ended, or last began, at least this many seconds ago.
        after: jobs whose number is higher.
        limit: most jobs to return, in the order of their numbers.
        content: whether the stored response is read too.
        data: whether long values are read: data, chain and all of stderr; otherwise only the end of stderr is.
        most: how much is read of each of what may be long: characters of data, chain, error and stderr, and bytes of
            the response's body.
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
    data: bool = True
    most: int | None = None


@attrs.frozen(kw_only=True)
class WorkerRecord:
    """A registered worker.

    Attributes:
        id: its name; also the name of a file.
        seen: when it was last known to exist.
    """

    id: str
    host: str
    pid: int
    started: float
    seen: float


@attrs.frozen(kw_only=True)
class Counts:
    """Numbers of jobs.

    Attributes:
        states: number of jobs by state, including 0.
        tasks: number of jobs by task and state.
        paused: the paused queues.
        oldest: seconds for which the oldest ready job has been due; None if there is none.
        workers: the registered workers.
        queues: the queue of each task, as reported by its last worker.
        ages: for each task, the seconds for which its oldest ready job has been due.
    """

    states: Mapping[State, int]
    tasks: Mapping[str, Mapping[State, int]]
    paused: tuple[str, ...]
    oldest: float | None
    workers: tuple[WorkerRecord, ...]
    queues: Mapping[str, str] = attrs.field(factory=dict)
    ages: Mapping[str, float] = attrs.field(factory=dict)


def add_counts(seen: Iterable[Counts | None]) -> Counts | None:
    """Return what several databases have together, as far as they were counted; None if none was."""
    counted = [counts for counts in seen if counts is not None]
    if len(counted) < 2:
        return counted[0] if counted else None
    return Counts(
        states={state: sum(counts.states.get(state, 0) for counts in counted) for state in STATES},
        tasks=dict(ChainMap(*(dict(counts.tasks) for counts in counted))),
        paused=tuple(sorted({queue for counts in counted for queue in counts.paused})),
        oldest=max((counts.oldest for counts in counted if counts.oldest is not None), default=None),
        workers=tuple({worker.id: worker for counts in counted for worker in counts.workers}.values()),
        queues=dict(ChainMap(*(dict(counts.queues) for counts in counted))),
        ages=dict(ChainMap(*(dict(counts.ages) for counts in counted))),
    )

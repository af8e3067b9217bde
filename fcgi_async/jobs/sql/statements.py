"""The statements that all dialects share.

`:name` is a parameter, which each dialect writes in its own way. A dialect also fills in what stands in braces:

- {now}: the time in milliseconds
- {locked}: ends a SELECT, and locks its rows
- {skip_locked}: the same, without the rows that others have locked
- {shared}: ends a SELECT, and keeps others from deleting its rows
- {or_nothing}: ends an INSERT, which then does nothing if the row exists
- {free}: the condition that a row is the job `:number` and, if the database can tell at once, that no other
  transaction has locked it
- {length}: the function that counts the characters of a text

A client with write access may keep a job's row locked for any time. So a worker's statements skip such rows, and the
worker tries them again later.

A statement that reads the table it changes does so in a derived table, because MySQL requires it. `state` is set last,
because MySQL's later assignments see the earlier ones.
"""

from __future__ import annotations

from typing import Final

__all__ = (
    "AGES",
    "ANNOUNCED",
    "BURY",
    "CANCEL",
    "CANCEL_RUNNING",
    "CLAIMED_COLUMNS",
    "COUNTS",
    "FAULTS",
    "FIND_BRIEFLY",
    "FIND_COLUMNS",
    "FOLLOWS",
    "HAS_ID",
    "HAS_JOBS",
    "HELD",
    "HOLDER",
    "HOLDERS",
    "HOW_MANY",
    "INSERT",
    "INSERT_COLUMNS",
    "IN_DOUBT",
    "IN_HAND",
    "IN_HANDS",
    "IS_HELD",
    "LEAVE",
    "LOCK_READY",
    "LONG",
    "LOOK_READY",
    "MAKE_QUEUE",
    "MAKE_RATE",
    "MAKE_TASK",
    "NEXT_DUE",
    "NOTE",
    "OF_WORKER",
    "OLDEST",
    "ORPHANS",
    "OUT_OF_LEASE",
    "PAUSED",
    "PROMOTE",
    "PURGE",
    "READY",
    "READ_RATE",
    "REGISTER",
    "RELEASE_KEYS",
    "RELEASE_UNIQUE",
    "RETAKE",
    "RETRY",
    "SEEN",
    "SETTLE",
    "SETTLE_ANYWAY",
    "SET_QUEUE",
    "SET_TASK",
    "SWEEP",
    "TAKE",
    "TASKS",
    "WATCH",
    "WORKERS",
    "WRITE_RATE",
)

INSERT_COLUMNS: Final = (
    "id",
    "task",
    "data",
    "state",
    "priority",
    "created",
    "due",
    "unique_key",
    "unique_until",
    "batch",
    "chain",
    "trace",
)
INSERT: Final = f"""INSERT INTO fcgi_jobs ({", ".join(INSERT_COLUMNS)}) VALUES (
    :id, :task, :data, :state, :priority, {{now}}, {{now}} + :delay, :unique_key, {{now}} + :unique_for, :batch, :chain,
    :trace){{or_nothing}}"""

# a key that was held for longer than its job
RELEASE_UNIQUE: Final = """UPDATE fcgi_jobs SET unique_key = NULL, unique_until = NULL
    WHERE task = :task AND unique_key = :unique_key AND unique_until <= {now}
    AND state IN ('done', 'dead', 'cancelled')"""
HOLDER: Final = "SELECT id FROM fcgi_jobs WHERE task = :task AND unique_key = :unique_key"
HAS_ID: Final = "SELECT number FROM fcgi_jobs WHERE id = :id"

PROMOTE: Final = """UPDATE fcgi_jobs SET state = 'ready' WHERE number IN (SELECT number FROM (
    SELECT number FROM fcgi_jobs WHERE state = 'delayed' AND due <= {now}
    ORDER BY due LIMIT 500{skip_locked}) AS found)"""
# the difference is not computed here: it may be too large for a number
NEXT_DUE: Final = "SELECT min(due), {now} FROM fcgi_jobs WHERE state = 'delayed'"
PAUSED: Final = "SELECT name FROM fcgi_queues WHERE paused = 1"
LOOK_READY: Final = """SELECT number, priority, due FROM fcgi_jobs WHERE state = 'ready' AND task = :task
    ORDER BY priority DESC, due, number LIMIT :count"""
LOCK_READY: Final = "SELECT number FROM fcgi_jobs WHERE state = 'ready'"
READY: Final = f"{LOOK_READY}{{skip_locked}}"
IN_HANDS: Final = "SELECT count(*) FROM fcgi_jobs WHERE worker IS NOT NULL AND task = :task"
CLAIMED_COLUMNS: Final = "number, id, task, data, attempt, failed, created, due, trace, batch, chain"
TAKE: Final = """UPDATE fcgi_jobs SET worker = :worker,
    attempt = CASE WHEN attempt < 2147483647 THEN attempt + 1 ELSE 2147483647 END,
    on_loss = :on_loss, attempts = :attempts, started = {now}, progress = NULL, progress_of = NULL, state = 'running'"""

# for an unreadable job; it is never claimed again, and a person can delete it
BURY: Final = """UPDATE fcgi_jobs SET id = :id, worker = NULL, on_loss = NULL, finished = {now}, error = :error,
    state = 'dead' WHERE number = :number"""

READ_RATE: Final = "SELECT arrival, {now} FROM fcgi_rates WHERE task = :task{locked}"
MAKE_RATE: Final = "INSERT INTO fcgi_rates (task, arrival) VALUES (:task, 0){or_nothing}"
WRITE_RATE: Final = "UPDATE fcgi_rates SET arrival = :arrival WHERE task = :task"

_SETTLE: Final = """UPDATE fcgi_jobs SET worker = NULL, on_loss = NULL, cancel = 0,
    due = CASE WHEN :delay IS NULL THEN due ELSE {now} + :delay END,
    failed = CASE WHEN failed < 2147483647 THEN failed + :counts ELSE failed END,
    finished = CASE WHEN :final = 1 THEN {now} ELSE NULL END,
    keep_until = CASE WHEN :final = 1 AND unique_key IS NOT NULL AND unique_until > {now} + :keep THEN unique_until
        ELSE {now} + :keep END,
    unique_key = CASE WHEN :final = 1 AND unique_until <= {now} THEN NULL ELSE unique_key END,
    unique_until = CASE WHEN :final = 1 AND unique_until <= {now} THEN NULL ELSE unique_until END,
    status = :status, error = :error, stderr = :stderr, result_headers = :headers, result = :result, state = :state
    WHERE {free} AND id = coalesce(:id, id) AND worker = :worker AND attempt = :attempt"""
# the usual case, which matches nothing if the script has completed the job itself, or it was cancelled
SETTLE: Final = f"{_SETTLE} AND state = 'running' AND cancel = 0"
SETTLE_ANYWAY: Final = _SETTLE
IS_HELD: Final = """SELECT state, cancel FROM fcgi_jobs
    WHERE number = :number AND id = coalesce(:id, id) AND worker = :worker AND attempt = :attempt"""
HELD: Final = f"{IS_HELD}{{skip_locked}}"

FOLLOWS: Final = "SELECT id, batch, chain FROM fcgi_jobs WHERE number = :number"

OF_WORKER: Final = """SELECT number, attempt, id, state, failed, on_loss, attempts, batch, chain FROM fcgi_jobs
    WHERE worker = :worker ORDER BY number{skip_locked}"""
IN_HAND: Final = "SELECT number, attempt, id FROM fcgi_jobs WHERE worker = :worker ORDER BY number"
HAS_JOBS: Final = "SELECT number FROM fcgi_jobs WHERE worker = :worker LIMIT 1"
HOLDERS: Final = """SELECT DISTINCT worker FROM fcgi_jobs WHERE worker IS NOT NULL
    UNION SELECT id FROM fcgi_workers"""
REGISTER: Final = """INSERT INTO fcgi_workers (id, host, pid, started, seen, lease)
    VALUES (:worker, :host, :pid, {now}, {now}, {now} + :lease)"""
LEAVE: Final = "DELETE FROM fcgi_workers WHERE id = :worker"
# always another value: MySQL does not count an unchanged row, and a cluster does not detect a conflict over it
SEEN: Final = """UPDATE fcgi_workers SET seen = {now}, watched = 0, looked = NULL,
    lease = CASE WHEN lease = {now} + :lease THEN lease + 1 ELSE {now} + :lease END WHERE id = :worker"""
# a claiming worker must be registered, and must not be considered lost meanwhile
ANNOUNCED: Final = "SELECT id FROM fcgi_workers WHERE id = :worker{shared}"
# the workers whose lease is over, and whether each is dead: the server must have answered for as long as the lease, to
# the worker that asks or to several in turn, which add up the time twice a second
OUT_OF_LEASE: Final = """SELECT id, CASE WHEN lease - seen <= :watched OR lease - seen <= watched THEN 'dead'
    WHEN looked BETWEEN {now} - 400 AND {now} THEN 'later' ELSE 'watch' END
    FROM fcgi_workers WHERE lease <= {now} ORDER BY id{skip_locked}"""
# of the time between two looks one second at most is known to be without an outage
WATCH: Final = """UPDATE fcgi_workers SET watched = watched + CASE WHEN looked IS NULL THEN 0
    WHEN looked BETWEEN {now} - 1000 AND {now} THEN {now} - looked ELSE 1000 END, looked = {now}
    WHERE id = :worker AND lease <= {now}"""
# workers with jobs that are not registered
ORPHANS: Final = """SELECT DISTINCT worker FROM fcgi_jobs WHERE worker IS NOT NULL
    AND NOT EXISTS (SELECT 1 FROM fcgi_workers WHERE id = worker)"""
# a claim that the database has lost, because it crashed before the claim was on disk; by id too, since it may have
# given the number of a lost job to another one
RETAKE: Final = """UPDATE fcgi_jobs SET worker = :worker, on_loss = :on_loss, attempts = :attempts, started = {now},
    attempt = :attempt, state = 'running'
    WHERE number = :number AND id = coalesce(:id, id) AND attempt = :attempt - 1 AND worker IS NULL
    AND state IN ('ready', 'delayed')"""
WORKERS: Final = "SELECT id, host, pid, started, seen FROM fcgi_workers ORDER BY started, id"

HOW_MANY: Final = "SELECT count(*) FROM fcgi_workers"

MAKE_TASK: Final = "INSERT INTO fcgi_tasks (name, queue, seen) VALUES (:task, :queue, {now}){or_nothing}"
SET_TASK: Final = "UPDATE fcgi_tasks SET queue = :queue, seen = {now} WHERE name = :task"
MAKE_QUEUE: Final = "INSERT INTO fcgi_queues (name, paused) VALUES (:queue, 0){or_nothing}"
SET_QUEUE: Final = "UPDATE fcgi_queues SET paused = :paused WHERE name = :queue"

FIND_COLUMNS: Final = """j.number, j.id, j.task, t.queue, j.data, j.state, j.priority, j.created, j.due, j.attempt,
    j.failed, j.worker, j.started, j.finished, j.unique_key, j.batch, j.chain, j.trace, j.progress, j.progress_of,
    j.cancel, j.status, j.error, j.stderr, j.keep_until"""

# the same without long values
FIND_BRIEFLY: Final = (
    FIND_COLUMNS.replace("j.data", "''")
    .replace("j.chain", "NULL")
    .replace(
        "j.stderr",
        "CASE WHEN {length}(j.stderr) > 1000 THEN substr(j.stderr, {length}(j.stderr) - 999) ELSE j.stderr END",
    )
)

# what is read in part if it is too long
LONG: Final = {
    "data": "j.data",
    "chain": "j.chain",
    "error": "j.error",
    "stderr": "j.stderr",
    "response": "j.result",
}

# each by an index that has only such rows; `state` is literal so that partial indexes are seen to fit
COUNTS: Final = (
    "SELECT 'ready', task, count(*) FROM fcgi_jobs WHERE state = 'ready' GROUP BY task",
    "SELECT 'delayed', task, count(*) FROM fcgi_jobs WHERE state = 'delayed' GROUP BY task",
    "SELECT 'running', task, count(*) FROM fcgi_jobs WHERE worker IS NOT NULL GROUP BY task",
    """SELECT state, task, count(*) FROM fcgi_jobs WHERE state IN ('dead', 'in_doubt') GROUP BY state, task""",
    """SELECT state, task, count(*) FROM fcgi_jobs
    WHERE keep_until IS NOT NULL AND state IN ('done', 'cancelled') GROUP BY state, task""",
)
AGES: Final = "SELECT task, min(due) FROM fcgi_jobs WHERE state = 'ready' GROUP BY task"
TASKS: Final = "SELECT name, queue FROM fcgi_tasks"
OLDEST: Final = "SELECT min(due), {now} FROM fcgi_jobs WHERE state = 'ready'"

# rows that another program's INSERT or UPDATE may have left, and that no worker will ever take
FAULTS: Final = (
    (
        "SELECT count(*) FROM fcgi_jobs WHERE state = 'running' AND worker IS NULL",
        "are running but no worker has them: set their state to 'in_doubt'",
    ),
    (
        "SELECT count(*) FROM fcgi_jobs WHERE worker IS NOT NULL AND state NOT IN ('running', 'done')",
        "are not running but have a worker: set worker to NULL",
    ),
    (
        "SELECT count(*) FROM fcgi_jobs WHERE worker IS NULL AND state IN ('done', 'cancelled') AND keep_until IS NULL",
        "have ended and will never be deleted: purge them",
    ),
)

RETRY: Final = """UPDATE fcgi_jobs SET failed = 0, due = {now}, finished = NULL, keep_until = NULL, cancel = 0,
    state = 'ready' WHERE number = :number AND worker IS NULL"""
CANCEL: Final = """UPDATE fcgi_jobs SET finished = {now},
    keep_until = CASE WHEN unique_key IS NOT NULL AND unique_until > {now} + :keep THEN unique_until
        ELSE {now} + :keep END,
    unique_key = CASE WHEN unique_until <= {now} THEN NULL ELSE unique_key END,
    unique_until = CASE WHEN unique_until <= {now} THEN NULL ELSE unique_until END, state = 'cancelled'
    WHERE number = :number AND worker IS NULL"""
CANCEL_RUNNING: Final = "UPDATE fcgi_jobs SET cancel = 1 WHERE number = :number AND state = 'running'"
IN_DOUBT: Final = "SELECT number FROM fcgi_jobs WHERE id = :id AND state = 'in_doubt'{skip_locked}"
NOTE: Final = "UPDATE fcgi_jobs SET error = :error WHERE number = :number"
PURGE: Final = "DELETE FROM fcgi_jobs WHERE number = :number AND worker IS NULL"
# keys that were held for longer than their jobs; a client with its own INSERT cannot release them
RELEASE_KEYS: Final = """UPDATE fcgi_jobs SET unique_key = NULL, unique_until = NULL WHERE number IN (
    SELECT number FROM (SELECT number FROM fcgi_jobs WHERE unique_until <= {now} AND unique_key IS NOT NULL
    AND state IN ('done', 'dead', 'cancelled') LIMIT 500{skip_locked}) AS found)"""
# by its state too: an UPDATE of others may have made ready what was done
SWEEP: Final = """DELETE FROM fcgi_jobs WHERE number IN (SELECT number FROM (
    SELECT number FROM fcgi_jobs WHERE keep_until <= {now} AND state IN ('done', 'dead', 'cancelled')
    ORDER BY keep_until LIMIT 1000{skip_locked}) AS found) AND worker IS NULL"""

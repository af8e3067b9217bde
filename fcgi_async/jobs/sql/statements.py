"""The statements that all dialects share.

`:name` is a parameter; a dialect writes it in its own way, and fills in what stands in braces:
{now} the time in milliseconds, {skip_locked} what locks the rows of a SELECT and leaves out those locked by others,
{locked} what locks the rows of a SELECT, {or_nothing} what makes an INSERT of what is there already do nothing.

A statement that looks at the rows it changes does so in a derived table, as MySQL wants it; and `state` is set last,
since MySQL reads what it has set before.
"""

from __future__ import annotations

from typing import Final

__all__ = (
    "AGES",
    "CANCEL",
    "CANCEL_RUNNING",
    "CLAIMED_COLUMNS",
    "COUNTS",
    "FAULTS",
    "FIND_COLUMNS",
    "FOLLOWS",
    "HAS_ID",
    "HELD",
    "HOLDER",
    "HOLDERS",
    "INSERT",
    "INSERT_COLUMNS",
    "IN_HANDS",
    "LEAVE",
    "MAKE_QUEUE",
    "MAKE_RATE",
    "MAKE_TASK",
    "NEXT_DUE",
    "NOTE",
    "OF_WORKER",
    "OLDEST",
    "PAUSED",
    "PROMOTE",
    "PURGE",
    "READY",
    "READ_RATE",
    "REGISTER",
    "RELEASE_UNIQUE",
    "RETRY",
    "SEEN",
    "SETTLE",
    "SETTLE_ANYWAY",
    "SET_QUEUE",
    "SET_TASK",
    "SWEEP",
    "TAKE",
    "TASKS",
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

# a key that was held for a time longer than its job lived
RELEASE_UNIQUE: Final = """UPDATE fcgi_jobs SET unique_key = NULL
    WHERE task = :task AND unique_key = :unique_key AND unique_until <= {now}
    AND state IN ('done', 'dead', 'cancelled')"""
HOLDER: Final = "SELECT id FROM fcgi_jobs WHERE task = :task AND unique_key = :unique_key"
HAS_ID: Final = "SELECT number FROM fcgi_jobs WHERE id = :id"

PROMOTE: Final = """UPDATE fcgi_jobs SET state = 'ready' WHERE number IN (SELECT number FROM (
    SELECT number FROM fcgi_jobs WHERE state = 'delayed' AND due <= {now}
    ORDER BY due LIMIT 500{skip_locked}) AS found)"""
NEXT_DUE: Final = "SELECT min(due) - {now} FROM fcgi_jobs WHERE state = 'delayed'"
PAUSED: Final = "SELECT name FROM fcgi_queues WHERE paused = 1"
READY: Final = """SELECT number, priority, due FROM fcgi_jobs WHERE state = 'ready' AND task = :task
    ORDER BY priority DESC, due, number LIMIT :count{skip_locked}"""
IN_HANDS: Final = "SELECT count(*) FROM fcgi_jobs WHERE worker IS NOT NULL AND task = :task"
CLAIMED_COLUMNS: Final = "number, id, task, data, attempt, failed, created, due, trace, batch, chain"
TAKE: Final = """UPDATE fcgi_jobs SET worker = :worker, attempt = attempt + 1, on_loss = :on_loss, attempts = :attempts,
    started = {now}, progress = NULL, progress_of = NULL, state = 'running' WHERE number = :number"""

READ_RATE: Final = "SELECT arrival, {now} FROM fcgi_rates WHERE task = :task{locked}"
MAKE_RATE: Final = "INSERT INTO fcgi_rates (task, arrival) VALUES (:task, 0){or_nothing}"
WRITE_RATE: Final = "UPDATE fcgi_rates SET arrival = :arrival WHERE task = :task"

_SETTLE: Final = """UPDATE fcgi_jobs SET worker = NULL, on_loss = NULL, cancel = 0,
    due = CASE WHEN :delay IS NULL THEN due ELSE {now} + :delay END,
    failed = failed + :counts,
    finished = CASE WHEN :final = 1 THEN {now} ELSE NULL END,
    keep_until = {now} + :keep,
    unique_key = CASE WHEN :final = 1 AND unique_until <= {now} THEN NULL ELSE unique_key END,
    status = :status, error = :error, stderr = :stderr, result_headers = :headers, result = :result, state = :state
    WHERE number = :number AND worker = :worker AND attempt = :attempt"""
# the usual way, which finds nothing where the script has completed the job itself, or somebody has cancelled it
SETTLE: Final = f"{_SETTLE} AND state = 'running' AND cancel = 0"
SETTLE_ANYWAY: Final = _SETTLE
HELD: Final = """SELECT state, cancel FROM fcgi_jobs
    WHERE number = :number AND worker = :worker AND attempt = :attempt{locked}"""

FOLLOWS: Final = "SELECT id, batch, chain FROM fcgi_jobs WHERE number = :number"

OF_WORKER: Final = """SELECT number, attempt, state, failed, on_loss, attempts, batch, chain FROM fcgi_jobs
    WHERE worker = :worker ORDER BY number{locked}"""
HOLDERS: Final = """SELECT DISTINCT worker FROM fcgi_jobs WHERE worker IS NOT NULL
    UNION SELECT id FROM fcgi_workers"""
REGISTER: Final = """INSERT INTO fcgi_workers (id, host, pid, started, seen, lease)
    VALUES (:worker, :host, :pid, {now}, {now}, {now} + :lease)"""
LEAVE: Final = "DELETE FROM fcgi_workers WHERE id = :worker"
SEEN: Final = "UPDATE fcgi_workers SET seen = {now}, lease = {now} + :lease WHERE id = :worker"
WORKERS: Final = "SELECT id, host, pid, started, seen FROM fcgi_workers ORDER BY started, id"

MAKE_TASK: Final = "INSERT INTO fcgi_tasks (name, queue, seen) VALUES (:task, :queue, {now}){or_nothing}"
SET_TASK: Final = "UPDATE fcgi_tasks SET queue = :queue, seen = {now} WHERE name = :task"
MAKE_QUEUE: Final = "INSERT INTO fcgi_queues (name, paused) VALUES (:queue, 0){or_nothing}"
SET_QUEUE: Final = "UPDATE fcgi_queues SET paused = :paused WHERE name = :queue"

FIND_COLUMNS: Final = """j.number, j.id, j.task, t.queue, j.data, j.state, j.priority, j.created, j.due, j.attempt,
    j.failed, j.worker, j.started, j.finished, j.unique_key, j.batch, j.chain, j.trace, j.progress, j.progress_of,
    j.cancel, j.status, j.error, j.stderr, j.keep_until"""

# each by an index that has only such rows; `state` is literal so that partial indexes are seen to fit
COUNTS: Final = (
    "SELECT 'ready', task, count(*) FROM fcgi_jobs WHERE state = 'ready' GROUP BY task",
    "SELECT 'delayed', task, count(*) FROM fcgi_jobs WHERE state = 'delayed' GROUP BY task",
    "SELECT 'running', task, count(*) FROM fcgi_jobs WHERE worker IS NOT NULL GROUP BY task",
    """SELECT state, task, count(*) FROM fcgi_jobs WHERE state IN ('dead', 'in_doubt') GROUP BY state, task""",
    """SELECT state, task, count(*) FROM fcgi_jobs
    WHERE keep_until IS NOT NULL AND state IN ('done', 'cancelled') GROUP BY state, task""",
)
AGES: Final = "SELECT task, {now} - min(due) FROM fcgi_jobs WHERE state = 'ready' GROUP BY task"
TASKS: Final = "SELECT name, queue FROM fcgi_tasks"
OLDEST: Final = "SELECT {now} - min(due) FROM fcgi_jobs WHERE state = 'ready'"

# what an INSERT or UPDATE of others may have left, and nobody will ever look at
FAULTS: Final = (
    (
        "SELECT count(*) FROM fcgi_jobs WHERE state = 'running' AND worker IS NULL",
        "are running and no worker has them: set their state to 'in_doubt'",
    ),
    (
        "SELECT count(*) FROM fcgi_jobs WHERE worker IS NOT NULL AND state NOT IN ('running', 'done')",
        "do not run and have a worker: set worker to NULL",
    ),
    (
        "SELECT count(*) FROM fcgi_jobs WHERE worker IS NULL AND state IN ('done', 'cancelled') AND keep_until IS NULL",
        "have ended and will never be deleted: purge them",
    ),
)

RETRY: Final = """UPDATE fcgi_jobs SET failed = 0, due = {now}, finished = NULL, keep_until = NULL, cancel = 0,
    state = 'ready' WHERE number = :number AND worker IS NULL"""
CANCEL: Final = """UPDATE fcgi_jobs SET finished = {now}, keep_until = {now} + :keep,
    unique_key = CASE WHEN unique_until <= {now} THEN NULL ELSE unique_key END, state = 'cancelled'
    WHERE number = :number AND worker IS NULL"""
CANCEL_RUNNING: Final = "UPDATE fcgi_jobs SET cancel = 1 WHERE number = :number AND state = 'running'"
NOTE: Final = "UPDATE fcgi_jobs SET error = :error WHERE id = :id AND state = 'in_doubt'"
PURGE: Final = "DELETE FROM fcgi_jobs WHERE number = :number AND worker IS NULL"
SWEEP: Final = """DELETE FROM fcgi_jobs WHERE number IN (SELECT number FROM (
    SELECT number FROM fcgi_jobs WHERE keep_until <= {now} ORDER BY keep_until LIMIT 1000) AS found)
    AND worker IS NULL"""

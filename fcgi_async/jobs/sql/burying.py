"""Read claimed jobs: other programs can write to the tables, and an unreadable job must not stop the others."""

from __future__ import annotations

import logging
from typing import Final, cast

from fcgi_async.jobs.record import Claimed
from fcgi_async.jobs.shown import shown
from fcgi_async.jobs.sql.batches import Ended, follow
from fcgi_async.jobs.sql.dialect import Dialect, Row, Undecodable
from fcgi_async.jobs.sql.statements import BURY
from fcgi_async.jobs.successors import wants_answer

__all__ = ("bury", "read_claimed")

logger = logging.getLogger("fcgi_async.jobs")

# in the order of `CLAIMED_COLUMNS`
_NUMBERS: Final = ("attempt", "failed", "created", "due")
_TEXTS: Final = ("id", "task", "data")
_PERHAPS: Final = ("trace", "batch", "chain")
_LAST_ATTEMPT: Final = 2**31 - 1


def read_claimed(dialect: Dialect, row: Row) -> Claimed | None:
    """Return a claimed job; None if it cannot be read and was made dead."""
    number, id, task, data, attempt, failed, created, due, trace, batch, chain = row
    whole = dict(zip(_NUMBERS, (attempt, failed, created, due), strict=True))
    text = dict(zip(_TEXTS + _PERHAPS, (id, task, data, trace, batch, chain), strict=True))
    faults = [f"{name} must be a whole number" for name, value in whole.items() if not isinstance(value, int)]
    faults += [f"{name} must be UTF-8" for name, value in text.items() if isinstance(value, Undecodable)]
    faults += [
        f"{name} must be text, not {type(value).__name__}"
        for name, value in text.items()
        if not isinstance(value, str) and not (value is None and name in _PERHAPS)
    ]
    if attempt == _LAST_ATTEMPT:
        faults.append(f"attempt must be less than {_LAST_ATTEMPT}")
    if faults:
        name = bury(dialect, cast("int", number), id, "; ".join(faults))
        if isinstance(batch, str):
            follow(dialect, [Ended(name, batch, None, before="running", state="dead")])
        return None
    values = cast(
        "tuple[int, str, str, str, int, int, int, int, str | None, str | None, str | None]",
        (number, id, task, data, attempt, failed, created, due, trace, batch, chain),
    )
    return _claimed(*values)


def bury(dialect: Dialect, number: int, id: object, fault: str) -> str:
    """Make an unreadable job dead, with a readable id, and return that id."""
    name = id if isinstance(id, str) and not isinstance(id, Undecodable) else f"unreadable-{number}"
    error = f"the row cannot be read: {fault}; it was not started. Put the job again, and delete this one"
    dialect.change(BURY, {"number": number, "id": name, "error": dialect.storable(error)})
    dialect.will_ring("ends")
    logger.error("job %s is dead: %s", shown(name), error)
    return name


def _claimed(
    number: int,
    id: str,
    task: str,
    data: str,
    attempt: int,
    failed: int,
    created: int,
    due: int,
    trace: str | None,
    batch: str | None,
    chain: str | None,
) -> Claimed:
    return Claimed(
        number=number,
        id=id,
        task=task,
        data=data,
        attempt=attempt + 1,
        failed=failed,
        created=created / 1000,
        due=due / 1000,
        trace=trace,
        follows=batch is not None or chain is not None,
        answers=wants_answer(chain),
    )

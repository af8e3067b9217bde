"""Write how attempts ended."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, Literal, cast

import attrs

from fcgi_async.jobs.record import FINISHED, Settlement, State
from fcgi_async.jobs.sql.batches import Ended, follow
from fcgi_async.jobs.sql.dialect import Dialect
from fcgi_async.jobs.sql.statements import FOLLOWS, HELD, IS_HELD, SETTLE, SETTLE_ANYWAY

__all__ = ("KEEP", "settle")

# seconds for which a job is kept if it ended without a worker that decides
KEEP: Final = 600.0

# the state of a job that was settled, None if it is another worker's, and "locked" if another transaction has its row
_Outcome = State | Literal["locked"] | None


def settle(dialect: Dialect, worker: str, settlements: Sequence[Settlement]) -> list[bool | None]:
    """Write how attempts ended; see `Store.settle()`."""
    free = dialect.lock_free([settlement.number for settlement in settlements])
    usual = [settlement for settlement in settlements if settlement.number in free]
    changed = dialect.change_each(SETTLE, [_parameters(dialect, worker, settlement) for settlement in usual])
    written = {settlement.key for count, settlement in zip(changed, usual, strict=True) if count == 1}
    states = [
        settlement.state if settlement.key in written else _settle_anyway(dialect, worker, settlement)
        for settlement in settlements
    ]
    if any(settlement.state in FINISHED for settlement in settlements):
        dialect.will_ring("ends")
    if any(settlement.frees for settlement in settlements):
        dialect.will_ring("work")
    follow(dialect, _ended(dialect, zip(settlements, states, strict=True)))
    return [None if state == "locked" else state is not None for state in states]


def _ended(dialect: Dialect, settled: Iterable[tuple[Settlement, _Outcome]]) -> Iterator[Ended]:
    for settlement, state in settled:
        if state is None or state == "locked":
            continue
        if settlement.follows and state not in ("ready", "delayed"):
            [(id, batch, chain)] = dialect.query(FOLLOWS, {"number": settlement.number})
            names = cast("tuple[str, str | None, str | None]", (id, batch, chain))
            yield Ended(*names, before="running", state=state, answer=settlement.answer)


def _settle_anyway(dialect: Dialect, worker: str, settlement: Settlement) -> _Outcome:
    """Settle a job that its script has completed, or that was cancelled meanwhile; return its state.

    Return None if it no longer belongs to this worker.
    """
    parameters = _parameters(dialect, worker, settlement)
    rows = dialect.query(HELD, parameters)
    if not rows:
        return "locked" if dialect.query(IS_HELD, parameters) else None
    state, cancel = rows[0]
    if state == "done":
        settlement = attrs.evolve(settlement, state="done", counts=False, error=None, keep=settlement.keep or KEEP)
    elif cancel and settlement.state in ("ready", "delayed"):
        settlement = attrs.evolve(settlement, state="cancelled", keep=KEEP)
    return settlement.state if dialect.change(SETTLE_ANYWAY, _parameters(dialect, worker, settlement)) == 1 else None


def _parameters(dialect: Dialect, worker: str, settlement: Settlement) -> dict[str, object]:
    response, error, most = settlement.response, settlement.error, dialect.longest_response
    if response is not None and most is not None and len(response.content) > most:
        error = (
            f"the response of {len(response.content)} bytes was not stored: the database takes {most} in one message"
        )
        settlement, response = attrs.evolve(settlement, status=response.status), None
    return {
        "number": settlement.number,
        "id": settlement.id,
        "attempt": settlement.attempt,
        "worker": worker,
        "state": settlement.state,
        "delay": round(settlement.delay * 1000) if settlement.state == "delayed" else None,
        "counts": int(settlement.counts),
        "final": int(settlement.state in FINISHED),
        "keep": None if settlement.keep is None else round(settlement.keep * 1000),
        "status": settlement.status if response is None else response.status,
        "error": dialect.storable(error),
        "stderr": dialect.storable(settlement.stderr),
        "headers": None if response is None else json.dumps(dict(response.headers)),
        "result": None if response is None else response.content,
    }

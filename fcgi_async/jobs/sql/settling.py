"""Writing how attempts ended."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, cast

import attrs

from fcgi_async.jobs.record import FINISHED, Settlement, State
from fcgi_async.jobs.sql.batches import Ended, follow
from fcgi_async.jobs.sql.dialect import Dialect
from fcgi_async.jobs.sql.statements import FOLLOWS, HELD, SETTLE, SETTLE_ANYWAY

__all__ = ("KEEP", "settle")

# seconds for which what ended without a worker that would say is kept
KEEP: Final = 600.0


def settle(dialect: Dialect, worker: str, settlements: Sequence[Settlement]) -> list[bool]:
    """Write how attempts ended; see `Store.settle()`."""
    states = [_settle(dialect, worker, settlement) for settlement in settlements]
    if any(settlement.state in FINISHED for settlement in settlements):
        dialect.will_ring("ends")
    if any(settlement.frees for settlement in settlements):
        dialect.will_ring("work")
    follow(dialect, _ended(dialect, zip(settlements, states, strict=True)))
    return [state is not None for state in states]


def _ended(dialect: Dialect, settled: Iterable[tuple[Settlement, State | None]]) -> Iterator[Ended]:
    for settlement, state in settled:
        if settlement.follows and state is not None and state not in ("ready", "delayed"):
            [(id, batch, chain)] = dialect.query(FOLLOWS, {"number": settlement.number})
            names = cast("tuple[str, str | None, str | None]", (id, batch, chain))
            yield Ended(*names, before="running", state=state, answer=settlement.answer)


def _settle(dialect: Dialect, worker: str, settlement: Settlement) -> State | None:
    """Write how an attempt ended; return the state of the job, None if it is no longer this worker's."""
    parameters = _parameters(worker, settlement)
    if dialect.change(SETTLE, parameters) == 1:
        return settlement.state
    rows = dialect.query(HELD, parameters)
    if not rows:
        return None
    # the script has completed the job itself, or somebody has cancelled it meanwhile
    state, cancel = rows[0]
    if state == "done":
        settlement = attrs.evolve(settlement, state="done", counts=False, error=None, keep=settlement.keep or KEEP)
    elif cancel and settlement.state in ("ready", "delayed"):
        settlement = attrs.evolve(settlement, state="cancelled", keep=KEEP)
    return settlement.state if dialect.change(SETTLE_ANYWAY, _parameters(worker, settlement)) == 1 else None


def _parameters(worker: str, settlement: Settlement) -> dict[str, object]:
    response = settlement.response
    return {
        "number": settlement.number,
        "attempt": settlement.attempt,
        "worker": worker,
        "state": settlement.state,
        "delay": round(settlement.delay * 1000) if settlement.state == "delayed" else None,
        "counts": int(settlement.counts),
        "final": int(settlement.state in FINISHED),
        "keep": None if settlement.keep is None else round(settlement.keep * 1000),
        "status": settlement.status if response is None else response.status,
        "error": settlement.error,
        "stderr": settlement.stderr,
        "headers": None if response is None else json.dumps(dict(response.headers)),
        "result": None if response is None else response.content,
    }

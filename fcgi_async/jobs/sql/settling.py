"""Writing how attempts ended."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

import attrs

from fcgi_async.jobs.record import FINISHED, Settlement
from fcgi_async.jobs.sql.dialect import Dialect
from fcgi_async.jobs.sql.statements import HELD, SETTLE, SETTLE_ANYWAY

__all__ = ("KEEP", "settle")

# seconds for which what ended without a worker that would say is kept
KEEP: Final = 600.0


def settle(dialect: Dialect, worker: str, settlements: Sequence[Settlement]) -> list[bool]:
    """Write how attempts ended; see `Store.settle()`."""
    settled = [_settle(dialect, worker, settlement) for settlement in settlements]
    if any(settlement.state in FINISHED for settlement in settlements):
        dialect.will_ring("ends")
    return settled


def _settle(dialect: Dialect, worker: str, settlement: Settlement) -> bool:
    parameters = _parameters(worker, settlement)
    if dialect.change(SETTLE, parameters) == 1:
        return True
    rows = dialect.query(HELD, parameters)
    if not rows:
        return False
    # the script has completed the job itself, or somebody has cancelled it meanwhile
    state, cancel = rows[0]
    if state == "done":
        settlement = attrs.evolve(settlement, state="done", counts=False, error=None, keep=settlement.keep or KEEP)
    elif cancel and settlement.state in ("ready", "delayed"):
        settlement = attrs.evolve(settlement, state="cancelled", keep=KEEP)
    return dialect.change(SETTLE_ANYWAY, _parameters(worker, settlement)) == 1


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

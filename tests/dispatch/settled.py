"""When a dispatcher has come to rest."""

from __future__ import annotations

from fcgi_async import Dispatcher, Statistics
from tests.eventually import eventually


def slots(statistics: Statistics) -> int:
    """How many slots are held; never more than the share."""
    s = statistics
    held = s.connecting + s.busy + s.finishing + s.idle + s.draining + s.leaving + s.lingering
    assert held <= s.share
    return held


async def settled(php: Dispatcher) -> Statistics:
    """Wait until no slot is held but by kept connections, and return the statistics of that moment."""

    def at_rest() -> bool:
        now = php.statistics()
        return slots(now) == now.idle and not now.queued and not now.running

    await eventually(at_rest)
    return php.statistics()

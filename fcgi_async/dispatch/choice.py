"""Which endpoint gets the next job."""

from __future__ import annotations

from collections.abc import Sequence

from fcgi_async.dispatch.entry import Entry
from fcgi_async.pool.peer import Peer
from fcgi_async.pool.pool import Pool

__all__ = ("goes_elsewhere", "load")


def load(pool: Pool) -> tuple[bool, float]:
    """How loaded an endpoint is: the next job goes to the one with the lowest value."""
    return pool.peer.reachability.away, pool.peer.ledger.load


def goes_elsewhere(job: Entry | None, peer: Peer, pools: Sequence[Pool]) -> bool:
    """Return whether a job is not for a free slot of this peer, which has just refused one: another pool has room.

    The pool of the peer offers its slots again when it may be tried again.
    """
    now = peer.backend.now()
    if job is None or peer.reachability.retry_at <= now:
        return False
    if not any(_has_room(pool, job, now) for pool in pools):
        return False
    for pool in pools:
        if pool.peer is peer:
            pool.offer_later()
    return True


def _has_room(pool: Pool, job: Entry, now: float) -> bool:
    reachability = pool.peer.reachability
    return not reachability.away and reachability.retry_at <= now and pool.peer.ledger.room(job.priority) > 0

"""Why no worker has taken a job in time."""

from __future__ import annotations

from collections.abc import Iterable

from fcgi_async.pool.peer import Peer
from fcgi_async.pool.silence import what_silence_means

__all__ = ("why_it_waits",)


def why_it_waits(peers: Iterable[Peer], *, paused: bool) -> str:
    """Return why the job had to wait, and what to do.

    Args:
        peers: the peers that could have run it.
        paused: whether the dispatcher is paused.
    """
    if paused:
        return "the dispatcher is paused; call resume()"
    silent = [peer.name for peer in peers if not peer.reachability.ever_answered]
    if silent:
        return f"{', '.join(silent)} has not answered yet: {what_silence_means(answered=False)}"
    return "allow more time, or give the pool more workers"

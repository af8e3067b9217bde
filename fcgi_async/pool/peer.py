"""What is known of one FPM pool, and what its slots share."""

from __future__ import annotations

import logging

from fcgi_async.net.backend import Backend
from fcgi_async.net.listener import Listener
from fcgi_async.pool.endpoint import Endpoint
from fcgi_async.pool.kept import ledger_of
from fcgi_async.pool.manner import Fact, Manner, learn
from fcgi_async.pool.reachability import Reachability
from fcgi_async.pool.sweep import Sweep

__all__ = ("Peer",)

logger = logging.getLogger("fcgi_async.pool")

_DEFAULT_LINGER = 5.0
_ANSWERING = frozenset({Manner.FPM, Manner.ANSWERS})


class Peer:
    """One endpoint: who of its workers is held, and how it has shown that it is to be treated. Performs no I/O.

    Args:
        endpoint: what the caller said of it.
        backend: the event loop.

    Attributes:
        name: the endpoint's address, for errors and logs.
        is_unix: whether it is reached through a unix socket.
        ledger: its slots.
        keeps: whether some of its slots are kept for jobs of some priority.
        reachability: whether it can be reached.
        sweep: tells when the nearest deadline of a slot has passed.
        manner: how it treats what follows a request.
        plain: whether a request is sent together with its probe and a byte ahead, and its worker speaks for itself.
        listener: who listens, as the last connection saw it.
        values: what a peer that multiplexes said of itself; None for one that does not, or was not asked.
        channels: connections that requests share, which are open.
        multiplexing_refused: whether it refused to all the same.
        stray_records: records of finished requests that were dropped.
        closed: whether the dispatcher is done with it.
    """

    __slots__ = (
        "backend",
        "channels",
        "closed",
        "endpoint",
        "is_unix",
        "keeps",
        "ledger",
        "listener",
        "manner",
        "multiplexing_refused",
        "name",
        "plain",
        "reachability",
        "stray_records",
        "sweep",
        "values",
    )

    def __init__(self, endpoint: Endpoint, backend: Backend, sweep: Sweep) -> None:
        kept = {priority: slots for priority, slots in endpoint.kept.items() if slots}
        self.endpoint, self.backend, self.sweep = endpoint, backend, sweep
        self.name, self.is_unix = str(endpoint.address), endpoint.address.is_unix
        self.ledger, self.keeps = ledger_of(endpoint.share, kept), bool(kept)
        self.reachability = Reachability(endpoint.reconnect_timeout)
        self.manner = Manner.UNKNOWN
        self.plain = False
        self.values: dict[bytes, bytes] | None = None
        self.channels = 0
        self.multiplexing_refused = False
        self.stray_records = 0
        self.closed = False
        self.listener: Listener | None = None

    @property
    def multiplexes(self) -> bool:
        """Whether its connections are shared by requests."""
        return self.values is not None and self.endpoint.multiplex != "never" and not self.multiplexing_refused

    @property
    def may_ask_for_lingering(self) -> bool:
        """Whether a new connection that is answered has certainly got a worker that an abandoned script has left.

        Only if all workers are ours, and nothing runs before the answer.
        """
        endpoint = self.endpoint
        if not endpoint.handshake or endpoint.reserve or endpoint.processes > 1:
            return False
        if self.channels or self.values is not None:
            return False
        return not self.reachability.closes_after_values(self.backend.now())

    def linger_until(self) -> float:
        """Return when a slot is given back whose script is not seen to end."""
        linger = self.endpoint.linger
        return self.sweep.due(_DEFAULT_LINGER if linger is None else linger)

    def learn(self, fact: Fact) -> None:
        """Learn from what it has shown."""
        self.manner = learn(self.manner, fact)
        # one that drops the tail would drop the byte ahead with it
        self.plain = self.manner in _ANSWERING and self.endpoint.handshake

    def meet(self, listener: Listener) -> None:
        """Learn from who listens."""
        if listener != self.listener:
            if self.listener is not None:
                self.learn(Fact.LISTENER_CHANGED)
            self.listener = listener
        if listener.is_php:
            self.learn(Fact.LISTENER_IS_PHP)

    def tail_dropped(self) -> None:
        """Called when a later probe was answered, and the one that follows a request was not."""
        if self.manner is not Manner.TAILLESS:
            logger.warning(
                "%s drops a probe that is sent with a request, as servers built on libfcgi do: it is asked after each "
                "response instead, which costs a round trip for each job",
                self.name,
            )
        self.learn(Fact.TAIL_DROPPED)

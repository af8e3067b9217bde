"""The state of one FPM pool that its slots share."""

from __future__ import annotations

import logging
import math

from fcgi_async.net.backend import Backend
from fcgi_async.net.listener import Listener
from fcgi_async.net.values import GATEWAY_VALUE
from fcgi_async.pool.blocks import Blocks
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
    """One endpoint: which of its workers are held, and how it behaves. Performs no I/O.

    Args:
        endpoint: its configuration.
        backend: the event loop.

    Attributes:
        name: the endpoint's address, for errors and logs.
        is_unix: whether it is reached through a unix socket.
        ledger: its slots.
        most_requests: most requests on one connection; infinity for no limit.
        keeps: whether some of its slots are kept for jobs of a priority.
        reachability: whether it can be reached.
        sweep: calls back when the nearest deadline of a slot has passed.
        manner: how it treats bytes that follow a request.
        plain: whether a request is sent together with its probe and a byte ahead, and the worker itself answers.
        listener: the process that listens, as seen by the last connection.
        values: the values that a multiplexing peer reported; None for one that does not multiplex, or was not asked.
        channels: open connections that requests share.
        multiplexing_refused: whether it reported that it multiplexes, but refused to.
        stray_records: records of finished requests that were dropped.
        closed: whether the dispatcher has closed it.
        blocks: what large responses are collected in.
    """

    __slots__ = (
        "backend",
        "blocks",
        "channels",
        "closed",
        "endpoint",
        "is_unix",
        "keeps",
        "ledger",
        "listener",
        "manner",
        "most_requests",
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
        most = endpoint.keepalive.max_requests
        self.most_requests = math.inf if most is None else most
        self.reachability = Reachability(endpoint.reconnect_timeout)
        self.manner = Manner.UNKNOWN
        self.plain = False
        self.values: dict[bytes, bytes] | None = None
        self.channels = 0
        self.multiplexing_refused = False
        self.stray_records = 0
        self.closed = False
        self.listener: Listener | None = None
        self.blocks = Blocks()

    @property
    def multiplexes(self) -> bool:
        """Whether requests share its connections."""
        return self.values is not None and self.endpoint.multiplex != "never" and not self.multiplexing_refused

    @property
    def is_gateway(self) -> bool:
        """Whether it is a gateway of this library, which accepts priorities and reports errors."""
        return self.values is not None and GATEWAY_VALUE in self.values

    @property
    def may_ask_for_lingering(self) -> bool:
        """Whether an answer on a new connection proves that an abandoned script has left a worker.

        It does only if all workers are ours, and nothing runs before the answer.
        """
        endpoint = self.endpoint
        if not endpoint.handshake or endpoint.reserve or endpoint.processes > 1:
            return False
        if self.channels or self.values is not None:
            return False
        return not self.reachability.closes_after_values(self.backend.now())

    def linger_until(self) -> float:
        """Return when to give back a slot if its script is not seen to end."""
        linger = self.endpoint.linger
        return self.sweep.due(_DEFAULT_LINGER if linger is None else linger)

    def learn(self, fact: Fact) -> None:
        """Update the manner after a fact."""
        self.manner = learn(self.manner, fact)
        # a peer that drops the tail would drop the byte ahead too
        self.plain = self.manner in _ANSWERING and self.endpoint.handshake

    def meet(self, listener: Listener) -> None:
        """Update the manner after a look at the listening process."""
        if listener != self.listener:
            if self.listener is not None:
                self.learn(Fact.LISTENER_CHANGED)
            self.listener = listener
        if listener.is_php:
            self.learn(Fact.LISTENER_IS_PHP)

    def tail_dropped(self) -> None:
        """Called when a later probe was answered, but not the one that follows a request."""
        if self.manner is not Manner.TAILLESS:
            logger.warning(
                "%s drops a probe that is sent with a request, as servers built on libfcgi do: it is asked after each "
                "response instead, which costs a round trip for each job",
                self.name,
            )
        self.learn(Fact.TAIL_DROPPED)

"""The state that the connections of one gateway share: the queue, the number of requests, and the counters."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import attrs

from fcgi_async.dispatch.relay import RawRequest, Relay, RelayOutput
from fcgi_async.errors import DispatcherClosed, FastCGIError, QueueFull
from fcgi_async.gateway.incoming_body import BodySettings
from fcgi_async.gateway.params import KnownParams
from fcgi_async.net.backend import Backend

__all__ = ("Serving",)


@attrs.define(eq=False)
class Serving:
    """The shared state of one gateway. Performs no I/O.

    Attributes:
        backend: the event loop.
        queue: queues a request.
        params: reads the parameters of requests.
        bodies: settings for taking bodies.
        values: the answer to GET_VALUES.
        most_open: most requests at a time, counted from their parameters on.
        ended: called when a request has ended.
        open: number of requests.
        draining: whether new requests are refused.
        passed: requests that PHP has answered.
        failed: requests without a complete response from PHP.
        refused: requests that should be sent again later.
        left: requests whose clients left.
    """

    backend: Backend
    queue: Callable[[RawRequest, RelayOutput, int], Relay]
    params: KnownParams
    bodies: BodySettings
    values: Mapping[bytes, bytes]
    most_open: int
    ended: Callable[[], None]
    open: int = attrs.field(default=0, init=False)
    draining: bool = attrs.field(default=False, init=False)
    passed: int = attrs.field(default=0, init=False)
    failed: int = attrs.field(default=0, init=False)
    refused: int = attrs.field(default=0, init=False)
    left: int = attrs.field(default=0, init=False)

    @property
    def is_full(self) -> bool:
        """Whether another request is refused."""
        return self.draining or self.open > self.most_open

    def refusal(self) -> FastCGIError:
        """Return why."""
        if self.draining:
            return DispatcherClosed("the gateway is closing, and takes no more requests")
        return QueueFull(f"the gateway has {self.most_open} requests already; try again later")

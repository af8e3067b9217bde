"""The faults that a responder can make on demand.

Fault
 +- Interruption     cuts off the response after some bytes
 |   +- Close            the client sees the end of the connection
 |   +- Reset            the client sees a reset, as from a worker that was killed
 |   +- Stall            the client sees nothing any more
 |   +- Garbage          the client sees bytes that are not FastCGI
 +- Drip             the response comes whole, in small pieces
 +- Reject           END_REQUEST with a protocol status, and nothing else
"""

from __future__ import annotations

import attrs

from fcgi_async.wire.spec import ProtocolStatus

__all__ = ("Close", "Drip", "Fault", "Garbage", "Interruption", "Reject", "Reset", "Stall")


class Fault:
    """The base of all faults."""


@attrs.frozen
class Interruption(Fault):
    """The base of the faults that cut off a response.

    Args:
        after: how many bytes of the response are sent before, counted on the wire, including the records' headers. 0:
            the fault happens as soon as the request's parameters have come, and the handler is not called. If the
            response is shorter, nothing happens.
    """

    after: int = attrs.field(default=0, kw_only=True, validator=attrs.validators.ge(0))


@attrs.frozen
class Close(Interruption):
    """Closes the connection normally: the client sees an end of file."""


@attrs.frozen
class Reset(Interruption):
    """Closes the connection as the kernel does for a killed worker: the client sees ECONNRESET.

    A unix socket is reset only if the responder has left something unread. A responder that multiplexes reads
    everything, so its clients see an end of file; let it listen on TCP if the difference matters.
    """


@attrs.frozen
class Stall(Interruption):
    """Sends nothing more and keeps the connection, until the client closes it.

    With `multiplex=True` and `after=0`, the other requests on the connection continue.
    """


@attrs.frozen
class Garbage(Interruption):
    """Sends bytes that are not FastCGI, and then nothing more.

    Args:
        data: the bytes to send.
    """

    data: bytes = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"


@attrs.frozen
class Drip(Fault):
    """Sends the whole response in pieces, each in a write of its own: `Drip()` splits it at every byte.

    Args:
        size: number of bytes in a piece.
        pause: seconds to wait after each piece; 0 only lets other tasks run.
    """

    size: int = attrs.field(default=1, validator=attrs.validators.ge(1))
    pause: float = attrs.field(default=0.0, validator=attrs.validators.ge(0.0))


@attrs.frozen
class Reject(Fault):
    """Ends the request with a protocol status that means that it did not run; the handler is not called.

    Args:
        protocol_status: `ProtocolStatus.OVERLOADED`, `CANT_MPX_CONN` or `UNKNOWN_ROLE`.
    """

    protocol_status: ProtocolStatus

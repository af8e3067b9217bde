"""What a responder can do wrong on demand.

Fault
 +- Interruption     cuts the response after so many bytes
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
    """The base of everything that can go wrong with a request on demand."""


@attrs.frozen
class Interruption(Fault):
    """The base of the faults that cut a response.

    Args:
        after: how many bytes of the response are sent before, counted on the wire, so with the records' headers. 0:
            the fault strikes as soon as the request's parameters are there, and the handler is not called. Where the
            response is shorter, nothing happens.
    """

    after: int = attrs.field(default=0, kw_only=True, validator=attrs.validators.ge(0))


@attrs.frozen
class Close(Interruption):
    """Closes the connection in good order: the client sees an end of file."""


@attrs.frozen
class Reset(Interruption):
    """Closes the connection as the kernel does for a worker that is killed: the client sees ECONNRESET.

    A unix socket is only reset where the responder has left something unread. One that multiplexes reads all that
    comes, so that its clients see an end of file; let it listen on TCP where the difference matters.
    """


@attrs.frozen
class Stall(Interruption):
    """Sends nothing more and keeps the connection, until the client closes it.

    With `multiplex=True` and `after=0` the other requests on the connection go on.
    """


@attrs.frozen
class Garbage(Interruption):
    """Sends bytes that are not FastCGI, and then nothing more.

    Args:
        data: what is sent.
    """

    data: bytes = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"


@attrs.frozen
class Drip(Fault):
    """Sends the response whole, but in pieces, each in a write of its own: `Drip()` splits it at every byte.

    Args:
        size: how many bytes a piece has.
        pause: seconds to wait after each piece; 0 only lets other tasks run.
    """

    size: int = attrs.field(default=1, validator=attrs.validators.ge(1))
    pause: float = attrs.field(default=0.0, validator=attrs.validators.ge(0.0))


@attrs.frozen
class Reject(Fault):
    """Ends the request with a protocol status that says that it did not run; the handler is not called.

    Args:
        protocol_status: `ProtocolStatus.OVERLOADED`, `CANT_MPX_CONN` or `UNKNOWN_ROLE`.
    """

    protocol_status: ProtocolStatus

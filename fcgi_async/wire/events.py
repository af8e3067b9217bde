"""Events: what the peer did, as values.

They are never changed but not frozen, because attrs takes twice as long to make a frozen one, and every record is an
event.
"""

from __future__ import annotations

import attrs

from fcgi_async.errors import RemoteProtocolError
from fcgi_async.wire.spec import Role

__all__ = (
    "AbortRequested",
    "ClientEvent",
    "Data",
    "DataEnded",
    "ParamsReceived",
    "RawParams",
    "RequestBegun",
    "RequestEnded",
    "ServerEvent",
    "Stderr",
    "Stdin",
    "StdinEnded",
    "Stdout",
    "Stray",
    "Terminated",
    "ValuesReceived",
    "ValuesRequested",
)


@attrs.define
class Stdout:
    """The responder wrote a part of its response."""

    request_id: int
    data: bytes


@attrs.define
class Stderr:
    """The responder reported an error message, or a part of one."""

    request_id: int
    data: bytes


@attrs.define
class RequestEnded:
    """END_REQUEST: the response is complete. With PHP-FPM, this does not mean that the worker is free."""

    request_id: int
    app_status: int
    protocol_status: int


@attrs.define
class ValuesReceived:
    """The answer to the oldest GET_VALUES; PHP-FPM gives it only between requests.

    It is GET_VALUES_RESULT, or UNKNOWN_TYPE from a peer that does not know GET_VALUES; then there are no values.

    Attributes:
        values: the values by name.
        dropped: how many older GET_VALUES the peer has dropped, because it answered a later one.
    """

    values: dict[bytes, bytes]
    dropped: int = 0


@attrs.define
class Stray:
    """A record of a request that has ended, or whose response is complete; it is dropped."""

    request_id: int
    record_type: int
    size: int


@attrs.define
class RequestBegun:
    """The client began a request."""

    request_id: int
    role: Role
    keep_conn: bool


@attrs.define
class ParamsReceived:
    """All parameters of a request have come, in order."""

    request_id: int
    params: list[tuple[bytes, bytes]]


@attrs.define
class RawParams:
    """The same for a relay: the contents of the request's PARAMS records, joined."""

    request_id: int
    content: bytes


@attrs.define
class Stdin:
    """A part of the request's body arrived."""

    request_id: int
    data: bytes


@attrs.define
class StdinEnded:
    """The request's body is complete."""

    request_id: int


@attrs.define
class Data:
    """A part of a Filter's file arrived."""

    request_id: int
    data: bytes


@attrs.define
class DataEnded:
    """A Filter's file is complete."""

    request_id: int


@attrs.define
class AbortRequested:
    """The client asks to end a request early; END_REQUEST must still be sent."""

    request_id: int


@attrs.define
class ValuesRequested:
    """The client asks for the values of these names."""

    names: list[bytes]


@attrs.define
class Terminated:
    """The connection has ended; nothing follows. `error` is None if it ended between two records."""

    error: RemoteProtocolError | None


ClientEvent = Stdout | Stderr | RequestEnded | ValuesReceived | Stray | Terminated
ServerEvent = (
    RequestBegun
    | ParamsReceived
    | RawParams
    | Stdin
    | StdinEnded
    | Data
    | DataEnded
    | AbortRequested
    | ValuesRequested
    | Stray
    | Terminated
)

"""The numbers and names of the FastCGI specification, version 1."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

__all__ = (
    "FCGI_MAX_CONNS",
    "FCGI_MAX_REQS",
    "FCGI_MPXS_CONNS",
    "HEADER_LENGTH",
    "KEEP_CONN",
    "MAX_CONTENT",
    "MAX_REQUEST_ID",
    "NULL_REQUEST_ID",
    "VERSION",
    "ProtocolStatus",
    "RecordType",
    "Role",
)

VERSION: Final = 1
HEADER_LENGTH: Final = 8
MAX_CONTENT: Final = 65535
NULL_REQUEST_ID: Final = 0
MAX_REQUEST_ID: Final = 65535
KEEP_CONN: Final = 1

FCGI_MAX_CONNS: Final = b"FCGI_MAX_CONNS"
FCGI_MAX_REQS: Final = b"FCGI_MAX_REQS"
FCGI_MPXS_CONNS: Final = b"FCGI_MPXS_CONNS"


class RecordType(IntEnum):
    """Record types (specification 8); the last three are management records, sent with request id 0."""

    BEGIN_REQUEST = 1
    ABORT_REQUEST = 2
    END_REQUEST = 3
    PARAMS = 4
    STDIN = 5
    STDOUT = 6
    STDERR = 7
    DATA = 8
    GET_VALUES = 9
    GET_VALUES_RESULT = 10
    UNKNOWN_TYPE = 11


class Role(IntEnum):
    """The role that the peer is asked for (specification 6)."""

    RESPONDER = 1
    AUTHORIZER = 2
    FILTER = 3


class ProtocolStatus(IntEnum):
    """The protocol status in END_REQUEST (specification 5.5)."""

    REQUEST_COMPLETE = 0
    CANT_MPX_CONN = 1
    OVERLOADED = 2
    UNKNOWN_ROLE = 3

"""Recognise in one step the request that most jobs send: BEGIN_REQUEST, one PARAMS record, no body.

The parser handles anything else, and would give the same result for this: `tests/wire/test_whole_request.py` compares
the two.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from fcgi_async.wire.records import BEGIN_BODY
from fcgi_async.wire.spec import KEEP_CONN, VERSION, RecordType, Role

__all__ = ("WholeRequest", "whole_requests")

# its id, whether its connection is kept, and the content of its PARAMS record
WholeRequest = tuple[int, bool, bytes]

# version and type as one number, which is cheaper to compare than two
_BEGIN: Final = VERSION << 8 | RecordType.BEGIN_REQUEST
_PARAMS: Final = VERSION << 8 | RecordType.PARAMS
_STDIN: Final = VERSION << 8 | RecordType.STDIN
# what follows the id of BEGIN_REQUEST: its lengths, role, flags and a reserved byte as one number; and whether the
# connection is kept
_KEEPS: Final = {
    BEGIN_BODY.size << 48 | Role.RESPONDER << 16 | flags << 8: bool(flags & KEEP_CONN) for flags in (0, KEEP_CONN)
}
# BEGIN_REQUEST and its body, and the header of PARAMS
_HEAD: Final = Struct(">HHQ4xHHHBx")
_HEAD_AT, _TO_PARAMS = _HEAD.unpack_from, _HEAD.size
# the empty records that end PARAMS and STDIN
_TAIL: Final = Struct(">HHIHHI")
_TAIL_AT, _TAIL_SIZE = _TAIL.unpack_from, _TAIL.size


def whole_requests(data: bytes) -> tuple[list[WholeRequest], int]:
    """Return the whole requests at the beginning of `data`, and the offset of the rest."""
    found: list[WholeRequest] = []
    at, last = 0, len(data) - _TO_PARAMS - _TAIL_SIZE
    while at <= last:
        begin, request_id, rest, params, params_id, size, padding = _HEAD_AT(data, at)
        start = at + _TO_PARAMS
        end = start + size
        if (
            begin != _BEGIN
            or rest not in _KEEPS
            or params != _PARAMS
            or params_id != request_id
            or padding
            or not size
            or not request_id
            or end > last + _TO_PARAMS
            or _TAIL_AT(data, end) != (_PARAMS, request_id, 0, _STDIN, request_id, 0)
        ):
            break
        found.append((request_id, _KEEPS[rest], data[start:end]))
        at = end + _TAIL_SIZE
    return found, at

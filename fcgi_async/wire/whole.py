"""The answer that most jobs get, recognised in one step: STDOUT, END_REQUEST, and GET_VALUES_RESULT without values.

Anything else is the parser's, which would say the same of this: `tests/wire/test_whole.py` holds the two together.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from fcgi_async.wire.records import END_BODY, HEADER
from fcgi_async.wire.spec import HEADER_LENGTH, VERSION, RecordType

__all__ = ("EMPTY_VALUES", "whole_answer")

# an answer without values, as PHP-FPM gives it to an empty GET_VALUES
EMPTY_VALUES: Final = bytes((VERSION, RecordType.GET_VALUES_RESULT, 0, 0, 0, 0, 0, 0))
# END_REQUEST without its last three bytes, which are reserved, and not zero in PHP-FPM's; the same and an answer
_END: Final = Struct(">BBHHBxIB3x")
_END_AND_VALUES: Final = Struct(">BBHHBxIB3x8s")
_HEADER, _END_AT, _END_AND_VALUES_AT = HEADER.unpack_from, _END.unpack_from, _END_AND_VALUES.unpack_from
_TO_END, _TO_VALUES = HEADER_LENGTH + _END.size, HEADER_LENGTH + _END_AND_VALUES.size
_STDOUT, _END_TYPE, _END_SIZE = int(RecordType.STDOUT), int(RecordType.END_REQUEST), END_BODY.size


def whole_answer(data: bytes, request_id: int) -> tuple[bytes, bool] | None:
    """Return what STDOUT has in the answer to a request, and whether a probe is answered too; None for all else."""
    size = len(data)
    if size < _TO_END:
        return None
    version, record_type, number, length, padding = _HEADER(data)
    if version != VERSION or record_type != _STDOUT or number != request_id or not length:
        return None
    rest = size - length - padding
    if rest == _TO_VALUES:
        found = _END_AND_VALUES_AT(data, size - rest + HEADER_LENGTH)
        if found != (VERSION, _END_TYPE, request_id, _END_SIZE, 0, 0, 0, EMPTY_VALUES):
            return None
        return data[HEADER_LENGTH : HEADER_LENGTH + length], True
    if rest == _TO_END:
        if _END_AT(data, size - rest + HEADER_LENGTH) != (VERSION, _END_TYPE, request_id, _END_SIZE, 0, 0, 0):
            return None
        return data[HEADER_LENGTH : HEADER_LENGTH + length], False
    return None

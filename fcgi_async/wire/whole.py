"""The answer that most jobs get, recognised in one step: STDOUT, END_REQUEST, and GET_VALUES_RESULT without values.

Anything else is the parser's, which would say the same of this: `tests/wire/test_whole.py` holds the two together.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from fcgi_async.wire.records import END_BODY, HEADER
from fcgi_async.wire.spec import HEADER_LENGTH, VERSION, RecordType

__all__ = ("EMPTY_VALUES", "WholeAnswer", "whole_answer")

# request id, what STDOUT has, the application's status, and whether a probe is answered too
WholeAnswer = tuple[int, bytes, int, bool]
# an answer without values, as PHP-FPM gives it to an empty GET_VALUES
EMPTY_VALUES: Final = bytes((VERSION, RecordType.GET_VALUES_RESULT, 0, 0, 0, 0, 0, 0))
# END_REQUEST without its last three bytes, which are reserved, and not zero in PHP-FPM's
_END: Final = Struct(">BBHHBxIB3x")
_AFTER_STDOUT: Final = frozenset((_END.size, _END.size + len(EMPTY_VALUES)))
_LEAST: Final = HEADER_LENGTH + _END.size
_STDOUT, _END_TYPE = int(RecordType.STDOUT), int(RecordType.END_REQUEST)


def whole_answer(data: bytes) -> WholeAnswer | None:
    """Return request id, what STDOUT has, the application's status, and whether a probe is answered too.

    None for anything else.
    """
    if len(data) < _LEAST:
        return None
    version, record_type, request_id, length, padding = HEADER.unpack_from(data)
    end = HEADER_LENGTH + length + padding
    rest = len(data) - end
    if version != VERSION or record_type != _STDOUT or not length or rest not in _AFTER_STDOUT:
        return None
    version, record_type, number, size, padding, app_status, protocol_status = _END.unpack_from(data, end)
    if (version, record_type, number, size) != (VERSION, _END_TYPE, request_id, END_BODY.size):
        return None
    answered = rest > _END.size
    if padding or protocol_status or (answered and not data.endswith(EMPTY_VALUES)):
        return None
    return request_id, data[HEADER_LENGTH : HEADER_LENGTH + length], app_status, answered

"""Recognise in one step the answer that most jobs get: STDOUT, END_REQUEST, and GET_VALUES_RESULT without values.

It may have STDERR too. The parser handles anything else, and would give the same result for this:
`tests/wire/test_whole.py` compares the two.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from fcgi_async.wire.records import END_BODY
from fcgi_async.wire.spec import HEADER_LENGTH, VERSION, RecordType

__all__ = ("EMPTY_VALUES", "Whole", "whole_answer")

# the contents of STDOUT and STDERR, and whether a probe is answered too
Whole = tuple[bytes, bytes, bool]

# an answer without values, PHP-FPM's answer to an empty GET_VALUES
EMPTY_VALUES: Final = bytes((VERSION, RecordType.GET_VALUES_RESULT, 0, 0, 0, 0, 0, 0))
# version, type and request id as one number, which is cheaper to compare than three
_HEADER: Final = Struct(">IHBx")
# END_REQUEST without its three reserved bytes, which PHP-FPM does not set to zero; its header as one number
_END: Final = Struct(">QIB3x")
_HEADER_AT, _END_AT = _HEADER.unpack_from, _END.unpack_from
_TO_END, _TO_VALUES = _END.size, _END.size + len(EMPTY_VALUES)
_STDOUT: Final = VERSION << 24 | RecordType.STDOUT << 16
_STDERR: Final = VERSION << 24 | RecordType.STDERR << 16
_END_HEADER: Final = VERSION << 56 | RecordType.END_REQUEST << 48 | END_BODY.size << 16


def whole_answer(data: bytes, request_id: int) -> Whole | None:
    """Return the contents of a whole answer to a request; None for anything else, also for an answer without STDOUT."""
    answered = data.endswith(EMPTY_VALUES)
    end = len(data) - (_TO_VALUES if answered else _TO_END)
    if end < HEADER_LENGTH or _END_AT(data, end) != (_END_HEADER | request_id << 32, 0, 0):
        return None
    kind, length, padding = _HEADER_AT(data)
    if kind == _STDOUT | request_id and HEADER_LENGTH + length + padding == end and length:
        return data[HEADER_LENGTH : HEADER_LENGTH + length], b"", answered
    return _several(data, request_id, end, answered)


def _several(data: bytes, request_id: int, end: int, answered: bool) -> Whole | None:
    """Return the contents of the records before `end`: one or more of STDOUT and STDERR."""
    stdout: list[bytes] = []
    stderr: list[bytes] = []
    streams = {_STDOUT | request_id: stdout, _STDERR | request_id: stderr}
    at = 0
    while at <= end - HEADER_LENGTH:
        kind, length, padding = _HEADER_AT(data, at)
        stream = streams.get(kind)
        if stream is None:
            return None
        at += HEADER_LENGTH
        stream.append(data[at : at + length])
        at += length + padding
    content = b"".join(stdout)
    return (content, b"".join(stderr), answered) if at == end and content else None

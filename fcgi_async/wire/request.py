"""A request as bytes, without its id: it is encoded once, and may be sent any number of times."""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct
from typing import Final

from fcgi_async.wire.records import BEGIN_BODY
from fcgi_async.wire.spec import KEEP_CONN, MAX_CONTENT, VERSION, RecordType, Role

__all__ = ("EncodedRequest", "encode_request", "request_pieces")

# the bytes before the first id, the bytes between two ids, and a record's lengths
_LENGTHS: Final = Struct(">HBx")
_START: Final = bytes((VERSION, RecordType.BEGIN_REQUEST))
_BEGIN_TO_PARAMS: Final = {
    flags: _LENGTHS.pack(BEGIN_BODY.size, 0)
    + BEGIN_BODY.pack(Role.RESPONDER, flags)
    + bytes((VERSION, RecordType.PARAMS))
    for flags in (0, KEEP_CONN)
}
_NEXT_PARAMS: Final = bytes((VERSION, RecordType.PARAMS))
_NO_CONTENT: Final = _LENGTHS.pack(0, 0)
_NEXT_STDIN: Final = bytes((VERSION, RecordType.STDIN))
_PARAMS_END_TO_STDIN: Final = _NO_CONTENT + _NEXT_STDIN
# plain names: on Python 3.11, looking up a member of an enum costs more than using it
_RESPONDER = Role.RESPONDER


class EncodedRequest:
    """A request as bytes.

    Attributes:
        role: the role that the peer is asked for.
        params: contents of PARAMS records.
        body: the whole body, or None if it comes in parts.
        pieces: the bytes between the places of its id, if it is small and for a Responder; otherwise None.
    """

    __slots__ = ("body", "params", "pieces", "role")

    def __init__(
        self, role: Role, params: Sequence[bytes], body: bytes | None, pieces: tuple[bytes, ...] | None = None
    ) -> None:
        self.role = role
        self.params = params
        self.body = body
        self.pieces = pieces


def encode_request(
    params: Sequence[bytes], body: bytes | None, *, role: Role = Role.RESPONDER, keep_conn: bool = True
) -> EncodedRequest:
    """Return an encoded request, with its pieces if it can have any.

    Args:
        params: contents of PARAMS records, as `records.pack_pairs()` made them.
        body: the whole body, or None if it comes in parts.
        role: the role that the peer is asked for.
        keep_conn: whether the peer is asked to keep the connection open afterwards.
    """
    if role is not _RESPONDER or body is None or len(params) != 1 or len(body) > MAX_CONTENT:
        return EncodedRequest(role, params, body)
    return EncodedRequest(role, params, body, request_pieces(params[0], body, keep_conn=keep_conn))


def request_pieces(content: bytes, body: bytes, *, keep_conn: bool) -> tuple[bytes, ...]:
    """Return the bytes between the places of the id in a request to a Responder: `id.join(pieces)` is the request.

    Args:
        content: the content of its only PARAMS record.
        body: the whole body, at most 65535 bytes.
        keep_conn: whether the peer is asked to keep the connection open afterwards.
    """
    begin = _BEGIN_TO_PARAMS[KEEP_CONN if keep_conn else 0]
    params = _LENGTHS.pack(len(content), 0) + content + _NEXT_PARAMS
    if not body:
        return _START, begin, params, _PARAMS_END_TO_STDIN, _NO_CONTENT
    stdin = _LENGTHS.pack(len(body), 0) + body + _NEXT_STDIN
    return _START, begin, params, _PARAMS_END_TO_STDIN, stdin, _NO_CONTENT

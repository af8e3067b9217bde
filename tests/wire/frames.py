"""Correct records, built independently of the library; a test breaks exactly one thing about one of them."""

from __future__ import annotations

from struct import pack

from fcgi_async.wire.spec import RecordType, Role

# what PHP-FPM leaves in the reserved bytes of END_REQUEST
GARBAGE = b"736"
MPXS = b"FCGI_MPXS_CONNS"


def record(
    record_type: int,
    request_id: int,
    content: bytes = b"",
    *,
    version: int = 1,
    padding: bytes = b"",
    length: int | None = None,
    reserved: int = 0,
) -> bytes:
    """One record, without padding unless told."""
    size = len(content) if length is None else length
    return pack(">BBHHBB", version, record_type, request_id, size, len(padding), reserved) + content + padding


def padded(record_type: int, request_id: int, content: bytes) -> bytes:
    """One record as PHP-FPM pads it: to a multiple of 8, with whatever was in its buffer."""
    return record(record_type, request_id, content, padding=b"\xaa" * (-len(content) % 8))


def stdout(request_id: int, content: bytes) -> bytes:
    """A STDOUT record of PHP-FPM."""
    return padded(RecordType.STDOUT, request_id, content)


def stderr(request_id: int, content: bytes) -> bytes:
    """A STDERR record of PHP-FPM."""
    return padded(RecordType.STDERR, request_id, content)


def end(request_id: int, app_status: int = 0, protocol_status: int = 0, *, reserved: bytes = GARBAGE) -> bytes:
    """An END_REQUEST record."""
    return record(RecordType.END_REQUEST, request_id, pack(">IB", app_status, protocol_status) + reserved)


def pair(name: bytes, value: bytes) -> bytes:
    """A name-value pair, written as the specification draws it."""
    lengths = b"".join(pack(">B", len(x)) if len(x) <= 127 else pack(">I", len(x) | 1 << 31) for x in (name, value))
    return lengths + name + value


def values(content: bytes = b"") -> bytes:
    """A GET_VALUES_RESULT record."""
    return padded(RecordType.GET_VALUES_RESULT, 0, content)


def unknown_type(record_type: int) -> bytes:
    """An UNKNOWN_TYPE record."""
    return record(RecordType.UNKNOWN_TYPE, 0, bytes((record_type,)) + bytes(7))


def get_values(*names: bytes) -> bytes:
    """A GET_VALUES record."""
    return record(RecordType.GET_VALUES, 0, b"".join(pair(name, b"") for name in names))


def begin(request_id: int, role: int = Role.RESPONDER, flags: int = 1) -> bytes:
    """A BEGIN_REQUEST record."""
    return record(RecordType.BEGIN_REQUEST, request_id, pack(">HB", role, flags) + bytes(5))


def params(request_id: int, content: bytes = b"") -> bytes:
    """A PARAMS record; the empty one ends the stream."""
    return record(RecordType.PARAMS, request_id, content)


def stdin(request_id: int, content: bytes = b"") -> bytes:
    """A STDIN record; the empty one ends the stream."""
    return record(RecordType.STDIN, request_id, content)


def data(request_id: int, content: bytes = b"") -> bytes:
    """A DATA record; the empty one ends the stream."""
    return record(RecordType.DATA, request_id, content)


def abort(request_id: int) -> bytes:
    """An ABORT_REQUEST record."""
    return record(RecordType.ABORT_REQUEST, request_id)

"""Conditional requests (RFC 9110, 13): whether to send a file, to say that it is not modified, or to refuse."""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.utils import formatdate, parsedate_to_datetime
from functools import lru_cache

import attrs

__all__ = ("Validators", "decide", "names_this")

_TAG = re.compile(rb'\s*(W/)?("[\x21\x23-\x7e\x80-\xff]*")\s*(?:,|\Z)')
# a file may change again within the second of its mtime
_FRESH_SECONDS = 2.0
# the last second of the year 9999
_LAST_SECOND = 253402300799


@attrs.frozen
class Validators:
    """The values that tell one version of a file from another.

    Attributes:
        tag: the ETag with its quotes, without W/.
        weak: whether equal tags may have different bytes.
        modified: the time of the last change, in whole seconds.
    """

    tag: bytes
    weak: bool
    modified: int

    @classmethod
    def of(cls, mtime: float, size: int, now: float) -> Validators:
        """Return the validators of a file that was changed at `mtime`; both times are seconds of the same clock."""
        seconds = int(mtime)
        return cls(b'"%x-%x"' % (seconds & 0xFFFFFFFFFFFFFFFF, size), now - mtime < _FRESH_SECONDS, seconds)

    @property
    def etag(self) -> bytes:
        """The value of ETag."""
        return b"W/" + self.tag if self.weak else self.tag

    @property
    def last_modified(self) -> bytes:
        """The value of Last-Modified."""
        return _date(self.modified)


def decide(headers: Mapping[bytes, bytes], validators: Validators) -> int:
    """Return 200 to send the file, 304 if the client has it, 412 if it is not the version that the client expects.

    Args:
        headers: headers of the request, a GET or HEAD; lower-case names.
        validators: the validators of the file.
    """
    match = headers.get(b"if-match")
    if match is not None:
        if not _lists(match, validators, weakly=False):
            return 412
    else:
        since = _seconds(headers.get(b"if-unmodified-since"))
        if since is not None and validators.modified > since:
            return 412
    none_match = headers.get(b"if-none-match")
    if none_match is not None:
        return 304 if _lists(none_match, validators, weakly=True) else 200
    since = _seconds(headers.get(b"if-modified-since"))
    return 304 if since is not None and validators.modified <= since else 200


def names_this(if_range: bytes, validators: Validators) -> bool:
    """Whether If-Range names this version of the file, so that a part of it is useful."""
    value = if_range.strip()
    if value.startswith((b'"', b"W/")):
        return not validators.weak and value == validators.tag
    # a date is a strong validator only if the file was not changed in that very second
    return not validators.weak and _seconds(value) == validators.modified


def _lists(value: bytes, validators: Validators, *, weakly: bool) -> bool:
    if value.strip() == b"*":
        return True
    position = 0
    while (found := _TAG.match(value, position)) is not None:
        if found[2] == validators.tag and (weakly or not (found[1] or validators.weak)):
            return True
        position = found.end()
        if position >= len(value):
            break
    return False


def _seconds(value: bytes | None) -> int | None:
    """Return a date in seconds; None if there is none, or it cannot be parsed."""
    if value is None:
        return None
    try:
        return int(parsedate_to_datetime(value.decode("ascii")).timestamp())
    except (ValueError, OverflowError, OSError):
        return None


@lru_cache(1024)
def _date(seconds: int) -> bytes:
    return formatdate(min(max(seconds, 0), _LAST_SECOND), usegmt=True).encode()

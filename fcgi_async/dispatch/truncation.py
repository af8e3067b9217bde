"""Whether a body was cut off on its way."""

from __future__ import annotations

from fcgi_async.job.job import Job
from fcgi_async.wire.cgi import CGIHead

__all__ = ("is_truncated",)

# these tell a web server to send the body: Apache and lighttpd, nginx, LiteSpeed
_SENT_BY_THE_SERVER = frozenset({"x-sendfile", "x-accel-redirect", "x-litespeed-location"})


def is_truncated(job: Job, head: CGIHead, size: int) -> bool:
    """Return whether a body of `size` bytes is shorter than its Content-Length says.

    Responses to HEAD, 204 and 304 have no body, nor does one that asks a web server to send a file instead.
    """
    if head.length is None or size >= head.length or job.method == "HEAD" or head.status in (204, 304):
        return False
    return bool(size) or not any(name.lower() in _SENT_BY_THE_SERVER for name, _ in head.headers)

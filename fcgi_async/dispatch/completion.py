"""From a complete answer to a Response."""

from __future__ import annotations

from fcgi_async.dispatch.job_log import log_dropped_headers, log_stderr
from fcgi_async.dispatch.truncation import is_truncated
from fcgi_async.errors import ResponseTruncated
from fcgi_async.job.job import Job
from fcgi_async.job.response import Headers, Response, Timing
from fcgi_async.job.settings import Limits
from fcgi_async.pool.attempt import Attempt
from fcgi_async.wire.cgi import CGIHead, whole_head

__all__ = ("response_of",)


def response_of(
    job: Job, attempt: Attempt, limits: Limits, timing: Timing, attempts: int, *, streamed: bool
) -> Response:
    """Return what PHP answered.

    Args:
        job: what was asked.
        attempt: to which the answer is.
        limits: how much the peer may send.
        timing: where the time went.
        attempts: how often the job was sent.
        streamed: whether the body went elsewhere while it came.

    Raises:
        RemoteProtocolError: the answer is no CGI response.
        ResponseTooLarge: it passes a limit.
        ResponseTruncated: it is streamed, and shorter than its Content-Length.
    """
    head, content, size = _parts(attempt, limits)
    name, stderr, written = attempt.slot.peer.name, attempt.stderr, b""
    if head.dropped:
        log_dropped_headers(job, name, head.dropped)
    truncated = head.length is not None and is_truncated(job, head, size)
    if truncated and streamed:
        raise ResponseTruncated(
            f"the body ended after {size} of the {head.length} bytes that its Content-Length promised; "
            "FPM's log, or stderr, tells why the script ended"
        )
    if stderr is not None:
        written = stderr.value()
        log_stderr(job, name, written)
    return Response(
        job,
        head.status,
        Headers(head.headers),
        content,
        written,
        stderr is not None and stderr.truncated,
        attempt.app_status,
        timing,
        name,
        attempts,
        truncated,
        limits.response,
    )


def _parts(attempt: Attempt, limits: Limits) -> tuple[CGIHead, bytes, int]:
    """Return the head, the body as far as it was kept, and how long that was."""
    whole = attempt.whole
    if whole is not None and attempt.sink is None:
        found = whole_head(whole, limits.head)
        if found is not None and len(found[1]) <= limits.response:
            return *found, len(found[1])
    sink = attempt.collect()
    sink.finish()
    assert sink.head is not None
    return sink.head, sink.content(), sink.size

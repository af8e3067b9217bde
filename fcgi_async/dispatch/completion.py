"""Make a Response from a complete answer."""

from __future__ import annotations

from fcgi_async.dispatch.gateway_answer import error_of_gateway
from fcgi_async.dispatch.job_log import log_dropped_headers
from fcgi_async.dispatch.truncation import is_truncated
from fcgi_async.errors import ResponseTruncated
from fcgi_async.job.job import Job
from fcgi_async.job.response import DEFAULT_LIMIT, Headers, Response, Timing
from fcgi_async.job.settings import Limits
from fcgi_async.pool.attempt import Attempt
from fcgi_async.pool.sink import StreamingSink
from fcgi_async.wire.cgi import whole_head

__all__ = ("response_of",)


def response_of(job: Job, attempt: Attempt, limits: Limits, timing: Timing, attempts: int) -> Response:
    """Return what PHP answered.

    Args:
        job: the job that was run.
        attempt: the attempt that was answered.
        limits: how much the peer may send.
        timing: where the time went.
        attempts: how often the job was sent.

    Raises:
        RemoteProtocolError: the answer is not a CGI response.
        ResponseTooLarge: it exceeds a limit.
        ResponseTruncated: it was streamed, and is shorter than its Content-Length.
        FastCGIError: the answer is a gateway's own, not PHP's; `attempt.may_have_run` tells whether PHP may have run
            the job.
    """
    if attempt.app_status and attempt.slot.peer.is_gateway:
        answered = attempt.collect()
        raise error_of_gateway(attempt, answered.head, answered.content())
    whole, sink = attempt.whole, attempt.sink
    found = None if whole is None or sink is not None else whole_head(whole, limits.head)
    if found is not None and len(found[1]) <= limits.response:
        head, content = found
        size = len(content)
    else:
        collected = attempt.collect()
        collected.finish()
        assert collected.head is not None
        head, content, size = collected.head, collected.content(), collected.size
    name = attempt.slot.peer.name
    own: dict[str, object] = {
        "job": job,
        "status": head.status,
        "headers": Headers(head.headers),
        "content": content,
        "timing": timing,
        "endpoint": name,
    }
    if head.dropped:
        log_dropped_headers(job, name, head.dropped)
    if head.length is not None and is_truncated(job, head, size):
        if isinstance(sink, StreamingSink):
            raise _truncated(head.length, size)
        own["truncated"] = True
    if attempt.stderr is not None:
        attempt.stderr.end()
        own["stderr"], own["stderr_truncated"] = attempt.stderr.value(), attempt.stderr.truncated
    if attempt.app_status:
        own["app_status"] = attempt.app_status
    if attempts != 1:
        own["attempts"] = attempts
    if limits.response != DEFAULT_LIMIT:
        own["_limit"] = limits.response
    return Response.having(own)


def _truncated(length: int, size: int) -> ResponseTruncated:
    return ResponseTruncated(
        f"the body ended after {size} of the {length} bytes that its Content-Length promised; "
        "FPM's log, or stderr, tells why the script ended"
    )

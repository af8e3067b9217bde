"""A request that is passed on, shown to a dispatcher's observers as its jobs are."""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import Context

from fcgi_async.dispatch.execution import Execution
from fcgi_async.dispatch.observer import JobReport, Observed, Observer, observe
from fcgi_async.dispatch.relay import RawRequest, Relay, RelayOutput
from fcgi_async.dispatch.terms import Terms
from fcgi_async.dispatch.timed import Timed
from fcgi_async.dispatch.truncation import is_truncated
from fcgi_async.errors import FastCGIError, InvalidJob, LocalProtocolError, RemoteProtocolError
from fcgi_async.job.job import Job
from fcgi_async.job.php_error import is_php_error
from fcgi_async.job.response import Headers, Response
from fcgi_async.job.settings import Limits
from fcgi_async.pool.sink import StderrBuffer
from fcgi_async.wire.cgi import CGIHead, HeadParser, HeadTooLarge
from fcgi_async.wire.records import decode_pairs, encode_pair, pack_pairs

__all__ = ("RelayWatch", "job_of", "watch")

# what a request is called that names no script, or one that no job could have
_UNKNOWN = "unknown"


class RelayWatch:
    """Passes on what comes of a request, and notes what observers are told at its end.

    Args:
        job: what the request asks, as a job.
        output: who gets what comes of it.
        observed: who is told.
        limits: how much is kept of it.
    """

    def __init__(self, job: Job, output: RelayOutput, observed: Observed, limits: Limits) -> None:
        self._job, self._output, self._observed = job, output, observed
        self._parser = HeadParser(limits.head)
        self._stderr = StderrBuffer(limits.stderr)
        self._head: CGIHead | None = None
        self._size = 0
        # it does not begin with a head
        self._faulty = False

    # RelayOutput

    def whole(self, stdout: bytes) -> None:
        """Pass it on; it was noted before."""
        self._output.whole(stdout)

    def stdout(self, data: bytes) -> None:
        """Note a part of STDOUT, and pass it on."""
        self._note(data)
        self._output.stdout(data)

    def stderr(self, data: bytes) -> None:
        """Note a part of STDERR, and pass it on."""
        self._stderr.feed(data)
        self._output.stderr(data)

    def ended(self, app_status: int) -> None:
        """Pass it on; it was noted before."""
        self._output.ended(app_status)

    def failed(self, error: FastCGIError) -> None:
        """Pass it on; it was noted before."""
        self._output.failed(error)

    def over(self, relay: Relay) -> Response | None:
        """Tell the observers, before anybody else is told; return the response, without its content."""
        attempt, error = relay.attempt, relay.error
        response: Response | None = None
        if error is None and attempt is not None:
            if attempt.whole is not None:
                self._note(attempt.whole)
            response = self._response(relay, attempt.slot.peer.name, attempt.app_status)
        endpoint = error.endpoint if error is not None else None if response is None else response.endpoint
        self._observed.tell(
            JobReport(
                self._job,
                endpoint,
                relay.attempts,
                relay.timing_so_far() if response is None else response.timing,
                attempt is not None,
                relay.connected,
                None,
                response is not None and response.ok,
                response is not None and is_php_error(response.status, response.stderr),
                response,
                error,
            )
        )
        return response

    def _note(self, data: bytes) -> None:
        if self._head is None and not self._faulty:
            try:
                found = self._parser.feed(data)
            except (RemoteProtocolError, HeadTooLarge):
                self._faulty = True
                return
            if found is None:
                return
            self._head, data = found
        self._size += len(data)

    def _response(self, relay: Timed, endpoint: str, app_status: int) -> Response:
        # what has no head is passed on too: the client is told, or tells, what is wrong with it
        head = self._head or CGIHead(502, ())
        self._stderr.end()
        return Response(
            self._job,
            head.status,
            Headers(head.headers),
            b"",
            self._stderr.value(),
            self._stderr.truncated,
            app_status,
            relay.timing_so_far(),
            endpoint,
            1,
            is_truncated(self._job, head, self._size),
        )


def watch(
    request: RawRequest, output: RelayOutput, observers: Sequence[Observer], terms: Terms[Execution], limits: Limits
) -> tuple[RawRequest, RelayWatch]:
    """Show observers a request that is about to be queued; return it with what they add, and what follows it.

    Args:
        request: as it came.
        output: who gets what comes of it.
        observers: who is told; in a context of its own, since the one that is current is of no request.
        terms: what a job may send.
        limits: how much is kept for observers.
    """
    pairs = decode_pairs(b"".join(request.params))
    job = job_of(pairs)
    observed = observe(terms, observers, job, Context())
    if observed.params:
        known = {name for name, _ in pairs}
        added = [(name.encode(), value.encode("utf-8", "surrogateescape")) for name, value in observed.params.items()]
        pairs += [pair for pair in added if pair[0] not in known]
        try:
            contents = pack_pairs([encode_pair(name, value) for name, value in pairs])
            request = RawRequest(request.role, contents, request.body)
        except LocalProtocolError:
            # one of them has no place in a record: the request goes as it came
            pass
    return request, RelayWatch(job, output, observed, limits)


def job_of(pairs: Sequence[tuple[bytes, bytes]]) -> Job:
    """Return the job that a request with these parameters is, as far as observers may want to know.

    It has the script, the method, the target, and in `params` the headers.
    """
    params = {
        name.decode("utf-8", "surrogateescape"): value.decode("utf-8", "surrogateescape") for name, value in pairs
    }
    script, method = params.get("SCRIPT_FILENAME") or _UNKNOWN, params.get("REQUEST_METHOD") or None
    headers = {name: value for name, value in params.items() if name.startswith("HTTP_") and name != "HTTP_PROXY"}
    try:
        return Job(script, method=method, uri=params.get("REQUEST_URI") or None, params=headers)
    except InvalidJob:
        pass
    try:
        return Job(script)
    except InvalidJob:
        return Job(_UNKNOWN)

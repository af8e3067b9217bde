"""Everything this library raises.

    FastCGIError
     +- ConfigurationError                what was asked for cannot work here; says where to look
     |   +- StatusUnavailable             FPM's status page is not configured or does not answer
     +- InvalidJob (ValueError)           the job itself is at fault; nothing was sent
     +- ProtocolError
     |   +- LocalProtocolError            we misused the protocol; nothing was sent
     |   +- RemoteProtocolError           the peer broke the protocol; the connection is closed
     +- TransportError
     |   +- ConnectError                  no worker could be reached
     |   +- ConnectionLost                the connection ended under a job
     +- RequestRejected                   END_REQUEST with a protocol status other than REQUEST_COMPLETE
     |   +- CannotMultiplex
     |   +- Overloaded
     |   +- UnknownRole
     +- StreamBusy (anyio.BusyResourceError)  two tasks read one stream; the job is none the worse for it
     +- DispatchError                     the dispatcher did not take the job, or ended it
     |   +- DispatcherClosed
     |   +- QueueFull
     |   +- QueueTimeout (TimeoutError)
     +- JobError                          the job was accepted, and did not end well
         +- JobFailed                     raise_for_status(): status >= 400, app_status != 0, or no success mark
         +- JobTimeout (TimeoutError)
         +- JobCancelled
         +- JobNotDone                    asked for a result that is not there yet
         +- ContentEncodingError (ValueError)  the text of a response in a Content-Encoding that cannot be decoded
         +- ResponseTooLarge
         +- ResponseTruncated             a stream's body is shorter than its Content-Length

Every error about a job carries `job`, `endpoint`, `may_have_run` and `body_truncated`; the low-level reason is
`__cause__`.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, ClassVar

from anyio import BusyResourceError

if TYPE_CHECKING:
    from fcgi_async.job.job import Job
    from fcgi_async.job.response import Response

__all__ = (
    "CannotMultiplex",
    "ConfigurationError",
    "ConnectError",
    "ConnectionLost",
    "ContentEncodingError",
    "DispatchError",
    "DispatcherClosed",
    "FastCGIError",
    "InvalidJob",
    "JobCancelled",
    "JobError",
    "JobFailed",
    "JobNotDone",
    "JobTimeout",
    "LocalProtocolError",
    "Overloaded",
    "ProtocolError",
    "QueueFull",
    "QueueTimeout",
    "RemoteProtocolError",
    "RequestRejected",
    "ResponseTooLarge",
    "ResponseTruncated",
    "StatusUnavailable",
    "StreamBusy",
    "TransportError",
    "UnknownRole",
)


class FastCGIError(Exception):
    """The base of every error this library raises.

    Attributes:
        message: what happened and what to do about it.
        job: the job it happened to, or None where no job is concerned.
        endpoint: the address of the FPM pool, or None where none had been chosen.
        may_have_run: False is a promise that PHP did not start the job.
        body_truncated: True where PHP may have seen only the beginning of the request's body.
        stderr: what PHP had logged for the job until then, up to `Limits.stderr`.
    """

    may_have_run: bool = False
    body_truncated: bool = False
    stderr: bytes = b""

    def __init__(self, message: str, *, job: Job | None = None, endpoint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.job = job
        self.endpoint = endpoint

    def about(self, job: Job, endpoint: str | None, *, may_have_run: bool, body_truncated: bool = False) -> None:
        """Add the facts known only where the job is known: which job, which endpoint, whether PHP may have run."""
        self.job = job
        self.endpoint = endpoint
        self.may_have_run = may_have_run
        self.body_truncated = body_truncated

    def __str__(self) -> str:
        if self.job is None:
            return self.message
        facts = [
            f"job {self.job.script!r}" if self.job.tag is None else f"job {self.job.script!r} (tag {self.job.tag!r})"
        ]
        if self.endpoint is not None:
            facts.append(f"at {self.endpoint}")
        facts.append("PHP may have run it" if self.may_have_run else "PHP did not start it")
        if self.body_truncated:
            facts.append("with a truncated body")
        return f"{self.message} [{', '.join(facts)}]"


class ConfigurationError(FastCGIError):
    """What was asked for cannot work as configured."""


class StatusUnavailable(ConfigurationError):
    """FPM's status page is not configured, or did not answer in time."""


class InvalidJob(FastCGIError, ValueError):
    """The job can never be sent as it is; nothing was sent.

    Attributes:
        too_long: the FastCGI parameter that is longer than PHP-FPM takes; None when something else is wrong.
    """

    too_long: str | None = None


class ProtocolError(FastCGIError):
    """The rules of FastCGI were broken; see its two subclasses for by whom."""


class LocalProtocolError(ProtocolError):
    """A verb was called that the state of the request or connection does not allow; no state changed."""


class RemoteProtocolError(ProtocolError):
    """The peer sent what FastCGI or CGI does not allow.

    Attributes:
        headers: what of a response's head are headers, if the head is at fault.
        content: the body that came with such a head.
    """

    headers: tuple[tuple[str, str], ...] = ()
    content: bytes = b""


class TransportError(FastCGIError):
    """The network, not the protocol, failed."""


class ConnectError(TransportError):
    """No worker could be reached; nothing was sent."""


class ConnectionLost(TransportError):
    """The connection ended before the response was complete."""


class RequestRejected(FastCGIError):
    """The peer answered END_REQUEST with a protocol status other than REQUEST_COMPLETE (specification 5.5).

    It did not run the job, unless `may_have_run` says that output had come before.
    """

    protocol_status: ClassVar[int]


class CannotMultiplex(RequestRejected):
    """FCGI_CANT_MPX_CONN: the peer serves one request at a time on a connection; it did not run this one."""

    protocol_status = 1


class Overloaded(RequestRejected):
    """FCGI_OVERLOADED: the peer has run out of some resource; it did not run the job."""

    protocol_status = 2


class UnknownRole(RequestRejected):
    """FCGI_UNKNOWN_ROLE: the peer does not serve the job's role; it did not run the job."""

    protocol_status = 3


class StreamBusy(FastCGIError, BusyResourceError):
    """Two tasks read one `ResponseStream` at the same time; let one of them do it. The other one is not disturbed."""

    # a stream has its head
    may_have_run = True

    def __init__(self, message: str, *, job: Job | None = None, endpoint: str | None = None) -> None:
        # anyio's makes a message of its own
        Exception.__init__(self, message)
        self.message = message
        self.job = job
        self.endpoint = endpoint


class DispatchError(FastCGIError):
    """The dispatcher, not PHP or the network, ended the job; PHP saw it only where `may_have_run` says so."""


class DispatcherClosed(DispatchError):
    """The dispatcher is closed, or closing, or was never entered."""


class QueueFull(DispatchError):
    """The queue holds `max_queued` jobs and the dispatcher was told to reject more."""


class QueueTimeout(DispatchError, TimeoutError):
    """The deadline passed before a worker took the job."""


class JobError(FastCGIError):
    """The job was accepted and did not end as asked."""


class JobFailed(JobError):
    """PHP answered with a status of 400 or more, an app_status other than 0, or without the job's success mark."""

    may_have_run = True

    def __init__(self, message: str, *, response: Response) -> None:
        super().__init__(message, job=response.job, endpoint=response.endpoint)
        self.response = response

    def __reduce__(self) -> tuple[object, ...]:
        return partial(type(self), response=self.response), (self.message,), self.__dict__


class JobTimeout(JobError, TimeoutError):
    """The deadline passed after a worker had taken the job."""


class JobCancelled(JobError):
    """The job was cancelled through its handle or its group."""


class JobNotDone(JobError):
    """The result of a job was asked for before there was one."""


class ContentEncodingError(JobError, ValueError):
    """The response's text was asked for, and its Content-Encoding is not known or not what it says."""

    may_have_run = True


class ResponseTooLarge(JobError):
    """The response or its head outgrew `Limits`, and the rest of it is thrown away; or its text does, once decoded."""


class ResponseTruncated(JobError):
    """The body of a streamed response is shorter than its Content-Length: PHP ended in the middle of it."""

    may_have_run = True

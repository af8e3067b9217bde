"""The errors of this library.

    FastCGIError
     +- ConfigurationError                a setting or an argument cannot work; the message tells why
     |   +- StatusUnavailable             FPM's status page is not configured or does not answer
     +- InvalidJob (ValueError)           the job itself is at fault; nothing was sent
     +- ProtocolError
     |   +- LocalProtocolError            the caller misused the protocol; nothing was sent
     |   +- RemoteProtocolError           the peer broke the protocol; the connection is closed
     +- TransportError
     |   +- ConnectError                  no worker could be reached
     |   +- ConnectionLost                the connection ended under a job
     +- RequestRejected                   END_REQUEST with a protocol status other than REQUEST_COMPLETE
     |   +- CannotMultiplex
     |   +- Overloaded
     |   +- UnknownRole
     +- StreamBusy (anyio.BusyResourceError)  two tasks read one stream; the job is not affected
     +- DispatchError                     the dispatcher did not take the job, or ended it
     |   +- DispatcherClosed
     |   +- QueueFull
     |   +- QueueTimeout (TimeoutError)
     +- JobError                          the job was accepted and did not succeed
         +- JobFailed                     raise_for_status(): status >= 400, app_status != 0, or no success mark
         +- JobTimeout (TimeoutError)
         +- JobCancelled
         +- JobNotDone                    the result was requested before the job was done
         +- ContentEncodingError (ValueError)  the text of a response in a Content-Encoding that cannot be decoded
         +- ResponseTooLarge
         +- ResponseTruncated             a stream's body is shorter than its Content-Length
         +- CallError                     call() has no result: not JSON, another type, no answer of fcgi_call.php
             +- CallRefused               PHP's side does not allow the function
             +- PHPError                  the PHP function threw an exception
                 +- PHPFatalError         it died of a fatal error
                 +- PHPExited             it called exit()

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
    "CallError",
    "CallRefused",
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
    "PHPError",
    "PHPExited",
    "PHPFatalError",
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
    "rejection",
)


class FastCGIError(Exception):
    """The base of every error this library raises.

    Attributes:
        message: what happened and what to do about it.
        job: the job that failed, or None if the error is not about a job.
        endpoint: the address of the FPM pool, or None if none was chosen yet.
        may_have_run: False is a promise that PHP did not start the job.
        body_truncated: True if PHP may have seen only the beginning of the request's body.
        stderr: what PHP wrote to STDERR for the job before the error, up to `Limits.stderr`.
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
        """Add the facts that only the caller knows: the job, the endpoint, and whether PHP may have run it."""
        self.job = job
        self.endpoint = endpoint
        self.may_have_run = may_have_run
        self.body_truncated = body_truncated

    def _described(self) -> str:
        return self.message

    def __str__(self) -> str:
        if self.job is None:
            return self._described()
        facts = [
            f"job {self.job.script!r}" if self.job.tag is None else f"job {self.job.script!r} (tag {self.job.tag!r})"
        ]
        if self.endpoint is not None:
            facts.append(f"at {self.endpoint}")
        facts.append("PHP may have run it" if self.may_have_run else "PHP did not start it")
        if self.body_truncated:
            facts.append("with a truncated body")
        return f"{self._described()} [{', '.join(facts)}]"


class ConfigurationError(FastCGIError):
    """A setting or an argument cannot work; the message tells why, and what to do."""


class StatusUnavailable(ConfigurationError):
    """FPM's status page is not configured, or did not answer in time."""


class InvalidJob(FastCGIError, ValueError):
    """The job can never be sent; nothing was sent.

    Attributes:
        too_long: the FastCGI parameter that is too long for PHP-FPM; None if something else is wrong.
    """

    too_long: str | None = None


class ProtocolError(FastCGIError):
    """The rules of FastCGI were broken, by the caller or by the peer: see the two subclasses."""


class LocalProtocolError(ProtocolError):
    """The state of the request or connection does not allow this call; nothing was changed."""


class RemoteProtocolError(ProtocolError):
    """The peer sent something that FastCGI or CGI does not allow.

    Attributes:
        headers: the valid headers of a response's head, if the head is malformed.
        content: the body that came with that head.
    """

    headers: tuple[tuple[str, str], ...] = ()
    content: bytes = b""


class TransportError(FastCGIError):
    """The network failed, not the protocol."""


class ConnectError(TransportError):
    """No worker could be reached; nothing was sent."""


class ConnectionLost(TransportError):
    """The connection ended before the response was complete."""


class RequestRejected(FastCGIError):
    """The peer answered END_REQUEST with a protocol status other than REQUEST_COMPLETE (specification 5.5).

    The peer did not run the job, unless `may_have_run` is True because output had come before.
    """

    protocol_status: ClassVar[int]


class CannotMultiplex(RequestRejected):
    """FCGI_CANT_MPX_CONN: the peer serves one request at a time on a connection; it did not run this one."""

    protocol_status = 1


class Overloaded(RequestRejected):
    """FCGI_OVERLOADED: the peer has run out of a resource; it did not run the job."""

    protocol_status = 2


class UnknownRole(RequestRejected):
    """FCGI_UNKNOWN_ROLE: the peer does not serve the job's role; it did not run the job."""

    protocol_status = 3


_REJECTIONS: dict[int, type[RequestRejected]] = {
    kind.protocol_status: kind for kind in (CannotMultiplex, Overloaded, UnknownRole)
}


def rejection(protocol_status: int, message: str) -> RequestRejected:
    """Return the error of a protocol status other than REQUEST_COMPLETE."""
    return _REJECTIONS[protocol_status](message)


class StreamBusy(FastCGIError, BusyResourceError):
    """Two tasks read one `ResponseStream` at the same time; let only one read it. The first reader is not affected."""

    # a stream already has its head
    may_have_run = True

    def __init__(self, message: str, *, job: Job | None = None, endpoint: str | None = None) -> None:
        # anyio's class makes its own message
        Exception.__init__(self, message)
        self.message = message
        self.job = job
        self.endpoint = endpoint


class DispatchError(FastCGIError):
    """The dispatcher, not PHP or the network, ended the job; PHP saw it only if `may_have_run` is True."""


class DispatcherClosed(DispatchError):
    """The dispatcher is closed or closing, or was never entered."""


class QueueFull(DispatchError):
    """The queue holds `max_queued` jobs, and `overflow` is "reject"."""


class QueueTimeout(DispatchError, TimeoutError):
    """The deadline passed before a worker took the job."""


class JobError(FastCGIError):
    """The job was accepted and did not succeed."""


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
    """The result of a job was requested before there was one."""


class ContentEncodingError(JobError, ValueError):
    """The response's text was requested, but its Content-Encoding is unknown, or its body is not encoded that way."""

    may_have_run = True


class ResponseTooLarge(JobError):
    """The response, its head or its decoded text is longer than `Limits` allow; the rest is discarded."""


class ResponseTruncated(JobError):
    """The body of a streamed response is shorter than its Content-Length: PHP ended in the middle."""

    may_have_run = True


class CallError(JobError):
    """A call of a PHP function has no usable result; `message` tells why.

    Attributes:
        function: the function that was called.
    """

    may_have_run = True

    def __init__(
        self, message: str, *, function: str = "", job: Job | None = None, endpoint: str | None = None
    ) -> None:
        super().__init__(message, job=job, endpoint=endpoint)
        self.function = function


class CallRefused(CallError):
    """PHP's side does not allow the function, or it does not exist; it was not called, although the script ran."""


class PHPError(CallError):
    """A PHP function threw an exception.

    Attributes:
        message: the exception's message.
        class_name: its class, such as "RuntimeException".
        code: its code; PDO's exceptions have text.
        file: where it was thrown, on FPM's side.
        line: the line in the file, from 1; 0 if it is not known.
        previous: the exception that led to it, also set as `__cause__`; or None.
    """

    def __init__(
        self,
        message: str,
        *,
        function: str = "",
        class_name: str = "",
        code: int | str = 0,
        file: str = "",
        line: int = 0,
        previous: PHPError | None = None,
    ) -> None:
        super().__init__(message, function=function)
        self.class_name = class_name
        self.code = code
        self.file = file
        self.line = line
        self.previous = previous

    def _described(self) -> str:
        code = f" (code {self.code})" if self.code else ""
        return f"{self.function}() threw {self.class_name}: {self.message}{code} in {self.file}:{self.line}"


class PHPFatalError(PHPError):
    """A PHP function died of a fatal error: out of memory, out of time, or a class that cannot be compiled.

    `code` is PHP's number for the kind of error, 1 for E_ERROR.
    """

    def _described(self) -> str:
        return f"{self.function}() died of a fatal error: {self.message} in {self.file}:{self.line}"


class PHPExited(PHPError):
    """A PHP function called exit() or die(); PHP-FPM does not report the exit code.

    Attributes:
        output: the first 2,000 bytes that it had printed.
    """

    def __init__(self, message: str, *, function: str = "", class_name: str = "exit", output: str = "") -> None:
        super().__init__(message, function=function, class_name=class_name)
        self.output = output

    def _described(self) -> str:
        return f"{self.function}() did not return: {self.message}"

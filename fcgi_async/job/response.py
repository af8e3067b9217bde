"""Responses: status, headers, body, STDERR, and where the time went."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Generic

import attrs

from fcgi_async.errors import ContentEncodingError, JobFailed, ResponseTooLarge
from fcgi_async.job.charset import decode_text
from fcgi_async.job.content_coding import ContentTooLong, decode_content
from fcgi_async.job.job import Job
from fcgi_async.job.settings import Limits
from fcgi_async.job.success_mark import END_SHOWN, is_marked
from fcgi_async.job.tag import Tag

__all__ = ("DEFAULT_LIMIT", "Headers", "Response", "Timing", "describe_failure")

DEFAULT_LIMIT = Limits().response
_STDERR_SHOWN = 300
# PHP-FPM's message for a script that it does not find
_UNKNOWN = b"Primary script unknown"
_new, _set = object.__new__, object.__setattr__


class Headers(Mapping[str, str]):
    """Response headers: a case-insensitive mapping; for a repeated name it has the first value.

    Attributes:
        raw: the pairs unchanged, in their order.
    """

    __slots__ = ("_first", "raw")

    def __init__(self, raw: tuple[tuple[str, str], ...] = ()) -> None:
        self.raw = raw
        self._first: dict[str, str] | None = None

    def get_list(self, name: str) -> list[str]:
        """Return all values of a header in order, for example of Set-Cookie."""
        name = name.lower()
        return [value for key, value in self.raw if key.lower() == name]

    def __getitem__(self, name: str) -> str:
        return self._lowered()[name.lower()]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._lowered()

    def __iter__(self) -> Iterator[str]:
        return iter(self._lowered())

    def __len__(self) -> int:
        return len(self._lowered())

    def __repr__(self) -> str:
        return f"Headers({list(self.raw)!r})"

    def _lowered(self) -> dict[str, str]:
        if self._first is None:
            self._first = {}
            for name, value in self.raw:
                self._first.setdefault(name.lower(), value)
        return self._first


# these two have no slots, and all attributes are set at once: one by one would cost several times as much
@attrs.frozen(slots=False, init=False)
class Timing:
    """Where the time of a job went, in seconds.

    Attributes:
        queued: from the call until a worker took the job; any wait for a worker is queue time.
        connect: the connect() call of a connection that was opened for this job, a part of `queued`; 0 on a kept
            connection.
        first_byte: from the moment when a worker took the job to the first byte of the response.
        total: from the call to the end of the response.
    """

    queued: float
    connect: float
    first_byte: float
    total: float

    def __init__(self, queued: float, connect: float, first_byte: float, total: float) -> None:
        _set(self, "__dict__", {"queued": queued, "connect": connect, "first_byte": first_byte, "total": total})


@attrs.frozen(eq=False, slots=False)
class Response(Generic[Tag]):
    """PHP's answer, whatever its status.

    Attributes:
        job: the job that was run.
        status: 200 if PHP gave no status.
        headers: without `Status`.
        content: the body as PHP sent it.
        stderr: what PHP wrote to STDERR while it ran the job, up to `Limits.stderr`; FPM truncates each message at its
            `log_limit`.
        stderr_truncated: whether there was more.
        app_status: always 0 from PHP-FPM: even exit(1) looks like success.
        timing: where the time went.
        endpoint: the address that answered.
        attempts: how many times the job was sent; usually 1.
        truncated: whether the body is shorter than its Content-Length: PHP ended in the middle.
    """

    job: Job[Tag]
    status: int
    headers: Headers
    content: bytes
    stderr: bytes
    stderr_truncated: bool
    app_status: int
    timing: Timing
    endpoint: str
    attempts: int
    truncated: bool = False
    # most bytes of the decoded body
    _limit: int = DEFAULT_LIMIT

    @classmethod
    def having(cls, own: dict[str, object]) -> Response:
        """Return a response with the attributes in `own`; class attributes hold the rest, which most responses share.

        Args:
            own: attributes by name, at least the first six of the class; the dict is not copied.
        """
        response = _new(cls)
        _set(response, "__dict__", own)
        return response

    @property
    def status_code(self) -> int:
        """The same as `status`."""
        return self.status

    @property
    def text(self) -> str:
        """The body as text, without its Content-Encoding, which may be gzip or deflate.

        It is decoded in the charset of the Content-Type if that is a common one, otherwise in UTF-8; bytes that cannot
        be decoded are replaced.

        Raises:
            ContentEncodingError: the body has another Content-Encoding, or is not encoded with the one it names.
            ResponseTooLarge: the decoded body is longer than `Limits.response`.
        """
        return decode_text(self._decoded(), self.headers.get("content-type", ""))

    def json(self) -> object:
        """Return the body parsed as JSON, with its Content-Encoding decoded as for `text`.

        Raises:
            ValueError: it is not JSON.
            ContentEncodingError: as for `text`; it is also a ValueError.
            ResponseTooLarge: as for `text`.
        """
        content = self._decoded()
        try:
            return json.loads(content)
        except ValueError as error:
            error.add_note(
                f"{self.job.script!r} at {self.endpoint} answered with status {self.status}, Content-Type "
                f"{self.headers.get('content-type')!r} and a body that begins {content[:80]!r}; check what PHP "
                "prints before the JSON, such as a warning"
            )
            raise

    @property
    def ok(self) -> bool:
        """Whether the status is below 400, app_status is 0, and the body is complete, with its success mark if any."""
        return self.status < 400 and self.app_status == 0 and not self.truncated and self._marked

    def raise_for_status(self) -> Response[Tag]:
        """Return this response if it is `ok`.

        Raises:
            JobFailed: it is not `ok`.
        """
        if self.ok:
            return self
        raise describe_failure(self, self.content, marked=self._marked)

    def __repr__(self) -> str:
        return f"<Response {self.status} of {self.job.script!r}, {len(self.content)} bytes>"

    def _decoded(self) -> bytes:
        if "content-encoding" not in self.headers:
            return self.content
        codings = ", ".join(self.headers.get_list("content-encoding"))
        try:
            return decode_content(self.content, codings, self._limit)
        except ContentTooLong:
            error: ContentEncodingError | ResponseTooLarge = ResponseTooLarge(
                f"without its Content-Encoding the response is longer than Limits.response, {self._limit} bytes; "
                "its content is there as it was sent"
            )
        except ValueError as fault:
            error = ContentEncodingError(
                f"the response's Content-Encoding: {codings[:100]} cannot be decoded: {fault}; "
                "its content is there as it was sent"
            )
            error.__cause__ = fault
        error.about(self.job, self.endpoint, may_have_run=True)
        raise error

    @property
    def _marked(self) -> bool:
        return self.job.success_mark is None or is_marked(self.content, self.job.success_mark)


# the attributes that `having()` does not need
for _name, _value in {
    "stderr": b"",
    "stderr_truncated": False,
    "app_status": 0,
    "attempts": 1,
    "truncated": False,
    "_limit": DEFAULT_LIMIT,
}.items():
    setattr(Response, _name, _value)


def describe_failure(response: Response, content: bytes, *, marked: bool) -> JobFailed:
    """Return the error for a response that is not ok; only the end of its content matters."""
    what = f"PHP answered with status {response.status}"
    if response.app_status:
        what += f" and app_status {response.app_status}"
    if response.truncated:
        what += f", and its body is truncated: {len(content)} of {response.headers['content-length']} bytes came"
    if not marked and response.status < 400 and not response.app_status:
        end = content[-END_SHOWN:].decode("utf-8", "replace")
        what += (
            f", and without the mark {response.job.success_mark!r} at its end: the script ended early, or its output "
            f"was truncated; it ends with {end!r}"
        )
    if response.stderr:
        what += f": {response.stderr[:_STDERR_SHOWN].decode('utf-8', 'replace')}"
    if response.status == 404 and _UNKNOWN in response.stderr:
        what += "; give the script's absolute path as PHP-FPM sees it (chroot, container, PrivateTmp)"
    return JobFailed(what, response=response)

"""What comes back: status, headers, body, stderr, and where the time went."""

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

__all__ = ("Headers", "Response", "Timing", "describe_failure")

_DEFAULT_LIMIT = Limits().response
_STDERR_SHOWN = 300


class Headers(Mapping[str, str]):
    """Response headers: a case-insensitive mapping in which the first of several equal names wins.

    Attributes:
        raw: the pairs as they came, in their order.
    """

    __slots__ = ("_first", "raw")

    def __init__(self, raw: tuple[tuple[str, str], ...] = ()) -> None:
        self.raw = raw
        self._first: dict[str, str] | None = None

    def get_list(self, name: str) -> list[str]:
        """Return every value of a header, in their order, such as each Set-Cookie."""
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


# these two without slots, which would double what it costs to make a frozen one
@attrs.frozen(slots=False)
class Timing:
    """Where the time of a job went, in seconds.

    Attributes:
        queued: from the call until a worker took the job; waiting for a worker is queue time, whatever it waited for.
        connect: the connect() call of a connection that was new for this job, a part of `queued`; 0 on a kept
            connection.
        first_byte: from the worker's taking the job to the first byte of the response.
        total: from the call to the end of the response.
    """

    queued: float
    connect: float
    first_byte: float
    total: float


@attrs.frozen(eq=False, slots=False)
class Response(Generic[Tag]):
    """What PHP answered, whatever it answered.

    Attributes:
        job: what was asked.
        status: 200 where PHP gave no status.
        headers: without `Status`.
        content: the body, as it was sent.
        stderr: what PHP logged while it ran the job, up to `Limits.stderr`; FPM cuts each message at its `log_limit`.
        stderr_truncated: whether there was more.
        app_status: 0 from PHP-FPM, always: there even exit(1) looks like success.
        timing: where the time went.
        endpoint: the address that answered.
        attempts: how often the job was sent, 1 for most.
        truncated: whether the body is shorter than its Content-Length: PHP ended in the middle of it.
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
    # bytes that the body may have once it is decoded
    _limit: int = _DEFAULT_LIMIT

    @property
    def status_code(self) -> int:
        """The same as `status`."""
        return self.status

    @property
    def text(self) -> str:
        """The body as text, without its Content-Encoding, which may be gzip or deflate.

        It is decoded as Content-Type says if that names a common charset, otherwise as UTF-8; what cannot be decoded is
        replaced.

        Raises:
            ContentEncodingError: the body has another Content-Encoding, or is not in the one it names.
            ResponseTooLarge: it is longer than `Limits.response` once it is decoded.
        """
        return decode_text(self._decoded(), self.headers.get("content-type", ""))

    def json(self) -> object:
        """Return the body parsed as JSON, without its Content-Encoding, as `text`.

        Raises:
            ValueError: it is not JSON.
            ContentEncodingError: as `text`; a ValueError too.
            ResponseTooLarge: as `text`.
        """
        return json.loads(self._decoded())

    @property
    def ok(self) -> bool:
        """Whether the status is below 400, the app_status 0, the body whole, and the mark there if the job has one."""
        return self.status < 400 and self.app_status == 0 and not self.truncated and self._marked

    def raise_for_status(self) -> Response[Tag]:
        """Return this response where it is `ok`.

        Raises:
            JobFailed: it is not.
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


def describe_failure(response: Response, content: bytes, *, marked: bool) -> JobFailed:
    """Return the error of a response that is not ok; of its content only the end matters."""
    what = f"PHP answered with status {response.status}"
    if response.app_status:
        what += f" and app_status {response.app_status}"
    if response.truncated:
        what += f", and its body is cut: {len(content)} of {response.headers['content-length']} bytes came"
    if not marked and response.status < 400 and not response.app_status:
        end = content[-END_SHOWN:].decode("utf-8", "replace")
        what += (
            f", and without the mark {response.job.success_mark!r} at its end: the script ended early, or its output "
            f"was cut; it ends with {end!r}"
        )
    if response.stderr:
        what += f": {response.stderr[:_STDERR_SHOWN].decode('utf-8', 'replace')}"
    return JobFailed(what, response=response)

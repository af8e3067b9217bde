"""Job: one run of a PHP script."""

from __future__ import annotations

import re
from collections.abc import AsyncIterable, Mapping, Sequence
from urllib.parse import unquote

import attrs

from fcgi_async.dispatch.body import BodyStream, Pairs, encode_form, encode_json, encode_multipart, encode_pairs, opener
from fcgi_async.dispatch.settings import UNSET, Timeout, check_timeout
from fcgi_async.errors import InvalidJob
from fcgi_async.wire.spec import MAX_CONTENT, Role

__all__ = ("Job", "check_pair", "header_param")

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")

# plain names, since looking up a member of an enum costs more than what is done with it
_RESPONDER = Role.RESPONDER

# decided by the job's own fields; a second value would be a doubled parameter
_OWN_PARAMS = {
    "SCRIPT_FILENAME": "script=",
    "REQUEST_METHOD": "method=",
    "CONTENT_TYPE": "a Content-Type header",
}


@attrs.frozen(eq=False, kw_only=True)
class Job:
    """One run of a PHP script; a value that may be run several times, unless its body is an iterable.

    Args:
        script: the file to run, on FPM's side: absolute, or relative to `Endpoint.root`.
        uri: the request target, such as "/orders/7?x=1", for a front controller that routes by it; excludes `query`.
        method: the request method; POST with a body, GET without, unless given.
        query: the query string: a mapping, a sequence of pairs, or encoded already.
        content: the body: bytes, str, or an async iterable of bytes together with `content_length`.
        content_length: bytes in the body; needed where `content` is an iterable, and only there.
        json: the body, as JSON.
        form: the body, as a form; beside `files` its fields.
        files: the body, as multipart: {name: (filename, content, content_type)}, where content is bytes, str, a path,
            or an async iterable whose length stands behind the content type. Paths and iterables are streamed.
        headers: request headers; PHP sees them as HTTP_*.
        params: FastCGI parameters; they override those sent by default.
        priority: jobs of a higher priority are run first.
        timeout: seconds from the call to the response; None for no limit.
        queue_timeout: seconds until a worker takes the job.
        run_timeout: seconds from then to the response.
        idempotent: whether running the script twice does no harm, so that it is tried again where it may have run.
        finishes_early: False where the caller wants to wait until the worker has left the script, not only for the
            response.
        success_mark: what the body must end with, a line end aside, for the response to be `ok`; PHP-FPM says of
            exit(1), and with display_errors of fatal errors, what it says of success. None demands nothing.
        role: what PHP is asked to be, a responder or an authorizer; PHP-FPM runs both as responders.
        tag: the caller's name for the job, in logs and errors.

    Raises:
        InvalidJob: it could never be sent; says why.
    """

    script: str = attrs.field(kw_only=False)
    uri: str | None = None
    method: str | None = None
    query: Pairs | None = None
    content: bytes | str | AsyncIterable[bytes] | None = attrs.field(default=None, repr=False)
    content_length: int | None = None
    json: object = attrs.field(default=None, repr=False)
    form: Pairs | None = attrs.field(default=None, repr=False)
    files: Mapping[str, Sequence[object]] | None = attrs.field(default=None, repr=False)
    # not shown: they carry credentials
    headers: Mapping[str, str] | None = attrs.field(default=None, repr=False)
    params: Mapping[str, str] | None = attrs.field(default=None, repr=False)
    priority: int = 0
    timeout: Timeout = UNSET
    queue_timeout: Timeout = UNSET
    run_timeout: Timeout = UNSET
    idempotent: bool = False
    finishes_early: bool = True
    success_mark: str | None = None
    role: Role = Role.RESPONDER
    tag: object = None
    # what is sent
    body: bytes | BodyStream = attrs.field(init=False, repr=False)
    content_type: str | None = attrs.field(init=False, repr=False)
    # whether it says nothing but its script, so that its request is the same each time
    plain: bool = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        if not _check_text("script", self.script):
            raise InvalidJob("script= is empty; name the PHP file to run")
        if self.success_mark is not None and not _check_text("success_mark", self.success_mark).strip():
            raise InvalidJob("success_mark= is blank; name what the script prints last of all")
        if not isinstance(self.priority, int):
            raise InvalidJob(f"priority={self.priority!r} is not a whole number")
        if not self.timeout is self.queue_timeout is self.run_timeout is UNSET:
            self._check_timeouts()
        plain = (
            (self.uri is None and self.method is None and self.query is None)
            and (self.content is None and self.content_length is None and self.json is None)
            and (self.form is None and self.files is None and not self.headers and not self.params)
            and self.role is _RESPONDER
        )
        body, content_type = (b"", None) if plain else self._check_request()
        object.__setattr__(self, "body", body)
        object.__setattr__(self, "content_type", content_type)
        object.__setattr__(self, "plain", plain)

    @property
    def query_string(self) -> str:
        """QUERY_STRING, from `uri` or `query`."""
        if self.uri is not None:
            return self.uri.partition("?")[2]
        return "" if self.query is None else encode_pairs("query", self.query)

    @property
    def path_info(self) -> str | None:
        """PATH_INFO: the decoded path of `uri`."""
        return None if self.uri is None else unquote(self.uri.partition("?")[0], errors="surrogateescape")

    @property
    def has_body(self) -> bool:
        """Whether a body was given, be it empty."""
        return self.content is not None or self.json is not None or self.form is not None or self.files is not None

    def _check_request(self) -> tuple[bytes | BodyStream, str | None]:
        """Refuse what could never be sent, and return the body and its type."""
        if self.method is not None and not _TOKEN.match(_check_text("method", self.method)):
            raise InvalidJob(f"method={self.method!r} is not a request method")
        check_pair("REQUEST_METHOD", self.method or "")
        self._check_target()
        if self.headers:
            _check_headers(self.headers)
        if self.params:
            self._check_params(self.params)
        if self.role is Role.FILTER:
            raise InvalidJob("role=Role.FILTER needs a second stream, the file to filter, which a job does not have")
        if self.role is Role.AUTHORIZER and self.has_body:
            raise InvalidJob("role=Role.AUTHORIZER has no body; the body goes to the request that was authorized")
        return self._encode_body()

    def _check_timeouts(self) -> None:
        for name in ("timeout", "queue_timeout", "run_timeout"):
            try:
                check_timeout(name, getattr(self, name))
            except ValueError as error:
                raise InvalidJob(str(error)) from None

    def _check_target(self) -> None:
        if self.uri is not None:
            _check_text("uri", self.uri)
            if self.query is not None:
                raise InvalidJob("uri= and query= are both given; write the query into the uri")
            if not self.uri.startswith("/") or any(character.isspace() for character in self.uri):
                raise InvalidJob(
                    f"uri={self.uri!r} does not start with / or has blanks; it is a request target like /orders/7?x=1"
                )
            _check_text("uri's path", self.path_info or "")
            check_pair("REQUEST_URI", self.uri)
        check_pair("QUERY_STRING", _check_text("query", self.query_string))

    def _check_params(self, params: Mapping[str, str]) -> None:
        for name, value in params.items():
            if not _check_text(f"the name {name!r} in params", name):
                raise InvalidJob("params has an empty name; PHP drops such a parameter")
            _check_text(f"params[{name!r}]", value)
            check_pair(name, value)
            if name in _OWN_PARAMS:
                raise InvalidJob(f"params[{name!r}] would be sent twice; say it with {_OWN_PARAMS[name]}")
        if self.uri is not None and not {"REQUEST_URI", "QUERY_STRING", "PATH_INFO"}.isdisjoint(params):
            raise InvalidJob("uri= sets REQUEST_URI, QUERY_STRING and PATH_INFO; params must not set them again")
        if self.query is not None and "QUERY_STRING" in params:
            raise InvalidJob("query= sets QUERY_STRING; params must not set it again")
        for name in self.headers or ():
            if header_param(name) in params:
                raise InvalidJob(
                    f"the header {name!r} and params[{header_param(name)!r}] are the same parameter; give one of them"
                )

    def _encode_body(self) -> tuple[bytes | BodyStream, str | None]:
        given = [name for name in ("content", "json", "form", "files") if getattr(self, name) is not None]
        if len(given) > 1 and given != ["form", "files"]:
            raise InvalidJob(f"{' and '.join(f'{name}=' for name in given)} are both bodies; give one")
        if self.content_length is not None and not isinstance(self.content, AsyncIterable):
            raise InvalidJob("content_length= is for a content= that is an async iterable; otherwise it is counted")
        if self.files is not None:
            content_type, body = encode_multipart(self.files, self.form)
            return body, content_type
        if self.json is not None:
            return encode_json(self.json), "application/json"
        if self.form is not None:
            return encode_form(self.form), "application/x-www-form-urlencoded"
        return self._encode_content(), None

    def _encode_content(self) -> bytes | BodyStream:
        content = self.content
        if content is None:
            return b""
        if isinstance(content, bytes):
            return content
        if isinstance(content, str):
            try:
                return content.encode()
            except UnicodeEncodeError as error:
                raise InvalidJob(f"content= cannot be encoded: {error}; give bytes") from None
        if isinstance(content, bytearray | memoryview):
            return bytes(content)
        if not isinstance(content, AsyncIterable):
            raise InvalidJob(
                f"content= is bytes, str or an async iterable of bytes, not {type(content).__name__}; "
                "for data use json= or form="
            )
        length = self.content_length
        if not isinstance(length, int) or isinstance(length, bool) or length < 0:
            raise InvalidJob(
                "content= is an iterable and needs content_length=: PHP-FPM takes no body of unknown length"
            )
        return BodyStream(length, opener(content), replayable=False)


def header_param(name: str) -> str:
    """Return the parameter that carries a request header (RFC 3875, 4.1.18)."""
    param = name.upper().replace("-", "_")
    return param if param in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{param}"


def check_pair(name: str, value: str) -> None:
    """Raise InvalidJob where a parameter does not fit into one PARAMS record, which PHP-FPM insists on."""
    if len(name) + len(value) <= 16000:
        return
    size = len(name.encode("utf-8", "surrogateescape")) + len(value.encode("utf-8", "surrogateescape"))
    if size + 8 > MAX_CONTENT:
        error = InvalidJob(f"the parameter {name!r} is longer than the 64 KiB that PHP-FPM takes; send it in the body")
        error.too_long = name
        raise error


def _check_text(what: str, value: object) -> str:
    if not isinstance(value, str):
        raise InvalidJob(f"{what} is a string, not {type(value).__name__}")
    if "\0" in value:
        raise InvalidJob(f"{what} has a NUL; PHP would cut it there")
    if not value.isascii():
        try:
            value.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError as error:
            raise InvalidJob(f"{what} cannot be encoded: {error}") from None
    return value


def _check_headers(headers: Mapping[str, str]) -> None:
    seen: dict[str, str] = {}
    for name, value in headers.items():
        if not _TOKEN.match(_check_text(f"the header name {name!r}", name)):
            raise InvalidJob(f"{name!r} is not the name of a header")
        if "\r" in _check_text(f"headers[{name!r}]", value) or "\n" in value:
            raise InvalidJob(f"headers[{name!r}] has a line break")
        param = header_param(name)
        if param == "CONTENT_LENGTH":
            raise InvalidJob("a Content-Length header is not yours to give; it is counted")
        if param in seen:
            raise InvalidJob(f"the headers {seen[param]!r} and {name!r} become the same parameter {param}")
        check_pair(param, value)
        seen[param] = name

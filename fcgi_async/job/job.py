"""Job: one run of a PHP script."""

from __future__ import annotations

import os
from collections.abc import AsyncIterable, Mapping
from typing import Generic
from urllib.parse import unquote

import attrs

from fcgi_async.errors import InvalidJob
from fcgi_async.job.body import BodyStream, File, encode_json, encode_multipart, opener
from fcgi_async.job.form import Pairs, encode_form, encode_pairs
from fcgi_async.job.headers import TOKEN, RequestHeaders, header_params
from fcgi_async.job.param_text import check_pair, check_text
from fcgi_async.job.settings import UNSET, Timeout, check_timeout
from fcgi_async.job.tag import Tag
from fcgi_async.wire.spec import Role

__all__ = ("Job",)

# plain names, since looking up a member of an enum costs more than what is done with it
_RESPONDER = Role.RESPONDER

# decided by the job's own fields; a second value would be a doubled parameter
_OWN_PARAMS = {
    "SCRIPT_FILENAME": "script=",
    "REQUEST_METHOD": "method=",
    "CONTENT_TYPE": "a Content-Type header",
}

_NO_PARAMS: Mapping[str, str] = {}
_set = object.__setattr__


def _script(value: str | os.PathLike[str]) -> str:
    # asking an abstract class costs more than the rest of a plain job
    return value if type(value) is str or not isinstance(value, os.PathLike) else os.fspath(value)


@attrs.frozen(eq=False, kw_only=True)
class Job(Generic[Tag]):
    """One run of a PHP script; a value that may be run several times, unless its body is an iterable.

    Args:
        script: the file to run, on FPM's side: absolute, or relative to `Endpoint.root`; str or path.
        uri: the request target, such as "/orders/7?x=1", for a front controller that routes by it; excludes `query`.
        method: the request method, upper-cased; POST with a body, GET without, unless given.
        query: the query string: a mapping, a sequence of pairs, or a string that is encoded already. Mappings and
            sequences inside it are named as PHP's http_build_query() names them, `a[b]` and `a[0]`; True is 1, False
            is 0, None is left out; bytes are sent as they are.
        content: the body: bytes, str, or an async iterable of bytes together with `content_length`.
        content_length: bytes in the body; needed where `content` is an iterable, and only there.
        json: the body, as JSON.
        form: the body, as a form, encoded as `query` is; beside `files` its fields.
        files: the body, as multipart: {name: content}, or {name: (filename, content[, content_type[, length]])}. The
            content is bytes, str, a path, a file opened in binary mode, or an async iterable of `length` bytes; all
            but the first two are streamed. Without a content type the filename's extension decides it. An open file is
            sent from where it stands now, is not closed, and is the job's until that is done.
        headers: request headers, a mapping or a sequence of pairs; PHP sees them as HTTP_*. What pairs repeat is
            joined, a Cookie by "; ", others by ", ".
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
        tag: the caller's name for the job, in logs and errors. `Job[int]` is one whose tag is an int.

    Raises:
        InvalidJob: it could never be sent; says why.
    """

    script: str = attrs.field(kw_only=False, converter=_script)
    uri: str | None = None
    method: str | None = None
    query: Pairs | None = None
    content: bytes | str | AsyncIterable[bytes] | None = attrs.field(default=None, repr=False)
    content_length: int | None = None
    json: object = attrs.field(default=None, repr=False)
    form: Pairs | None = attrs.field(default=None, repr=False)
    files: Mapping[str, File] | None = attrs.field(default=None, repr=False)
    # not shown: they carry credentials
    headers: RequestHeaders | None = attrs.field(default=None, repr=False)
    params: Mapping[str, str] | None = attrs.field(default=None, repr=False)
    priority: int = 0
    timeout: Timeout = UNSET
    queue_timeout: Timeout = UNSET
    run_timeout: Timeout = UNSET
    idempotent: bool = False
    finishes_early: bool = True
    success_mark: str | None = None
    role: Role = Role.RESPONDER
    tag: Tag = attrs.field(default=None)
    # what is sent
    query_string: str = attrs.field(init=False, repr=False)
    header_params: Mapping[str, str] = attrs.field(init=False, repr=False)
    body: bytes | BodyStream = attrs.field(init=False, repr=False)
    content_type: str | None = attrs.field(init=False, repr=False)
    # whether it says nothing but its script, so that its request is the same each time
    plain: bool = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        if not check_text("script", self.script):
            raise InvalidJob("script= is empty; name the PHP file to run")
        if self.success_mark is not None and not check_text("success_mark", self.success_mark).strip():
            raise InvalidJob("success_mark= is blank; name what the script prints last of all")
        if not isinstance(self.priority, int):
            raise InvalidJob(f"priority={self.priority!r} is not a whole number")
        if self.idempotent is not False or self.finishes_early is not True:
            self._check_flags()
        if not self.timeout is self.queue_timeout is self.run_timeout is UNSET:
            self._check_timeouts()
        plain = (
            (self.uri is None and self.method is None and self.query is None)
            and (self.content is None and self.content_length is None and self.json is None)
            and (self.form is None and self.files is None and self.headers is None and self.params is None)
            and self.role is _RESPONDER
        )
        if plain:
            body: bytes | BodyStream = b""
            content_type, query_string, header_params = None, "", _NO_PARAMS
        else:
            body, content_type, query_string, header_params = self._check_request()
        _set(self, "query_string", query_string)
        _set(self, "header_params", header_params)
        _set(self, "body", body)
        _set(self, "content_type", content_type)
        _set(self, "plain", plain)

    @property
    def path(self) -> str | None:
        """The decoded path of `uri`."""
        return None if self.uri is None else unquote(self.uri.partition("?")[0], errors="surrogateescape")

    @property
    def has_body(self) -> bool:
        """Whether a body was given, be it empty."""
        return self.content is not None or self.json is not None or self.form is not None or self.files is not None

    def _check_request(self) -> tuple[bytes | BodyStream, str | None, str, Mapping[str, str]]:
        """Refuse what could never be sent; return the body, its type, QUERY_STRING and the headers' parameters."""
        if self.method is not None:
            if not TOKEN.match(check_text("method", self.method)):
                raise InvalidJob(f"method={self.method!r} is not a request method")
            # PHP compares it with "POST" as it is
            _set(self, "method", self.method.upper())
            check_pair("REQUEST_METHOD", self.method)
        query_string = self._check_target()
        headers = _NO_PARAMS if self.headers is None else header_params(self.headers)
        if self.params is not None:
            self._check_params(self.params, headers)
        if not isinstance(self.role, Role):
            raise InvalidJob(f"role={self.role!r} is not a fcgi_async.Role")
        if self.role is Role.FILTER:
            raise InvalidJob("role=Role.FILTER needs a second stream, the file to filter, which a job does not have")
        if self.role is Role.AUTHORIZER and self.has_body:
            raise InvalidJob("role=Role.AUTHORIZER has no body; the body goes to the request that was authorized")
        return *self._encode_body(), query_string, headers

    def _check_flags(self) -> None:
        for name in ("idempotent", "finishes_early"):
            if not isinstance(getattr(self, name), bool):
                raise InvalidJob(f"{name}={getattr(self, name)!r} is neither True nor False")

    def _check_timeouts(self) -> None:
        for name in ("timeout", "queue_timeout", "run_timeout"):
            try:
                check_timeout(name, getattr(self, name))
            except ValueError as error:
                raise InvalidJob(str(error)) from None

    def _check_target(self) -> str:
        if self.uri is None:
            query_string = "" if self.query is None else encode_pairs("query", self.query)
        else:
            check_text("uri", self.uri)
            if self.query is not None:
                raise InvalidJob("uri= and query= are both given; write the query into the uri")
            if not self.uri.startswith("/") or any(character.isspace() for character in self.uri):
                raise InvalidJob(
                    f"uri={self.uri!r} does not start with / or has blanks; it is a request target like /orders/7?x=1"
                )
            check_text("uri's path", self.path or "")
            check_pair("REQUEST_URI", self.uri)
            query_string = self.uri.partition("?")[2]
        check_pair("QUERY_STRING", check_text("query", query_string))
        return query_string

    def _check_params(self, params: Mapping[str, str], headers: Mapping[str, str]) -> None:
        if not isinstance(params, Mapping):
            raise InvalidJob(f"params is a mapping of names to values, not {type(params).__name__}")
        for name, value in params.items():
            if not check_text(f"the name {name!r} in params", name):
                raise InvalidJob("params has an empty name; PHP drops such a parameter")
            check_text(f"params[{name!r}]", value)
            check_pair(name, value)
            if name in _OWN_PARAMS:
                raise InvalidJob(f"params[{name!r}] would be sent twice; say it with {_OWN_PARAMS[name]}")
            if name in headers:
                raise InvalidJob(f"a header becomes {name}, and params[{name!r}] is the same; give one of them")
        if self.uri is not None and not {"REQUEST_URI", "QUERY_STRING"}.isdisjoint(params):
            raise InvalidJob("uri= sets REQUEST_URI and QUERY_STRING; params must not set them again")
        if self.query is not None and "QUERY_STRING" in params:
            raise InvalidJob("query= sets QUERY_STRING; params must not set it again")

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

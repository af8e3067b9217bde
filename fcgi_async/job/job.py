"""Job: one run of a PHP script."""

from __future__ import annotations

import inspect
import os
from collections.abc import AsyncIterable, Mapping
from difflib import get_close_matches
from types import MappingProxyType
from typing import Final, Generic, TypeVar

import attrs

from fcgi_async.job.body import BodyStream, File
from fcgi_async.job.checks import CHECKS, Check, check_params, check_script
from fcgi_async.job.form import Pairs
from fcgi_async.job.headers import RequestHeaders
from fcgi_async.job.settings import UNSET, Timeout
from fcgi_async.job.tag import Tag
from fcgi_async.job.written import read, write
from fcgi_async.wire.spec import Role

__all__ = ("Job",)

_Made = TypeVar("_Made", bound=type)

_set = object.__setattr__
# by argument: its default, its check, and whether it changes the request
_ARGUMENTS: Final[dict[str, tuple[object, Check | None, bool]]] = {}


def _script(value: str | os.PathLike[str]) -> str:
    return check_script(value)


def _init(self: object, script: str | os.PathLike[str], **given: object) -> None:
    if not (type(script) is str and script and script.isascii() and "\0" not in script):
        script = check_script(script)
    if not given:
        _set(self, "script", script)
        return
    for name in [*given]:
        try:
            default, check, is_sent = _ARGUMENTS[name]
        except KeyError:
            raise TypeError(_unexpected(name)) from None
        value = given[name]
        if value is not default:
            if is_sent:
                given["plain"] = False
            if check is not None:
                check(given, value)
    if "params" in given and given["params"] is not None:
        check_params(given, given["params"])
    given["script"] = script
    _set(self, "__dict__", given)


def _unexpected(name: str) -> str:
    meant = get_close_matches(name, ["script", *_ARGUMENTS], n=1)
    hint = f"; did you mean {meant[0]!r}?" if meant else ""
    return f"Job.__init__() got an unexpected keyword argument {name!r}{hint}"


def _store_what_is_given(made: _Made) -> _Made:
    """Let jobs store only the given arguments, and find the rest in their class.

    The __init__ that attrs generates stores every field, which costs several times as much as the rest of a plain job.
    """
    for field in attrs.fields(made):
        if field.default is not attrs.NOTHING:
            setattr(made, field.name, field.default)
        if field.name in CHECKS:
            _ARGUMENTS[field.name] = (field.default, *CHECKS[field.name])
    _init.__name__, _init.__qualname__ = "__init__", f"{made.__qualname__}.__init__"
    _init.__signature__ = inspect.signature(made.__init__)  # type: ignore[attr-defined, misc]
    made.__init__ = _init  # type: ignore[misc]
    return made


@_store_what_is_given
@attrs.frozen(eq=False, kw_only=True, slots=False)
class Job(Generic[Tag]):
    """One run of a PHP script; a value that may be run several times, unless its body is an iterable.

    Args:
        script: the file to run, on FPM's side: absolute, or relative to `Endpoint.root`; str or path.
        uri: the request target, such as "/orders/7?x=1", for a front controller that routes by it; excludes `query`.
        method: the request method, upper-cased; POST with a body, GET without, unless given.
        query: the query string: a mapping, a sequence of pairs, or a string that is encoded already. Nested mappings
            and sequences get the names that PHP's http_build_query() gives them, `a[b]` and `a[0]`; True is 1, False is
            0, None is left out; bytes are sent unchanged.
        content: the body: bytes, str, or an async iterable of bytes together with `content_length`. An iterable whose
            attribute `replayable` is True is iterated over again when the job is retried.
        content_length: bytes in the body; needed if `content` is an iterable, and only then.
        json: the body, as JSON.
        form: the body, as a form, encoded like `query`; together with `files`, their form fields.
        files: the body, as multipart: {name: content}, or {name: (filename, content[, content_type[, length]])}. The
            content is bytes, str, a path, a file opened in binary mode, or an async iterable of `length` bytes; all
            but the first two are streamed. Without a content type, the filename's extension decides. An open file is
            sent from its current position and is not closed; do not use it until the job is done.
        headers: request headers, a mapping or a sequence of pairs; PHP sees them as HTTP_*. Values of a repeated name
            are joined, cookies by "; ", others by ", ".
        params: FastCGI parameters; they override those sent by default.
        priority: jobs of a higher priority run first.
        timeout: seconds from the call to the response; None for no limit.
        queue_timeout: seconds until a worker takes the job.
        run_timeout: seconds from that moment to the response.
        idempotent: whether running the script twice does no harm, so that it is retried even if it may have run.
        finishes_early: False to wait until the worker has left the script, not only for the response.
        success_mark: text at the end of the body (before a line end) without which the response is not `ok`, because
            PHP-FPM reports exit(1), and fatal errors under display_errors, as success. None for no such check.
        role: the FastCGI role, responder or authorizer; PHP-FPM runs both as responders.
        tag: the caller's name for the job, in logs and errors. `Job[int]` is a job whose tag is an int.

    Raises:
        InvalidJob: the job could never be sent; the message says why.
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
    # what is sent; `path` is the decoded path of `uri`
    path: str | None = attrs.field(default=None, init=False, repr=False)
    query_string: str = attrs.field(default="", init=False, repr=False)
    header_params: Mapping[str, str] = attrs.field(default=MappingProxyType({}), init=False, repr=False)
    body: bytes | BodyStream = attrs.field(default=b"", init=False, repr=False)
    content_type: str | None = attrs.field(default=None, init=False, repr=False)
    # whether a body was given, even an empty one
    has_body: bool = attrs.field(default=False, init=False, repr=False)
    # whether only the script is given, so that the request is always the same
    plain: bool = attrs.field(default=True, init=False, repr=False)
    # whether it has a deadline of its own
    timed: bool = attrs.field(default=False, init=False, repr=False)

    def dump(self) -> dict[str, object]:
        """Return the job as a dict that can be written as JSON; `load()` reads it.

        It has the job's arguments, except defaults: `query` encoded, `headers` as pairs, and `json`, `form` and `files`
        as the resulting `body`, in base64, with its `content_type`. Tuples in a tag become lists.

        Raises:
            InvalidJob: the body is streamed, or the tag cannot be expressed in JSON.
        """
        return write(self)

    @classmethod
    def load(cls, written: Mapping[str, object]) -> Job:
        """Return the job from what `dump()` returned; it sends the same request.

        It is checked as strictly as any job, so `written` may come from anywhere. But it names the script, so everyone
        who can write it can choose what runs.

        Args:
            written: what `dump()` returned.

        Raises:
            InvalidJob: something is missing, unknown or of the wrong type, or the job could never be sent.
        """
        return cls(**read(written))  # type: ignore[arg-type]  # checked when it runs

"""The checks of what a job is given, one for each argument; each adds what is sent because of it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterable, Callable, Mapping
from typing import Final
from urllib.parse import unquote

from fcgi_async.errors import InvalidJob
from fcgi_async.job.body import BodyStream, encode_json, encode_multipart, opener
from fcgi_async.job.form import encode_form, encode_pairs
from fcgi_async.job.headers import TOKEN, header_params
from fcgi_async.job.param_text import check_pair, check_text
from fcgi_async.job.settings import check_timeout
from fcgi_async.wire.spec import Role

# given one argument, that and `plain`
_ALONE = 2

__all__ = ("CHECKS", "Check", "check_params", "check_script")

# the arguments by name; what is sent is added to them
_Given = dict[str, object]
Check = Callable[[_Given, object], None]

_BODIES = ("content", "json", "form", "files")

# decided by the job's own arguments; a second value would be a doubled parameter
_OWN_PARAMS = {
    "SCRIPT_FILENAME": "script=",
    "REQUEST_METHOD": "method=",
    "CONTENT_TYPE": "a Content-Type header",
}


def check_script(script: object) -> str:
    """Return the script's name, of a path too; raise InvalidJob if it cannot be sent."""
    if not isinstance(script, str) and isinstance(script, os.PathLike):
        script = os.fspath(script)
    name = check_text("script", script)
    if not name:
        raise InvalidJob("script= is empty; name the PHP file to run")
    return name


def _check_uri(given: _Given, value: object) -> None:
    uri = check_text("uri", value)
    if given.get("query") is not None:
        raise InvalidJob("uri= and query= are both given; write the query into the uri")
    if not uri.startswith("/") or any(character.isspace() for character in uri):
        raise InvalidJob(f"uri={uri!r} does not start with / or has blanks; it is a request target like /orders/7?x=1")
    target, _, query = uri.partition("?")
    given["path"] = check_text("uri's path", unquote(target, errors="surrogateescape"))
    given["query_string"] = query
    check_pair("REQUEST_URI", uri)


def _check_query(given: _Given, value: object) -> None:
    query = given["query_string"] = encode_pairs("query", value)
    # what was encoded here is ASCII without a NUL
    if query is value:
        check_text("query", query)
    check_pair("QUERY_STRING", query)


def _check_method(given: _Given, value: object) -> None:
    method = check_text("method", value)
    if not TOKEN.match(method):
        raise InvalidJob(f"method={method!r} is not a request method")
    check_pair("REQUEST_METHOD", method)
    # PHP compares it with "POST" as it is
    given["method"] = method.upper()


def _check_headers(given: _Given, value: object) -> None:
    given["header_params"] = header_params(value)


def check_params(given: _Given, params: object) -> None:
    """Refuse parameters that cannot be sent, or that something else given sends too; call it after the other checks."""
    if not isinstance(params, Mapping):
        raise InvalidJob(f"params is a mapping of names to values, not {type(params).__name__}")
    headers = given.get("header_params")
    for name, value in params.items():
        if not check_text(f"the name {name!r} in params", name):
            raise InvalidJob("params has an empty name; PHP drops such a parameter")
        check_text(f"params[{name!r}]", value)
        check_pair(name, value)
        if name in _OWN_PARAMS:
            raise InvalidJob(f"params[{name!r}] would be sent twice; say it with {_OWN_PARAMS[name]}")
        if isinstance(headers, Mapping) and name in headers:
            raise InvalidJob(f"a header becomes {name}, and params[{name!r}] is the same; give one of them")
    if given.get("uri") is not None and not {"REQUEST_URI", "QUERY_STRING"}.isdisjoint(params):
        raise InvalidJob("uri= sets REQUEST_URI and QUERY_STRING; params must not set them again")
    if given.get("query") is not None and "QUERY_STRING" in params:
        raise InvalidJob("query= sets QUERY_STRING; params must not set it again")


def _check_content(given: _Given, value: object) -> None:
    if len(given) > _ALONE:
        _check_one_body(given)
    given["body"] = _encode_content(value, given.get("content_length"))
    given["has_body"] = True


def _check_json(given: _Given, value: object) -> None:
    if len(given) > _ALONE:
        _check_one_body(given)
    given["body"] = encode_json(value)
    given["content_type"] = "application/json"
    given["has_body"] = True


def _check_form(given: _Given, value: object) -> None:
    if len(given) > _ALONE:
        _check_one_body(given)
    # beside files its fields are parts of their body
    if given.get("files") is None:
        given["body"] = encode_form(value)
        given["content_type"] = "application/x-www-form-urlencoded"
        given["has_body"] = True


def _check_files(given: _Given, value: object) -> None:
    _check_one_body(given)
    given["content_type"], given["body"] = encode_multipart(value, given.get("form"))
    given["has_body"] = True


def _check_one_body(given: _Given) -> None:
    bodies = [name for name in _BODIES if given.get(name) is not None]
    if len(bodies) > 1 and bodies != ["form", "files"]:
        raise InvalidJob(f"{' and '.join(f'{name}=' for name in bodies)} are both bodies; give one")


def _check_content_length(given: _Given, _: object) -> None:
    if not isinstance(given.get("content"), AsyncIterable):
        raise InvalidJob("content_length= is for a content= that is an async iterable; otherwise it is counted")


def _encode_content(content: object, length: object) -> bytes | BodyStream:
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
    if not isinstance(length, int) or isinstance(length, bool) or length < 0:
        raise InvalidJob("content= is an iterable and needs content_length=: PHP-FPM takes no body of unknown length")
    return BodyStream(length, opener(content), replayable=False)


def _check_role(given: _Given, role: object) -> None:
    if not isinstance(role, Role):
        raise InvalidJob(f"role={role!r} is not a fcgi_async.Role")
    if role is Role.FILTER:
        raise InvalidJob("role=Role.FILTER needs a second stream, the file to filter, which a job does not have")
    if role is Role.AUTHORIZER and any(given.get(name) is not None for name in _BODIES):
        raise InvalidJob("role=Role.AUTHORIZER has no body; the body goes to the request that was authorized")


def _check_priority(_: _Given, value: object) -> None:
    if not isinstance(value, int):
        raise InvalidJob(f"priority={value!r} is not a whole number")


def _check_success_mark(_: _Given, value: object) -> None:
    if not check_text("success_mark", value).strip():
        raise InvalidJob("success_mark= is blank; name what the script prints last of all")


def _is_timeout(name: str) -> Check:
    def check(_: _Given, value: object) -> None:
        try:
            check_timeout(name, value)
        except ValueError as error:
            raise InvalidJob(str(error)) from None

    return check


def _is_flag(name: str) -> Check:
    def check(_: _Given, value: object) -> None:
        if not isinstance(value, bool):
            raise InvalidJob(f"{name}={value!r} is neither True nor False")

    return check


# by argument: its check, and whether it changes the request; `params` is checked after the others
CHECKS: Final[Mapping[str, tuple[Check | None, bool]]] = {
    "uri": (_check_uri, True),
    "method": (_check_method, True),
    "query": (_check_query, True),
    "content": (_check_content, True),
    "content_length": (_check_content_length, True),
    "json": (_check_json, True),
    "form": (_check_form, True),
    "files": (_check_files, True),
    "headers": (_check_headers, True),
    "params": (None, True),
    "priority": (_check_priority, False),
    "timeout": (_is_timeout("timeout"), False),
    "queue_timeout": (_is_timeout("queue_timeout"), False),
    "run_timeout": (_is_timeout("run_timeout"), False),
    "idempotent": (_is_flag("idempotent"), False),
    "finishes_early": (_is_flag("finishes_early"), False),
    "success_mark": (_check_success_mark, False),
    "role": (_check_role, True),
    "tag": (None, False),
}

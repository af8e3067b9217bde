"""The checks of a job's arguments, one for each; each adds what is sent for its argument."""

from __future__ import annotations

import os
from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping
from typing import Final
from urllib.parse import unquote

from fcgi_async.errors import InvalidJob
from fcgi_async.job.body import BodyStream, encode_json, encode_multipart, opener
from fcgi_async.job.form import encode_form, encode_pairs
from fcgi_async.job.headers import TOKEN, header_params
from fcgi_async.job.param_text import check_pair, check_text
from fcgi_async.job.settings import check_timeout
from fcgi_async.wire.spec import Role

# number of stored arguments if only one was given: that and `plain`
_ALONE = 2

# length of a parameter that certainly fits into a record
_SHORT = 16000

__all__ = ("CHECKS", "Check", "check_params", "check_script")

# the arguments by name; the checks add what is sent
_Given = dict[str, object]
Check = Callable[[_Given, object], None]

_BODIES = ("content", "json", "form", "files")

# set by the job's own arguments; a second value would send a parameter twice
_OWN_PARAMS = {
    "SCRIPT_FILENAME": "script=",
    "REQUEST_METHOD": "method=",
    "CONTENT_TYPE": "a Content-Type header",
}


def check_script(script: object) -> str:
    """Return the script's name, also for a path object; raise InvalidJob if it cannot be sent."""
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
        raise InvalidJob(f"uri={uri!r} must start with / and have no whitespace, as in /orders/7?x=1")
    target, _, query = uri.partition("?")
    given["path"] = check_text("uri's path", unquote(target, errors="surrogateescape"))
    given["query_string"] = query
    check_pair("REQUEST_URI", uri)


def _check_query(given: _Given, value: object) -> None:
    query = given["query_string"] = encode_pairs("query", value)
    # the result of the encoding is ASCII without a NUL
    if query is value:
        check_text("query", query)
    check_pair("QUERY_STRING", query)


def _check_method(given: _Given, value: object) -> None:
    method = check_text("method", value)
    if not TOKEN.match(method):
        raise InvalidJob(f"method={method!r} is not a request method, such as GET")
    check_pair("REQUEST_METHOD", method)
    # PHP compares it with "POST", case-sensitively
    given["method"] = method.upper()


def _check_headers(given: _Given, value: object) -> None:
    given["header_params"] = header_params(value)


def check_params(given: _Given, params: object) -> None:
    """Refuse parameters that cannot be sent, or that another argument sends too; call this after the other checks."""
    if not isinstance(params, Mapping):
        raise InvalidJob(f"params must be a mapping of names to values, not {type(params).__name__}")
    if not _are_plain(params):
        _check_each(params)
    headers = given.get("header_params")
    if isinstance(headers, Mapping) and not headers.keys().isdisjoint(params):
        name = next(name for name in params if name in headers)
        raise InvalidJob(f"a header becomes {name}, and params[{name!r}] is the same; give one of them")
    if given.get("uri") is not None and not {"REQUEST_URI", "QUERY_STRING"}.isdisjoint(params):
        raise InvalidJob("uri= sets REQUEST_URI and QUERY_STRING; params must not set them again")
    if given.get("query") is not None and "QUERY_STRING" in params:
        raise InvalidJob("query= sets QUERY_STRING; params must not set it again")


def _are_plain(params: Mapping[str, str]) -> bool:
    """Whether all parameters are certainly fine; checks all in one pass."""
    try:
        names, values = "".join(params), "".join(params.values())
    except TypeError:
        return False
    return (
        names.isascii()
        and values.isascii()
        and "\0" not in names
        and "\0" not in values
        and len(names) + len(values) <= _SHORT
        and "" not in params
        and _OWN_PARAMS.keys().isdisjoint(params)
    )


def _check_each(params: Mapping[str, str]) -> None:
    for name, value in params.items():
        if not check_text(f"the name {name!r} in params", name):
            raise InvalidJob("params has an empty name, and PHP drops such a parameter; name it")
        check_text(f"params[{name!r}]", value)
        check_pair(name, value)
        if name in _OWN_PARAMS:
            raise InvalidJob(f"params[{name!r}] would be sent twice; set it with {_OWN_PARAMS[name]}")


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
    # together with files, the form's fields are parts of the body
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
        raise InvalidJob("content_length= is only for an async iterable in content=; leave it out: it is computed")


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
            f"content= must be bytes, str or an async iterable of bytes, not {type(content).__name__}; "
            "for data use json= or form="
        )
    if not isinstance(length, int) or isinstance(length, bool) or length < 0:
        raise InvalidJob("content= is an iterable and needs content_length=: PHP-FPM takes no body of unknown length")
    # an iterable that is also an iterator cannot begin again
    replayable = getattr(content, "replayable", False) is True and not isinstance(content, AsyncIterator)
    return BodyStream(length, opener(content), replayable)


def _check_role(given: _Given, role: object) -> None:
    if not isinstance(role, Role):
        raise InvalidJob(f"role must be a fcgi_async.Role, such as Role.RESPONDER, not {role!r}")
    if role is Role.FILTER:
        raise InvalidJob("role=Role.FILTER needs a second stream, which a job does not have; use Role.RESPONDER")
    if role is Role.AUTHORIZER and any(given.get(name) is not None for name in _BODIES):
        raise InvalidJob("role=Role.AUTHORIZER takes no body; send it with the request that was authorized")


def _check_priority(_: _Given, value: object) -> None:
    if not isinstance(value, int):
        raise InvalidJob(f"priority must be a whole number, not {value!r}")


def _check_success_mark(_: _Given, value: object) -> None:
    if not check_text("success_mark", value).strip():
        raise InvalidJob("success_mark= is blank; name what the script prints last of all")


def _is_timeout(name: str) -> Check:
    def check(given: _Given, value: object) -> None:
        try:
            check_timeout(name, value)
        except ValueError as error:
            raise InvalidJob(str(error)) from None
        given["timed"] = True

    return check


def _is_flag(name: str) -> Check:
    def check(_: _Given, value: object) -> None:
        if not isinstance(value, bool):
            raise InvalidJob(f"{name} must be True or False, not {value!r}")

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

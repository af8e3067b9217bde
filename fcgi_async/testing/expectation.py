"""What a test expects of a request: its script, and what came with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypedDict
from urllib.parse import parse_qsl, unquote

import attrs

from fcgi_async.job.form import Pairs, encode_pairs
from fcgi_async.testing.request import FORM, Request

__all__ = ("Asked", "Expectation", "describe_request")

# characters of a body in a message
_SHOWN = 200


class Asked(TypedDict, total=False):
    """The facts of an expected request; a fact that is left out may have any value.

    Attributes:
        method: the request method, case-insensitive.
        uri: the request target: its path, or path and query if it has a "?".
        query: the whole query string, in any order: a mapping, a sequence of pairs, or encoded.
        json: the body, parsed as JSON.
        form: all fields of an urlencoded body, in the same form as `query`.
        body: the whole body: bytes, or text in UTF-8.
        headers: headers that the request has, among others.
        params: FastCGI parameters that the request has, among others.
    """

    method: str
    uri: str
    query: Pairs
    json: object
    form: Pairs
    body: bytes | str
    headers: Mapping[str, str]
    params: Mapping[str, str]


@attrs.frozen(eq=False)
class Expectation:
    """A request as a test expects it.

    Args:
        script: the end of SCRIPT_FILENAME, in whole path segments: "/x.php" also matches "/srv/app/x.php". None: any
            script.
        facts: the other expected facts.

    Raises:
        TypeError: a fact has an unknown name.
    """

    script: str | None
    facts: Asked

    def __attrs_post_init__(self) -> None:
        unknown = sorted(self.facts.keys() - Asked.__annotations__.keys())
        if unknown:
            known = ", ".join(Asked.__annotations__)
            raise TypeError(f"{unknown[0]!r} is nothing that is asked for; write one of {known}")

    def difference(self, request: Request) -> str | None:
        """Return the name of the first fact that differs, or None."""
        if self.script is not None and not _ends_with(request.script, self.script):
            return "script"
        return next((name for name in self.facts if not _agrees(request, name, self.facts)), None)

    def __str__(self) -> str:
        facts = [f"{name}={value!r}" for name, value in self.facts.items()]
        return " with ".join([self.script or "any script", *([", ".join(facts)] if facts else [])])


def _ends_with(path: str, end: str) -> bool:
    return path == end or path.endswith(end if end.startswith("/") else f"/{end}")


def _agrees(request: Request, name: str, facts: Asked) -> bool:
    match name:
        case "method":
            return request.method == facts["method"].upper()
        case "uri":
            found = request.uri if "?" in facts["uri"] else request.uri.partition("?")[0]
            return unquote(found) == unquote(facts["uri"])
        case "query":
            return _fields(request.query) == _fields(encode_pairs("query", facts["query"]))
        case "headers":
            return all(request.headers.get(key) == value for key, value in facts["headers"].items())
        case "params":
            return all(request.params.get(key) == value for key, value in facts["params"].items())
        case _:
            return request.stdin.read and _body_agrees(request, name, facts)


def _body_agrees(request: Request, name: str, facts: Asked) -> bool:
    if name == "json":
        try:
            return request.json() == facts["json"]
        except ValueError:
            return False
    if name == "form":
        is_form = request.headers.get("content-type", "").partition(";")[0].strip().lower() == FORM
        return is_form and _fields(request.text) == _fields(encode_pairs("form", facts["form"]))
    body = facts["body"]
    return request.content() == (body.encode() if isinstance(body, str) else body)


def _fields(encoded: str) -> list[tuple[str, str]]:
    return sorted(parse_qsl(encoded, keep_blank_values=True))


def describe_request(request: Request) -> str:
    """Return a line that describes a request in messages."""
    words = [request.method or "(no method)", request.script or "(no script)"]
    if request.uri and not _ends_with(request.script, request.uri.partition("?")[0]):
        words.append(f"uri={request.uri!r}")
    elif request.query:
        words.append(f"query={request.query!r}")
    if not request.stdin.read:
        if request.headers.get("content-length", "0") not in ("", "0"):
            words.append("(the handler did not read its body)")
    elif request.stdin.received:
        words.append(_describe_body(request))
    return " ".join(words)


def _describe_body(request: Request) -> str:
    try:
        told = f"json={request.json()!r}"
    except (ValueError, RecursionError):
        told = f"body={request.content()!r}"
    return told if len(told) <= _SHOWN else f"{told[:_SHOWN]}..."

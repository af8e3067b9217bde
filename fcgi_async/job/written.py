"""The written form of a job: a dict that can be written as JSON, for a queue or a database."""

from __future__ import annotations

import json
import math
from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from fcgi_async.errors import InvalidJob
from fcgi_async.job.body import BodyStream
from fcgi_async.job.headers import header_param
from fcgi_async.job.settings import UNSET
from fcgi_async.wire.spec import Role

if TYPE_CHECKING:
    from fcgi_async.job.job import Job

__all__ = ("read", "write")

_TIMEOUTS = ("timeout", "queue_timeout", "run_timeout")
_CONTENT_TYPE = "CONTENT_TYPE"

# the type of each key; a list of pairs, a mapping of strings and a tag are read separately
_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "script": (str,),
    "uri": (str,),
    "method": (str,),
    "query": (str,),
    "headers": (list, tuple),
    "params": (dict,),
    "body": (str,),
    "content_type": (str,),
    "priority": (int,),
    "timeout": (int, float, type(None)),
    "queue_timeout": (int, float, type(None)),
    "run_timeout": (int, float, type(None)),
    "idempotent": (bool,),
    "finishes_early": (bool,),
    "success_mark": (str,),
    "role": (str,),
    "tag": (object,),
}


def write(job: Job) -> dict[str, object]:
    """Return the arguments of `job`, except defaults; its body is in base64.

    Raises:
        InvalidJob: the body is streamed, or the tag cannot be expressed in JSON.
    """
    written: dict[str, object] = {"script": job.script}
    for name in ("uri", "method", "success_mark"):
        if getattr(job, name) is not None:
            written[name] = getattr(job, name)
    if job.query is not None:
        written["query"] = job.query_string
    headers = [[name, value] for name, value in _pairs(job) if header_param(name) != _CONTENT_TYPE]
    if headers:
        written["headers"] = headers
    if job.params is not None:
        written["params"] = dict(job.params)
    content_type = job.header_params.get(_CONTENT_TYPE, job.content_type)
    if content_type is not None:
        written["content_type"] = content_type
    if isinstance(job.body, BodyStream):
        raise InvalidJob("the job's body is streamed, and cannot be written down; give it as bytes in content=")
    if job.has_body:
        written["body"] = b64encode(job.body).decode()
    if job.priority:
        written["priority"] = int(job.priority)
    for name in _TIMEOUTS:
        if (seconds := getattr(job, name)) is not UNSET:
            written[name] = None if seconds is None or math.isinf(seconds) else seconds
    if job.idempotent:
        written["idempotent"] = True
    if not job.finishes_early:
        written["finishes_early"] = False
    if job.role is not Role.RESPONDER:
        written["role"] = job.role.name
    if job.tag is not None:
        written["tag"] = _copied(job.tag)
    return written


def read(written: object) -> dict[str, object]:
    """Return the arguments of a job from its written form.

    Raises:
        InvalidJob: it is not a written job: something is missing, unknown or of the wrong type.
    """
    if not isinstance(written, Mapping):
        raise InvalidJob(f"a written job must be a dict, not {type(written).__name__}")
    given = dict(written)
    for name, value in given.items():
        _check_type(name, value)
    if "script" not in given:
        raise InvalidJob("the written job has no script")
    if "headers" in given:
        given["headers"] = [_pair(pair) for pair in given["headers"]]
    if "content_type" in given:
        given["headers"] = [*given.get("headers", ()), ("Content-Type", given.pop("content_type"))]
    if "body" in given:
        try:
            given["content"] = b64decode(given.pop("body"), validate=True)
        except ValueError as error:
            raise InvalidJob(f"the written job's body is not base64: {error}") from None
    if "role" in given:
        if given["role"] not in Role.__members__:
            raise InvalidJob(f"the written job's role is {given['role']!r}, not one of {', '.join(Role.__members__)}")
        given["role"] = Role[given["role"]]
    if "tag" in given:
        given["tag"] = _copied(given["tag"])
    return given


def _check_type(name: object, value: object) -> None:
    if not isinstance(name, str) or name not in _TYPES:
        raise InvalidJob(f"the written job has an unknown key {name!r}; it may come from a later version")
    types = _TYPES[name]
    # True is an int too, but only allowed as a flag
    if not isinstance(value, types) or (isinstance(value, bool) and bool not in types and object not in types):
        expected = " or ".join("null" if found is type(None) else found.__name__ for found in types)
        raise InvalidJob(f"the written job's {name} is {type(value).__name__}, not {expected}")


def _pairs(job: Job) -> list[tuple[str, str]]:
    headers = job.headers or ()
    return list(headers.items() if isinstance(headers, Mapping) else headers)


def _pair(pair: object) -> tuple[str, str]:
    if isinstance(pair, list | tuple) and len(pair) == 2 and isinstance(pair[0], str) and isinstance(pair[1], str):
        return pair[0], pair[1]
    raise InvalidJob("the written job's headers must be pairs of two strings, a name and a value")


def _copied(tag: object) -> object:
    """Return the tag as it will be after it is written as JSON and read again."""
    try:
        copied: object = json.loads(json.dumps(tag, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidJob(f"the job's tag cannot be expressed in JSON: {error}; give a tag that can") from error
    return copied

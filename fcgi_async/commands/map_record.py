"""The outcome of a line, as the JSON object that `map` writes for it."""

from __future__ import annotations

import json

import attrs

from fcgi_async.commands.job_options import parse_json
from fcgi_async.commands.map_lines import Line
from fcgi_async.commands.missing_script import missing_script
from fcgi_async.errors import ContentEncodingError, FastCGIError, JobFailed, ResponseTooLarge
from fcgi_async.job.response import Response

__all__ = ("Record", "record")

Record = dict[str, object]


def record(line: Line, response: Response | None, error: FastCGIError | None) -> Record:
    """Return an outcome as a dict for JSON; all outcomes have the same members."""
    failure = None
    if error is not None:
        failure = error.message
    elif response is not None and not response.ok:
        failure = _failure(response)
    return {
        "index": line.index,
        "key": line.key,
        "ok": failure is None,
        "status": response.status if response else None,
        "body": _body(response) if response else None,
        "stderr": response.stderr.decode("utf-8", "replace") if response else None,
        "error": failure,
        "error_type": type(error).__name__ if error else None,
        "may_have_run": True if response else error is not None and error.may_have_run,
        "attempts": response.attempts if response else None,
        "again": line.again,
        "timing": attrs.asdict(response.timing) if response else None,
    }


def _failure(response: Response) -> str:
    if response.status >= 400:
        hint = missing_script(response.job.script, response.status, response.stderr)
        return f"PHP answered with status {response.status}{hint}"
    try:
        response.raise_for_status()
    except JobFailed as error:
        return error.message
    return ""


def _body(response: Response) -> object:
    try:
        text = response.text
    except (ContentEncodingError, ResponseTooLarge):
        return response.content.decode("utf-8", "replace")
    try:
        value = parse_json(text if "content-encoding" in response.headers else response.content)
        # a number that is too large for Python's float would not be written as JSON
        json.dumps(value, allow_nan=False)
    except (ValueError, RecursionError):
        return text
    return value

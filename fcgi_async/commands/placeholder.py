"""Replace `{}` in an option by a line, encoded as the option requires."""

from __future__ import annotations

import json
import os
import re
from typing import Final
from urllib.parse import quote_from_bytes

from fcgi_async.errors import InvalidJob

__all__ = ("PLACEHOLDER", "fill_bytes", "fill_json", "fill_path", "fill_target", "fill_text")

PLACEHOLDER: Final = "{}"
_STRING_END = re.compile(r'\\.|"', re.DOTALL)


def fill_bytes(template: str, line: bytes) -> bytes:
    """Return raw bytes with the unchanged line."""
    return os.fsencode(template).replace(PLACEHOLDER.encode(), line)


def fill_text(template: str, line: bytes) -> str:
    """Return a header or a parameter with the unchanged line.

    Raises:
        InvalidJob: the line is not UTF-8.
    """
    return template.replace(PLACEHOLDER, _text(line)) if PLACEHOLDER in template else template


def fill_target(template: str, line: bytes) -> str:
    """Return a request target or a query with the percent-encoded line: the line is always one value."""
    return template.replace(PLACEHOLDER, quote_from_bytes(line, safe="")) if PLACEHOLDER in template else template


def fill_path(template: str, line: bytes) -> str:
    """Return a path with the unchanged line.

    Raises:
        InvalidJob: the path would lead out of the folder before it, or the line is not UTF-8.
    """
    if PLACEHOLDER not in template:
        return template
    text = _text(line)
    if ".." in text.split("/"):
        raise InvalidJob("has '..' in it, which could lead out of the folder of the scripts")
    return template.replace(PLACEHOLDER, text)


def fill_json(template: str, line: bytes) -> bytes:
    """Return JSON: within a string, the line becomes a part of the string; elsewhere it is JSON itself.

    Raises:
        InvalidJob: the line is not UTF-8.
    """
    first, *others = template.split(PLACEHOLDER)
    text = _text(line)
    parts, quoted = [first], _quotes(first) % 2 == 1
    for part in others:
        parts += [json.dumps(text)[1:-1] if quoted else text, part]
        quoted ^= _quotes(part) % 2 == 1
    return "".join(parts).encode()


def _quotes(text: str) -> int:
    return sum(found == '"' for found in _STRING_END.findall(text))


def _text(line: bytes) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        raise InvalidJob(f"is not UTF-8: {error.reason}") from error

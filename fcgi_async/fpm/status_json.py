"""Parse the JSON of FPM's status page, even if a visitor's text has broken it.

FPM writes details of a request into its page: method, user and script unescaped, and the URI too before 8.2. A quote in
one of them ends the string early, and the page is no longer JSON, or is JSON with another meaning. Then each worker is
read separately: the part before its texts is FPM's own and has a fixed form, and the next worker begins at the next
place with that form. Such a text may invent workers, but it cannot hide any.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Final

__all__ = ("read_page",)

_Values = Mapping[str, object]

_KINDS: Final[Mapping[str, type | tuple[type, ...]]] = {
    "pid": int,
    "state": str,
    "start time": int,
    "requests": int,
    "request duration": int,
    "request method": str,
    "request uri": str,
    "content length": int,
    "user": str,
    "script": str,
    "last request cpu": (int, float),
    "last request memory": int,
}
_LIST = re.compile(r'"processes"\s*:\s*\[')
_END = re.compile(r"\]\s*\}\s*\Z")
# FPM's result of a division by 0; in an escaped string, the name has no unescaped quotes
_NO_NUMBER = re.compile(r'("last request cpu"\s*:\s*)[+-]?(?:nan|inf(?:inity)?)\b', re.IGNORECASE)


def _name(name: str) -> str:
    return rf'\s*"{name}"\s*:\s*'


_HEAD = re.compile(
    r"\{"
    + ",".join(
        (
            _name("pid") + r"(?P<pid>\d{1,20})\s*",
            _name("state") + r'"(?P<state>[A-Za-z ]{1,40})"\s*',
            _name("start time") + r"(?P<start_time>-?\d{1,20})\s*",
            _name("start since") + r"(?P<start_since>-?\d{1,20})\s*",
            _name("requests") + r"(?P<requests>\d{1,20})\s*",
            _name("request duration") + r"(?P<request_duration>-?\d{1,20})\s*",
            _name("request method") + '"',
        )
    ),
    re.ASCII,
)
_TAIL = re.compile(
    r'"\s*,'
    + _name("last request cpu")
    + r"(?P<last_request_cpu>-?\d{1,20}(?:\.\d{1,20})?)\s*,"
    + _name("last request memory")
    + r"(?P<last_request_memory>\d{1,20})\s*\}\s*[,\]}\s]*\Z",
    re.ASCII,
)
_BEFORE_URI = re.compile(r'"\s*,' + _name("request uri") + '"')
_BEFORE_USER = re.compile(
    r'"\s*,' + _name("content length") + r"(?P<content_length>\d{1,20})\s*," + _name("user") + '"', re.ASCII
)
_BEFORE_SCRIPT = re.compile(r'"\s*,' + _name("script") + '"')
# the tail has only FPM's own numbers, and is short
_TAIL_LENGTH: Final = 300


def read_page(data: bytes) -> object:
    """Return the page's data, as `json.loads` does; a worker's texts are kept raw if they cannot be decoded.

    Raises:
        ValueError: it is neither JSON nor a page broken by a text.
    """
    text = _NO_NUMBER.sub(r"\g<1>0", data.decode("utf-8", "surrogateescape"))
    heads = list(_HEAD.finditer(text))
    try:
        page: object = json.loads(text, strict=False, object_pairs_hook=_unique)
        if _is_sound(page, len(heads)):
            return page
    except (ValueError, RecursionError) as error:
        if (repaired := _repair(text, heads)) is None:
            raise ValueError(str(error)) from error
        return repaired
    return _repair(text, heads) or page


def _unique(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError("a name stands twice in one object")
    return values


def _is_sound(page: object, heads: int) -> bool:
    """Whether all workers have the same fields, and none is hidden in another value."""
    processes = page.get("processes") if isinstance(page, dict) else None
    if not isinstance(processes, list) or not all(isinstance(process, dict) for process in processes):
        # this may not be FPM's page, which the caller finds out; but a page that has workers has been broken
        return not heads
    if heads not in (0, len(processes)):
        return False
    right = [[isinstance(process.get(name), kind) for process in processes] for name, kind in _KINDS.items()]
    return all(all(found) or not any(found) for found in right)


def _repair(text: str, heads: Sequence[re.Match[str]]) -> _Values | None:
    beginning = _LIST.search(text)
    if beginning is None or not heads or heads[0].start() < beginning.end() or not _END.search(text):
        return None
    try:
        page: object = json.loads(f"{text[: beginning.end()]}]}}", strict=False)
    except (ValueError, RecursionError):
        return None
    if not isinstance(page, dict):
        return None
    ends = [head.start() for head in heads[1:]] + [len(text)]
    return page | {"processes": [_process(text, head, end) for head, end in zip(heads, ends, strict=True)]}


def _process(text: str, head: re.Match[str], end: int) -> _Values:
    rest = text[head.end() : end]
    found = _known(head)
    if (tail := _TAIL.search(rest, max(0, len(rest) - _TAIL_LENGTH))) is not None:
        found |= _known(tail)
        rest = rest[: tail.start()]
    texts = {"request method": rest, "request uri": "", "user": "", "script": ""}
    for (before, after), border in zip(pairwise(texts), (_BEFORE_URI, _BEFORE_USER, _BEFORE_SCRIPT), strict=True):
        cut = border.search(texts[before])
        if cut is None:
            break
        found |= _known(cut)
        texts[before], texts[after] = texts[before][: cut.start()], texts[before][cut.end() :]
    missing = {"content length": 0, "last request cpu": 0.0, "last request memory": 0}
    return missing | found | {name: _decoded(value) for name, value in texts.items()}


def _known(found: re.Match[str]) -> dict[str, object]:
    values: dict[str, object] = {}
    for group, text in found.groupdict().items():
        name = group.replace("_", " ")
        values[name] = text if name == "state" else float(text) if name == "last request cpu" else int(text)
    return values


def _decoded(text: str) -> str:
    try:
        value: object = json.loads(f'"{text}"', strict=False)
    except ValueError:
        return text
    return value if isinstance(value, str) else text

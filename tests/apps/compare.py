"""Two answers to the same request, and what differs between them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from operator import itemgetter

import attrs
import httpx

from tests.apps.noise import EVERYWHERE, IN_EVERY_HEAD, Noise

__all__ = ("Answer", "differences")

# the page that a server writes where PHP has no part in the answer; each has its own words for it
_OWN_PAGE = re.compile(rb"<html>\r\n<head><title>(\d{3} [^<]+)</title>.*<center>nginx</center>.*", re.DOTALL)
_LINES_SHOWN, _LENGTH_SHOWN, _SHOWN_BEFORE = 12, 240, 60


@attrs.frozen
class Answer:
    """What came for a request, as a visitor sees it.

    Attributes:
        request: its method and target, or what a step of a session is called.
    """

    request: str
    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    @classmethod
    def of(cls, response: httpx.Response, request: str = "", *, leave_out: Sequence[str] = ()) -> Answer:
        """Return what is to be compared of a response; `leave_out` has headers of which that cannot be said."""
        pairs = [(name.lower(), value) for name, value in response.headers.multi_items()]
        headers = [(name, value) for name, value in pairs if name not in leave_out]
        body = response.content
        if own := _OWN_PAGE.fullmatch(body):
            headers = [(name, value) for name, value in headers if name != "content-type"]
            headers.append(("content-type", "text/plain; charset=utf-8"))
            body = own[1] + b"\n"
        name = request or f"{response.request.method} {response.request.url.raw_path.decode()}"
        return cls(name, response.status_code, tuple(sorted(headers, key=itemgetter(0))), body)

    def lines(self, noise: Sequence[Noise]) -> list[str]:
        """Return it as lines of text, without what may differ."""
        head = [f"{name}: {value}" for name, value in self.headers if name not in IN_EVERY_HEAD]
        body = self.body.decode("utf-8", "surrogateescape")
        text = "\n".join([f"status {self.status}", *head, "", body])
        for one in (*EVERYWHERE, *noise):
            text = one.still(text)
        return text.split("\n")


def differences(one: Answer, other: Answer, noise: Sequence[Noise]) -> str:
    """Return how two answers differ, in the manner of `diff`, clipped; nothing if they do not."""
    if (one.status, one.headers, one.body) == (other.status, other.headers, other.body):
        return ""
    before, after = one.lines(noise), other.lines(noise)
    if before == after:
        return ""
    shown = "\n".join(_parted(before, after)[:_LINES_SHOWN])
    return f"{one.request}\n{shown}"


def _parted(before: list[str], after: list[str]) -> list[str]:
    """Return the lines that differ, from shortly before the place where they part."""
    shown: list[str] = []
    matcher = difflib.SequenceMatcher(None, before, after, autojunk=False)
    for kind, first, last, other_first, other_last in matcher.get_opcodes():
        if kind != "equal":
            old, new = before[first:last], after[other_first:other_last]
            start = max(_parting(old[0], new[0]) - _SHOWN_BEFORE, 0) if old and new else 0
            shown += [f"    line {first}"]
            shown += [f"    - {line[start : start + _LENGTH_SHOWN]}" for line in old]
            shown += [f"    + {line[start : start + _LENGTH_SHOWN]}" for line in new]
    return shown


def _parting(one: str, other: str) -> int:
    return next((place for place, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), 0)

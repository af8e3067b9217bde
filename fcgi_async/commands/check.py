"""One check of `fcgi-async doctor`: its result, and what to do about it; as a line and as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from enum import StrEnum
from typing import Final

import attrs

from fcgi_async.commands.terminal import printable
from fcgi_async.commands.wording import in_options

__all__ = ("Check", "State", "as_json", "as_text")


class State(StrEnum):
    """The result of a check."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    UNKNOWN = "unknown"


_COLOURS: Final = {State.OK: "32", State.WARNING: "33", State.FAILED: "31", State.UNKNOWN: "2"}


@attrs.frozen
class Check:
    """One check and its result.

    Attributes:
        name: the name of the check.
        state: the result.
        found: what was found.
        advice: what to do; empty if there is nothing to do.
    """

    name: str
    state: State
    found: str
    advice: str = ""


def as_json(address: str | None, checks: Sequence[Check]) -> str:
    """Return one JSON object on one line."""
    ok = all(check.state is not State.FAILED for check in checks)
    found = [
        {"name": check.name, "state": check.state, "found": in_options(check.found), "advice": in_options(check.advice)}
        for check in checks
    ]
    return json.dumps({"ok": ok, "address": address, "checks": found})


def as_text(checks: Sequence[Check], *, colours: bool) -> str:
    """Return a line for each check; control characters are escaped, only the state may be coloured."""
    width = max((len(check.name) for check in checks), default=0)
    return "".join(f"{_state(check.state, colours)}  {check.name:<{width}}  {_words(check)}\n" for check in checks)


def _state(state: State, colours: bool) -> str:
    text = f"{state.value:<7}"
    return f"\x1b[{_COLOURS[state]}m{text}\x1b[0m" if colours else text


def _words(check: Check) -> str:
    words = f"{check.found}; {check.advice}" if check.advice else check.found
    return printable(in_options(" ".join(words.split())))

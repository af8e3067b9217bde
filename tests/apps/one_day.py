"""Pages show dates, so what is compared has to be asked for on one day."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import TypeVar

__all__ = ("on_one_day",)

_Asked = TypeVar("_Asked")


def _today() -> date:
    return datetime.now(UTC).date()


def on_one_day(ask: Callable[[], _Asked], today: Callable[[], date] = _today) -> _Asked:
    """Return what `ask` returns, once more if midnight came meanwhile."""
    day = today()
    found = ask()
    return found if today() == day else ask()

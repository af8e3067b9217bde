"""Deadlines and limits."""

from __future__ import annotations

from enum import Enum
from typing import Final, Literal

import attrs

from fcgi_async.errors import ConfigurationError
from fcgi_async.job.numbers import is_duration, is_whole

__all__ = ("UNSET", "Limits", "Timeout", "Timeouts", "Unset", "check_timeout")

_KIB = 1024
_MIB = 1024 * _KIB


class Unset(Enum):
    """The type of `UNSET`."""

    UNSET = "UNSET"

    def __repr__(self) -> str:
        return "UNSET"


# the argument was not given: the next level decides; None means no limit
UNSET: Final = Unset.UNSET

Timeout = float | None | Literal[Unset.UNSET]


def check_timeout(name: str, value: object) -> None:
    """Raise ValueError if `value` is not a number of seconds."""
    if value is UNSET or value is None:
        return
    if not is_duration(value) or value < 0:
        raise ValueError(f"{name} must be a number of seconds of at least 0, or None for no limit; not {value!r}")


@attrs.frozen
class Timeouts:
    """Deadlines for jobs that set none of their own, in seconds; None: no limit.

    Args:
        total: from the call to the response.
        queue: from the call until a worker takes the job.
        run: from that moment to the response.
    """

    total: float | None = None
    queue: float | None = None
    run: float | None = None

    def __attrs_post_init__(self) -> None:
        for name in ("total", "queue", "run"):
            try:
                check_timeout(name, getattr(self, name))
            except ValueError as error:
                raise ConfigurationError(f"Timeouts: {error}") from None


@attrs.frozen
class Limits:
    """How much a peer may send, in bytes.

    Args:
        response: the body of a collected response, both as sent and as decoded by `text` and `json()`; does not apply
            to `stream()`.
        head: the head of a response.
        stderr: STDERR of each job; the rest is dropped, and the response says so.
    """

    response: int = 64 * _MIB
    head: int = 64 * _KIB
    stderr: int = _MIB

    def __attrs_post_init__(self) -> None:
        for name in ("response", "head", "stderr"):
            value = getattr(self, name)
            if not is_whole(value) or value < 0:
                raise ConfigurationError(f"Limits({name}) must be a whole number of bytes, 0 or more, not {value!r}")

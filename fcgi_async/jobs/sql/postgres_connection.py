"""A connection to PostgreSQL that is closed if its server does not answer and another server has replaced it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, TypeVar

import psycopg
from psycopg.abc import PQGen

__all__ = ("Connection",)

# seconds without an answer before the first check for another server, and between two checks
_SILENCE: Final = 3.0
_PAUSE: Final = 1.0
# differs between two servers, whatever their names are, and between two starts of one server
_IDENTITY: Final = "SELECT pg_postmaster_start_time()"

R = TypeVar("R")


class Connection(psycopg.Connection[tuple[object, ...]]):
    """A connection whose statements do not wait for a server that was replaced.

    A frozen or unreachable server does not close its connections. Only another server that accepts writes shows that
    the statement is not just slow.

    Attributes:
        is_replaced: returns whether another server has replaced this one. Called in the waiting thread while there is
            no answer; connects to other servers, and never raises. None to wait as long as the connection lasts.
    """

    is_replaced: Callable[[], bool] | None = None

    def identity(self) -> object:
        """Return a value that only this server has.

        Raises:
            psycopg.Error: the server does not tell it.
        """
        return self.execute(_IDENTITY).fetchall()[0][0]

    def wait(self, gen: PQGen[R], interval: float = 0.1, timeout: float | None = None) -> R:
        """Wait for an answer as psycopg does, and stop if the connection was closed; see there."""
        watched = self._watch(gen)
        return super().wait(watched, interval) if timeout is None else super().wait(watched, interval, timeout)

    def _watch(self, gen: PQGen[R]) -> PQGen[R]:
        look = time.monotonic() + _SILENCE
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                # data that has come, or can be sent, shows that the server still answers
                if not ready and self.is_replaced is not None and time.monotonic() >= look:
                    if self.is_replaced():
                        self.close()
                        raise psycopg.OperationalError("the server no longer answers, and another one has replaced it")
                    look = time.monotonic() + _PAUSE
                wanted = gen.send(ready)
        except StopIteration as ended:
            answer: R = ended.value
            return answer

"""A connection to PostgreSQL that is given up once another server has taken the place of one that does not answer."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, TypeVar

import psycopg
from psycopg.abc import PQGen

__all__ = ("Connection",)

# seconds without an answer after which others are asked, and between such questions
_SILENCE: Final = 3.0
_PAUSE: Final = 1.0
# unlike any other server's, whatever it is called, and unlike its own after it was started anew
_IDENTITY: Final = "SELECT pg_postmaster_start_time()"

R = TypeVar("R")


class Connection(psycopg.Connection[tuple[object, ...]]):
    """A connection whose statements do not wait for a server that others have replaced.

    A frozen server keeps its connections, and one that is cut off does not end them: nothing but another server that
    takes writes tells such from a statement that takes long.

    Attributes:
        is_replaced: asked, in the thread that waits, while there is no answer; connects elsewhere, raises nothing. None
            to wait for as long as the connection lasts.
    """

    is_replaced: Callable[[], bool] | None = None

    def identity(self) -> object:
        """Return what tells its server from all others.

        Raises:
            psycopg.Error: it does not say so.
        """
        return self.execute(_IDENTITY).fetchall()[0][0]

    def wait(self, gen: PQGen[R], interval: float = 0.1, timeout: float | None = None) -> R:
        """Wait for an answer as psycopg does, and end if it was given up; see there."""
        watched = self._watch(gen)
        return super().wait(watched, interval) if timeout is None else super().wait(watched, interval, timeout)

    def _watch(self, gen: PQGen[R]) -> PQGen[R]:
        look = time.monotonic() + _SILENCE
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                # what has come, or can be sent, is no silence
                if not ready and self.is_replaced is not None and time.monotonic() >= look:
                    if self.is_replaced():
                        self.close()
                        raise psycopg.OperationalError("it does not answer any more, and was given up")
                    look = time.monotonic() + _PAUSE
                wanted = gen.send(ready)
        except StopIteration as ended:
            answer: R = ended.value
            return answer

"""Fail jobs when no endpoint can be reached, in slices, so that other tasks run in between."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

import attrs

from fcgi_async.dispatch.entry import Entry
from fcgi_async.errors import ConnectError
from fcgi_async.net.backend import Backend

__all__ = ("Verdict", "copy")

# how many jobs fail in one turn of the event loop; other tasks have to wait for that turn
_FAILED_AT_ONCE = 250


@attrs.define(eq=False)
class Verdict:
    """Why no endpoint can be reached; kept until every job that waited for one has failed.

    Args:
        backend: the event loop.
        told: called when all have failed.
    """

    backend: Backend
    told: Callable[[], None]
    error: ConnectError | None = attrs.field(default=None, init=False)
    # entries that are still to fail
    _doomed: deque[Entry] = attrs.field(factory=deque, init=False)

    @property
    def outstanding(self) -> int:
        """Number of entries that are still to fail."""
        return len(self._doomed)

    def add(self, entry: Entry) -> None:
        """Fail one more entry."""
        self._doomed.append(entry)

    def lift(self) -> None:
        """Stop failing entries: a worker has answered."""
        self.error = None
        self._doomed.clear()

    def spread(self, error: ConnectError, entries: Iterable[Entry]) -> None:
        """Fail `entries`, some of them now."""
        spreading, self.error = self.error is not None, error
        self._doomed = deque(entries)
        if spreading:
            return
        if self._fail_slice():
            self.backend.spawn(self._fail_rest)
        else:
            self.error = None

    def _fail_slice(self) -> bool:
        """Fail some entries. Return False if there were none."""
        count = 0
        while count < _FAILED_AT_ONCE and self._doomed and self.error is not None:
            entry = self._doomed.popleft()
            if entry.waiting and entry.end(copy(self.error)):
                count += 1
        return count > 0

    async def _fail_rest(self) -> None:
        empty = 0
        # run_all() and map() submit more after a failed job: in the next turn, or on trio in the one after, because
        # trio runs the tasks of a turn in any order
        while self.error is not None and empty < 2:
            await self.backend.checkpoint()
            empty = 0 if self._fail_slice() else empty + 1
        self.error = None
        self.told()


def copy(error: ConnectError) -> ConnectError:
    """Return another error with the same cause: each gets the facts of its own job."""
    another = ConnectError(error.message, endpoint=error.endpoint)
    another.__cause__ = error.__cause__
    return another

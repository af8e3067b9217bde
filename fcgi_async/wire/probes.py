"""GET_VALUES and its answers (specification 4.1)."""

from __future__ import annotations

from collections import deque

from fcgi_async.errors import RemoteProtocolError
from fcgi_async.wire.records import MalformedPairs, decode_pairs

__all__ = ("Probes",)


class Probes:
    """The unanswered GET_VALUES records of one connection.

    Attributes:
        asked: the names that each asks for, oldest first.
    """

    __slots__ = ("_known", "asked")

    def __init__(self) -> None:
        self.asked: deque[tuple[bytes, ...]] = deque()
        # the names in the last answer that was not empty
        self._known: frozenset[bytes] = frozenset()

    def receive(self, content: bytes) -> tuple[dict[bytes, bytes], int] | None:
        """Take a GET_VALUES_RESULT; return its values, and how many older probes the peer has dropped.

        Return None for the second, empty answer that Go's net/http/fcgi sends: it can be told from the answer to the
        next probe if that asks for a name that Go knows.

        Raises:
            RemoteProtocolError: it is malformed, or there was no GET_VALUES.
        """
        try:
            values = dict(decode_pairs(content)) if content else {}
        except MalformedPairs as error:
            raise RemoteProtocolError(f"GET_VALUES_RESULT is malformed: {error}") from error
        asked = self.asked
        if values:
            if not asked:
                raise RemoteProtocolError("GET_VALUES_RESULT came without a GET_VALUES")
            self._known = frozenset(values)
            dropped = self._dropped(values)
            for _ in range(dropped + 1):
                asked.popleft()
            return values, dropped
        if asked and self._known.isdisjoint(asked[0]):
            asked.popleft()
            return values, 0
        return None

    def _dropped(self, values: dict[bytes, bytes]) -> int:
        """Return how many of the oldest probes the peer has dropped.

        libfcgi drops everything that it has read when a request ends. An answer with names that only a later probe
        asked for is the answer to that probe.
        """
        if any(name in values for name in self.asked[0]):
            return 0
        for older, names in enumerate(self.asked):
            if any(name in values for name in names):
                return older
        return 0

"""Choose the next request id."""

from __future__ import annotations

from collections.abc import Container, Mapping

from fcgi_async.errors import LocalProtocolError
from fcgi_async.wire.spec import MAX_REQUEST_ID

__all__ = ("RequestIds",)


class RequestIds:
    """The ids of one connection.

    For a peer that serves one request at a time, ids follow each other, so that late output of a finished script is
    recognised as a stray. For a peer that multiplexes, the smallest free id is used. An id is free after the events
    that ended its request have been processed: when more is received, or earlier if all others are taken and the caller
    tells which events it has not processed. An aborted id stays taken: Go's net/http/fcgi answers ABORT_REQUEST at
    once, and its handler continues to write under that id, up to a second END_REQUEST.

    Attributes:
        last: the last id given by the first rule.
        highest: the highest id given by the second rule, or before the first rule started again at 1.
        aborted: ids under which the peer may still write after their END_REQUEST.
        just_ended: ids whose END_REQUEST is among the latest events.
        unprocessed: the ids among them whose events the caller has not processed, and perhaps others; None if the
            caller does not tell.
    """

    __slots__ = ("_lowest_free", "aborted", "highest", "just_ended", "last", "unprocessed")

    def __init__(self) -> None:
        self.last = self.highest = 0
        self.aborted: set[int] = set()
        self.just_ended: set[int] = set()
        self.unprocessed: Container[int] | None = None
        # by the second rule: all ids below it are taken
        self._lowest_free = 1

    def following(self) -> int:
        """Return the next id by the first rule."""
        if self.last >= MAX_REQUEST_ID:
            self.highest, self.last = MAX_REQUEST_ID, 0
        self.last += 1
        return self.last

    def given(self, request_id: int) -> bool:
        """Return whether an id was ever given."""
        return 0 < request_id <= max(self.last, self.highest)

    def smallest_free(self, taken: Mapping[int, object]) -> int:
        """Return the next id by the second rule; raises LocalProtocolError if there is none."""
        request_id = self._lowest_free
        while request_id in taken or request_id in self.just_ended or request_id in self.aborted:
            request_id += 1
        if request_id > MAX_REQUEST_ID:
            return self._just_ended_one()
        self._lowest_free = request_id + 1
        if request_id > self.highest:
            self.highest = request_id
        self.last = self.highest
        return request_id

    def _just_ended_one(self) -> int:
        unprocessed = self.just_ended if self.unprocessed is None else self.unprocessed
        for request_id in self.just_ended:
            if request_id not in unprocessed:
                self.just_ended.remove(request_id)
                self._lowest_free = MAX_REQUEST_ID + 1
                return request_id
        raise LocalProtocolError(f"all {MAX_REQUEST_ID} request ids are taken")

    def ended(self, request_id: int, *, multiplexing: bool) -> None:
        """Called at the end of a request."""
        if request_id not in self.aborted and (multiplexing or request_id < self._lowest_free):
            self.just_ended.add(request_id)

    def ended_twice(self, request_id: int) -> None:
        """Called at the second END_REQUEST under an aborted id."""
        if request_id in self.aborted:
            self.aborted.discard(request_id)
            self.just_ended.add(request_id)

    def free(self) -> None:
        """Called when the latest events have been processed."""
        self._lowest_free = min(self._lowest_free, *self.just_ended)
        self.just_ended.clear()

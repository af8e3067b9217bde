"""Many sockets in one epoll, for event loops where a watch for each socket would cost too much or report too little."""

from __future__ import annotations

import select
from collections.abc import Callable

import attrs

__all__ = ("Ready", "ReadyWatch")

_IN, _OUT = select.EPOLLIN, select.EPOLLOUT


@attrs.define(eq=False)
class Ready:
    """All sockets of a backend; the backend watches `fileno()` and calls `look()` when it can be read."""

    _epoll: select.epoll = attrs.field(factory=select.epoll, init=False)
    _watches: dict[int, ReadyWatch] = attrs.field(factory=dict, init=False)

    def fileno(self) -> int:
        """Return the descriptor, which can be read while a socket is ready."""
        return self._epoll.fileno()

    def change(self, watch: ReadyWatch, events: int) -> None:
        """Change which events of a socket are watched; none is possible."""
        fd = watch.fd
        if self._epoll.closed:
            return
        if not events:
            if self._watches.pop(fd, None) is not None:
                self._epoll.unregister(fd)
        elif fd in self._watches:
            self._epoll.modify(fd, events)
        else:
            self._watches[fd] = watch
            self._epoll.register(fd, events)

    def look(self) -> None:
        """Call the callbacks of the sockets that are ready."""
        for fd, events in self._epoll.poll(0):
            # an earlier callback may have closed it, and another socket may have its number
            watch = self._watches.get(fd)
            if watch is None:
                continue
            if events == _IN and watch.events & _IN:
                # most are ready for this and no more
                watch.readable()
            else:
                watch.ready(events)

    def close(self) -> None:
        """Stop watching."""
        self._epoll.close()


class ReadyWatch:
    """A socket in the backend's epoll.

    Attributes:
        fd: its descriptor.
        events: what it is watched for.
        readable: called when it can be read.
    """

    __slots__ = ("_ready", "_writable", "events", "fd", "readable")

    def __init__(self, ready: Ready, fd: int, readable: Callable[[], None], writable: Callable[[], None]) -> None:
        self._ready, self.fd = ready, fd
        self.readable, self._writable = readable, writable
        self.events = 0

    def read(self, wanted: bool, /) -> None:
        """Start or stop reporting when it can be read."""
        self._want(_IN, wanted)

    def write(self, wanted: bool, /) -> None:
        """Start or stop reporting when it can be written."""
        self._want(_OUT, wanted)

    def close(self) -> None:
        """Stop reporting."""
        self._want(self.events, False)

    def ready(self, events: int) -> None:
        """Call the callbacks for the socket's events; an error counts as readable and writable."""
        if events & ~_OUT and self.events & _IN:
            self.readable()
        if events & ~_IN and self.events & _OUT:
            self._writable()

    def _want(self, events: int, wanted: bool) -> None:
        before = self.events
        self.events = before | events if wanted else before & ~events
        if self.events != before:
            self._ready.change(self, self.events)

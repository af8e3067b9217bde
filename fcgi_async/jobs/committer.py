"""Committer: one thread with one connection, which commits all that was called meanwhile in one transaction.

Theory of operation. Calls of the event loop are put into a queue, and the thread takes as many of them as there are:
the more come at once, the fewer commits each costs. If one call fails, its whole group is taken back; the calls are
then made again, each in a transaction of its own, so that only the one at fault fails. Answers go back together, in one
call into the loop, after the commit.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from copy import copy
from queue import Empty, SimpleQueue
from typing import Generic, Protocol, TypeVar, cast

import anyio
import attrs

from fcgi_async.jobs.errors import StoreError, StoreUnavailable
from fcgi_async.jobs.thread_calls import Post, current_post

__all__ = ("Committer", "Session")

S = TypeVar("S", bound="Session")
T = TypeVar("T")

# one transaction keeps other processes out, and the answers of its first call wait for its last
_LARGEST_GROUP = 256
# seconds; less than a sync takes, and paid only while calls come together
_GATHERING = 0.0001


class Session(Protocol):
    """A connection, used by one thread."""

    def connect(self) -> None:
        """Connect, if it is not connected."""

    def disconnect(self) -> None:
        """Disconnect; raises nothing."""

    def begin(self, *, durable: bool, writes: bool) -> None:
        """Begin a transaction, which is on disk when its commit returns or need not be, and writes or only reads."""

    def commit(self) -> None:
        """Commit it."""

    def rollback(self) -> None:
        """Take it back; raises nothing."""

    def committed(self) -> None:
        """Called after a commit, before the answers are given; raises nothing."""

    def translate(self, error: Exception, *, committing: bool) -> StoreError | None:
        """Return what to raise for an error of the driver's; None if it is none of those."""
        ...


@attrs.define(eq=False)
class _Call(Generic[S]):
    """One call and its answer."""

    perform: Callable[[S], object]
    durable: bool
    done: anyio.Event
    writes: bool = True
    result: object = None
    error: BaseException | None = None
    # the caller is gone
    withdrawn: bool = False
    # makes up for what was performed after the caller had gone
    undo: Callable[[S, object], None] | None = None


@attrs.define(eq=False)
class Committer(Generic[S]):
    """Performs calls on a session, in the order in which they came.

    Args:
        session: what they are performed on; the thread connects and disconnects it.
    """

    _session: S
    _queue: SimpleQueue[_Call[S] | None] = attrs.field(factory=SimpleQueue, init=False)
    _thread: threading.Thread | None = attrs.field(default=None, init=False)
    _post: Post = attrs.field(init=False)
    _ended: anyio.Event = attrs.field(init=False)

    async def start(self) -> None:
        """Start the thread and connect.

        Raises:
            StoreError: it cannot connect; the thread has ended.
        """
        self._post, self._ended = current_post(), anyio.Event()
        self._thread = threading.Thread(target=self._run, name="fcgi_async.jobs", daemon=True)
        self._thread.start()
        try:
            await self.call(lambda session: None)
        except BaseException:
            await self.aclose()
            raise

    async def aclose(self) -> None:
        """Perform what was called, disconnect and end the thread."""
        if self._thread is None:
            return
        self._thread = None
        self._queue.put(None)
        with anyio.CancelScope(shield=True):
            await self._ended.wait()

    async def call(
        self,
        perform: Callable[[S], T],
        *,
        durable: bool = True,
        writes: bool = True,
        undo: Callable[[S, T], None] | None = None,
    ) -> T:
        """Perform a call in a transaction, together with others; return what it returned.

        Args:
            perform: called in the thread, perhaps twice, between begin and commit.
            durable: whether it must be on disk before the answer comes.
            writes: whether it changes anything; what only reads need not wait for those who write.
            undo: performed with its result if the caller is cancelled after it was performed.

        Raises:
            StoreError: it is not done, unless the error says that it may be.

        Cancelling withdraws it unless it has begun.
        """
        if self._thread is None:
            raise StoreUnavailable("the database is closed; use it inside `async with Jobs(...)`")
        call: _Call[S] = _Call(perform, durable, anyio.Event(), writes)
        call.undo = cast("Callable[[S, object], None] | None", undo)
        self._queue.put(call)
        try:
            await call.done.wait()
        except BaseException:
            call.withdrawn = True
            if call.done.is_set() and call.error is None and undo is not None:
                self._undo_later(call)
            raise
        if call.error is not None:
            raise call.error
        return cast("T", call.result)

    def _undo_later(self, call: _Call[S]) -> None:
        undo = call.undo
        assert undo is not None
        self._queue.put(_Call(lambda session: undo(session, call.result), call.durable, anyio.Event()))

    # in the thread

    def _run(self) -> None:
        closing, together = False, False
        while not closing:
            group = [self._queue.get()]
            if together and self._queue.empty():
                # callers of the last group are about to call again, and we woke at the first of them
                time.sleep(_GATHERING)
            with suppress(Empty):
                while len(group) < _LARGEST_GROUP:
                    group.append(self._queue.get_nowait())
            closing, together = None in group, len(group) > 1
            calls = [call for call in group if call is not None and not call.withdrawn]
            if calls:
                self._perform_all(calls)
                self._post(lambda calls=calls: self._answer(calls))  # type: ignore[misc]
        self._session.disconnect()
        self._post(self._ended.set)

    def _perform_all(self, calls: Sequence[_Call[S]]) -> None:
        if self._perform(calls) or len(calls) == 1:
            return
        for call in calls:
            call.error = None
            self._perform((call,))

    def _perform(self, calls: Sequence[_Call[S]]) -> bool:
        """Perform calls in one transaction; return False if one of them failed and the others may be made again."""
        session, step = self._session, "begin"
        try:
            session.connect()
            session.begin(durable=any(call.durable for call in calls), writes=any(call.writes for call in calls))
            step = "perform"
            for call in calls:
                call.result = call.perform(session)
            step = "commit"
            session.commit()
        except Exception as error:
            session.rollback()
            raised = session.translate(error, committing=step == "commit")
            for call in calls:
                # each its own: tasks add to the traceback of what they raise
                call.error = copy(error if raised is None else raised)
                call.error.__cause__ = error
            return step != "perform"
        session.committed()
        return True

    # in the loop

    def _answer(self, calls: Sequence[_Call[S]]) -> None:
        for call in calls:
            if call.withdrawn and call.error is None and call.undo is not None:
                self._undo_later(call)
            call.done.set()

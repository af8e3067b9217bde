"""Committer: one thread with one connection, which performs all waiting calls in one transaction.

Theory of operation. The event loop puts calls into a queue, and the thread takes all that are there: the more come at
once, the fewer commits each costs. If one call fails, its whole group is rolled back; then each call is repeated in a
transaction of its own, so that only the faulty one fails. A call that fails only because of other transactions is
repeated a few times, but not if it has waited too long for their locks. Answers go back together after the commit, in
one call into the loop.
"""

from __future__ import annotations

import random
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

# most calls in a transaction: it keeps other processes out, and its first call's answer waits for its last call
_LARGEST_GROUP = 256
# a share of the last transaction's time, and seconds; waited only while calls come together
_GATHERING, _LONGEST_GATHERING = 0.15, 0.0003
# how many times a transaction is tried if others roll it back
_TIMES = 20
# seconds before the next try, at random up to the first number; doubled each time, up to the second
_PAUSE, _LONGEST_PAUSE = 0.001, 0.1


class Session(Protocol):
    """A connection, used by one thread."""

    def connect(self) -> None:
        """Connect if it is not connected."""

    def disconnect(self) -> None:
        """Disconnect; never raises."""

    def begin(self, *, durable: bool, writes: bool) -> None:
        """Begin a transaction that must (`durable`) be on disk when its commit returns, and that (`writes`) writes."""

    def commit(self) -> None:
        """Commit it."""

    def rollback(self) -> None:
        """Roll back; never raises."""

    def committed(self) -> None:
        """Called after a commit, before the answers are given; never raises."""

    def translate(self, error: Exception, *, committing: bool) -> StoreError | None:
        """Return the error to raise for a driver's error; None if it is not one."""
        ...

    def is_transient(self, error: Exception) -> bool:
        """Return whether other transactions rolled this one back, so that it may be repeated at once."""
        ...

    def waited_in_vain(self, error: Exception) -> bool:
        """Return whether it waited too long for another transaction's locks, and would only wait again."""
        ...


@attrs.define(eq=False)
class _Call(Generic[S]):
    """One call and its answer."""

    perform: Callable[[S], object]
    durable: bool
    done: anyio.Event
    writes: bool = True
    urgent: bool = False
    # it has waited for another transaction's locks as long as allowed
    waited: bool = False
    result: object = None
    error: BaseException | None = None
    # whether the caller has left
    withdrawn: bool = False
    # undoes the call if it was performed after the caller had left
    undo: Callable[[S, object], None] | None = None


@attrs.define(eq=False)
class Committer(Generic[S]):
    """Performs calls on a session, in the order in which they come.

    Args:
        session: the session; the thread connects and disconnects it.
    """

    _session: S
    _queue: SimpleQueue[_Call[S] | None] = attrs.field(factory=SimpleQueue, init=False)
    _thread: threading.Thread | None = attrs.field(default=None, init=False)
    _post: Post = attrs.field(init=False)
    _ended: anyio.Event = attrs.field(init=False)

    async def start(self, *, waits: bool = False) -> StoreUnavailable | None:
        """Start the thread and connect.

        Args:
            waits: whether to go on without a database that is away: each later call tries to connect.

        Returns:
            Why it is not connected yet; None if it is.

        Raises:
            StoreError: it cannot connect; the thread has ended.
        """
        self._post, self._ended = current_post(), anyio.Event()
        self._thread = threading.Thread(target=self._run, name="fcgi_async.jobs", daemon=True)
        self._thread.start()
        try:
            await self.call(lambda session: None)
        except BaseException as error:
            if waits and isinstance(error, StoreUnavailable):
                return error
            await self.aclose()
            raise
        return None

    async def aclose(self) -> None:
        """Perform the waiting calls, disconnect and end the thread."""
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
        urgent: bool = False,
        undo: Callable[[S, T], None] | None = None,
    ) -> T:
        """Perform a call in a transaction, together with others; return its result.

        Args:
            perform: called in the thread, perhaps twice, between begin and commit.
            durable: whether it must be on disk before the answer comes.
            writes: whether it changes anything; a call that only reads need not wait for writers.
            urgent: whether it comes before other waiting calls.
            undo: performed with the result if the caller was cancelled meanwhile.

        Raises:
            StoreError: it was not performed, unless the error says that it may have been.

        Cancelling withdraws the call unless it has begun.
        """
        if self._thread is None:
            raise StoreUnavailable("the database is closed; use it inside `async with Jobs(...)`")
        call: _Call[S] = _Call(perform, durable, anyio.Event(), writes, urgent)
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

    def send(self, perform: Callable[[S], object], *, durable: bool = True) -> None:
        """Perform a call without waiting for it; errors are ignored, and nothing happens if this is not started."""
        if self._thread is not None:
            self._queue.put(_Call(perform, durable, anyio.Event()))

    def _undo_later(self, call: _Call[S]) -> None:
        undo = call.undo
        assert undo is not None
        self._queue.put(_Call(lambda session: undo(session, call.result), call.durable, anyio.Event()))

    # in the thread

    def _run(self) -> None:
        closing, together, took = False, False, 0.0
        while not closing:
            group = [self._queue.get()]
            if together:
                # callers of the last group are about to call again; wait for more than the first of them
                time.sleep(min(took * _GATHERING, _LONGEST_GATHERING))
            with suppress(Empty):
                while len(group) < _LARGEST_GROUP:
                    group.append(self._queue.get_nowait())
            closing, begun = None in group, time.perf_counter()
            calls = [call for call in group if call is not None and not call.withdrawn]
            calls.sort(key=lambda call: not call.urgent)
            if calls:
                self._perform_all(calls)
                self._post(lambda calls=calls: self._answer(calls))  # type: ignore[misc]
            took, together = time.perf_counter() - begun, len(group) > 1 or not self._queue.empty()
        self._session.disconnect()
        self._post(self._ended.set)

    def _perform_all(self, calls: Sequence[_Call[S]]) -> None:
        if self._perform(calls):
            return
        for call in calls:
            times = 0 if call.waited or (len(calls) == 1 and not self._may_repeat(call)) else _TIMES
            for again in range(times):
                if again:
                    # so that two that roll each other back do not meet again
                    time.sleep(random.uniform(0, min(_PAUSE * 2**again, _LONGEST_PAUSE)))
                call.error = None
                if self._perform((call,)) or not self._may_repeat(call):
                    break

    def _may_repeat(self, call: _Call[S]) -> bool:
        cause = None if call.error is None else call.error.__cause__
        return isinstance(cause, Exception) and self._session.is_transient(cause)

    def _perform(self, calls: Sequence[_Call[S]]) -> bool:
        """Perform calls in one transaction. Return False if one of them failed and the others may be repeated."""
        session, step, performed = self._session, "begin", 0
        try:
            session.connect()
            session.begin(durable=any(call.durable for call in calls), writes=any(call.writes for call in calls))
            step = "perform"
            for call in calls:
                call.result = call.perform(session)
                performed += 1
            step = "commit"
            session.commit()
        except Exception as error:
            session.rollback()
            raised = session.translate(error, committing=step == "commit")
            for call in calls:
                # a separate error for each: tasks add to the traceback of what they raise
                call.error = copy(error if raised is None else raised)
                call.error.__cause__ = error
            if step == "perform":
                calls[performed].waited = session.waited_in_vain(error)
            # one that was rolled back at its commit has certainly not committed
            return step == "begin" or (step == "commit" and not session.is_transient(error))
        session.committed()
        return True

    # in the loop

    def _answer(self, calls: Sequence[_Call[S]]) -> None:
        for call in calls:
            if call.withdrawn and call.error is None and call.undo is not None:
                self._undo_later(call)
            call.done.set()

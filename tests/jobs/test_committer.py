"""The thread that commits: what shares a transaction, and what becomes of it when something fails."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import anyio
import attrs
import pytest

from fcgi_async.jobs import StoreError, StoreFull, StoreUnavailable
from fcgi_async.jobs.committer import Committer

pytestmark = [pytest.mark.anyio, pytest.mark.every_loop]


class DriverError(Exception):
    """What a database's driver raises."""


@attrs.define(eq=False)
class FakeSession:
    """Keeps a log of what is asked of it."""

    log: list[str] = attrs.field(factory=list)
    fail_connect: int = 0
    fail_commit: int = 0
    # whether what fails was forced back by others
    forced_back: bool = False
    # held back until it is set
    gate: threading.Event = attrs.field(factory=threading.Event)

    def connect(self) -> None:
        if self.fail_connect:
            self.fail_connect -= 1
            raise DriverError("connect")

    def disconnect(self) -> None:
        self.log.append("disconnect")

    def begin(self, *, durable: bool, writes: bool) -> None:
        self.log.append(f"begin {durable}")

    def commit(self) -> None:
        if self.fail_commit:
            self.fail_commit -= 1
            raise DriverError("commit")
        self.log.append("commit")

    def rollback(self) -> None:
        self.log.append("rollback")

    def committed(self) -> None:
        self.log.append("committed")

    def is_transient(self, error: Exception) -> bool:
        return self.forced_back

    def waited_in_vain(self, error: Exception) -> bool:
        return str(error) == "locked"

    def translate(self, error: Exception, *, committing: bool) -> StoreError | None:
        if isinstance(error, DriverError):
            return StoreUnavailable(str(error), may_be_stored=committing)
        return error if isinstance(error, StoreError) else None


def says(text: str, error: Exception | None = None) -> Callable[[FakeSession], str]:
    """A call that notes itself, and may fail."""

    def perform(session: FakeSession) -> str:
        session.log.append(text)
        if error is not None:
            raise error
        return text

    return perform


async def started(session: FakeSession) -> Committer[FakeSession]:
    """A committer that has connected, its log empty."""
    committer = Committer(session)
    await committer.start()
    session.log.clear()
    return committer


async def all_at_once(
    committer: Committer[FakeSession], session: FakeSession, *calls: dict[str, Any]
) -> list[str | Exception]:
    """Make calls that wait for one before them, so that they come together; return their answers."""
    answers: list[str | Exception] = [""] * len(calls)

    async def make(index: int, call: dict[str, Any]) -> None:
        try:
            answers[index] = await committer.call(
                call["perform"], durable=call.get("durable", True), urgent=call.get("urgent", False)
            )
        except (StoreError, ValueError) as error:
            answers[index] = error

    begun = threading.Event()

    def block(session: FakeSession) -> None:
        begun.set()
        session.gate.wait(30)
        session.log.clear()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(committer.call, block)
        await anyio.to_thread.run_sync(begun.wait, 30)
        for index, call in enumerate(calls):
            tasks.start_soon(make, index, call)
        await anyio.wait_all_tasks_blocked()
        session.gate.set()
    return answers


async def test_a_transaction_rolled_back_by_others_is_performed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few times, and not without end."""
    monkeypatch.setattr("fcgi_async.jobs.committer._PAUSE", 0.0)
    session = FakeSession(forced_back=True)
    committer = await started(session)
    session.fail_commit = 3
    assert await committer.call(says("a")) == "a"
    assert session.log.count("a") == 4
    session.fail_commit = 1000
    with pytest.raises(StoreUnavailable, match="commit"):
        await committer.call(says("c"))
    assert session.fail_commit > 900
    await committer.aclose()


async def test_simultaneous_calls_share_a_commit() -> None:
    """It is durable if one of them must be."""
    session = FakeSession()
    committer = await started(session)
    first, second = {"perform": says("a"), "durable": False}, {"perform": says("b")}
    assert await all_at_once(committer, session, first, second) == ["a", "b"]
    assert session.log[:3] == ["commit", "committed", "begin True"]
    # trio starts tasks in any order
    assert sorted(session.log[3:5]) == ["a", "b"]
    assert session.log[5:] == ["commit", "committed"]
    await committer.aclose()


async def test_only_durable_calls_have_a_durable_commit() -> None:
    session = FakeSession()
    committer = await started(session)
    assert await committer.call(says("a"), durable=False) == "a"
    assert session.log == ["begin False", "a", "commit", "committed"]
    await committer.aclose()


async def test_only_the_faulty_call_fails() -> None:
    """Its group is taken back, and the others are made again by themselves."""
    session = FakeSession()
    committer = await started(session)
    answers = await all_at_once(
        committer,
        session,
        {"perform": says("a")},
        {"perform": says("b", StoreFull("b"))},
        {"perform": says("c", ValueError("c"))},
    )
    assert [str(answer) for answer in answers] == ["a", "b", "c"]
    assert [type(answer) for answer in answers] == [str, StoreFull, ValueError]
    assert session.log.count("commit") == 2
    await committer.aclose()


async def test_a_failed_commit_is_not_repeated() -> None:
    """It may have come through: every call of the group is told so."""
    session = FakeSession()
    committer = await started(session)

    def arm(session: FakeSession) -> None:
        session.fail_commit = 1

    answers = await all_at_once(committer, session, {"perform": lambda session: arm(session)}, {"perform": says("b")})
    assert [isinstance(answer, StoreUnavailable) and answer.may_be_stored for answer in answers] == [True, True]
    assert session.log.count("b") == 1
    assert isinstance(answers[1], StoreUnavailable)
    assert isinstance(answers[1].__cause__, DriverError)
    assert await committer.call(says("c")) == "c"
    await committer.aclose()


async def test_a_withdrawn_call_is_not_performed() -> None:
    session = FakeSession()
    committer = await started(session)

    begun = threading.Event()

    def block(session: FakeSession) -> None:
        begun.set()
        session.gate.wait(30)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(committer.call, block)
        await anyio.to_thread.run_sync(begun.wait, 30)
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as inner:
                inner.start_soon(committer.call, says("withdrawn"))
                await anyio.wait_all_tasks_blocked()
                scope.cancel()
        session.gate.set()
    await committer.call(says("next"))
    assert "withdrawn" not in session.log
    await committer.aclose()


async def test_a_performed_call_of_a_cancelled_caller_is_undone() -> None:
    session, undone = FakeSession(), list[str]()
    committer = await started(session)
    begun = threading.Event()

    def take(session: FakeSession) -> str:
        begun.set()
        session.gate.wait(30)
        return "taken"

    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as tasks:

            async def call() -> None:
                await committer.call(take, undo=lambda session, result: undone.append(result))

            tasks.start_soon(call)
            await anyio.to_thread.run_sync(begun.wait, 30)
            scope.cancel()
    session.gate.set()
    with anyio.fail_after(30):
        while not undone:
            await committer.call(says("next"))
    assert undone == ["taken"]
    await committer.aclose()


async def test_a_call_waits_for_locks_only_once() -> None:
    """Those beside it are made again without it, and what is urgent is made first."""
    session = FakeSession()
    committer = await started(session)
    answers = await all_at_once(
        committer,
        session,
        {"perform": says("a")},
        {"perform": says("b", DriverError("locked"))},
        {"perform": says("c"), "urgent": True},
    )
    assert [str(answer) for answer in answers] == ["a", "locked", "c"]
    performed = [entry for entry in session.log if len(entry) == 1]
    assert (performed[0], performed.count("b")) == ("c", 1)
    await committer.aclose()


async def test_connecting_can_be_tried_again() -> None:
    session = FakeSession(fail_connect=1)
    committer = Committer(session)
    with pytest.raises(StoreUnavailable, match="connect"):
        await committer.start()
    assert session.log == ["rollback", "disconnect"]
    await committer.start()
    assert await committer.call(says("a")) == "a"
    await committer.aclose()


async def test_a_closed_committer_refuses_calls() -> None:
    """And closing performs what was called before."""
    session = FakeSession()
    committer = await started(session)
    await committer.call(says("a"))
    await committer.aclose()
    await committer.aclose()
    assert session.log[-1] == "disconnect"
    with pytest.raises(StoreUnavailable, match=r"use it inside `async with Jobs"):
        await committer.call(says("b"))

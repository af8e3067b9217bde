"""One heap and one timer for the deadlines of all jobs; the clock is the test's."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import cast

import attrs
import pytest

from fcgi_async.dispatch.deadlines import Deadlines
from fcgi_async.net.backend import Backend


@attrs.define(eq=False)
class SetTimer:
    """A timer of the clock below."""

    when: float
    callback: Callable[[], None]
    cancelled: bool = False

    def cancel(self) -> None:
        self.cancelled = True


@attrs.define(eq=False)
class Clock:
    """A backend as far as deadlines need one."""

    time: float = 0.0
    timers: list[SetTimer] = attrs.field(factory=list)

    def now(self) -> float:
        return self.time

    def call_at(self, when: float, callback: Callable[[], None]) -> SetTimer:
        self.timers.append(SetTimer(when, callback))
        return self.timers[-1]

    @property
    def set_timers(self) -> list[float]:
        return [timer.when for timer in self.timers if not timer.cancelled and timer.when > self.time]

    def go_to(self, time: float) -> None:
        """Let the time pass, and every timer fire that is due."""
        while due := [timer for timer in self.timers if timer.when <= time and not timer.cancelled]:
            timer = min(due, key=lambda timer: timer.when)
            self.time = max(self.time, timer.when)
            timer.cancelled = True
            timer.callback()
        self.time = time


@pytest.fixture
def clock() -> Clock:
    """A clock at 0."""
    return Clock()


@pytest.fixture
def deadlines(clock: Clock) -> Deadlines:
    """Deadlines on that clock."""
    return Deadlines(cast(Backend, clock))


def test_in_their_order(clock: Clock, deadlines: Deadlines) -> None:
    """Each is called once, when its time has passed, and in the order of their times."""
    called: list[tuple[str, float]] = []
    for name, when in [("c", 3.0), ("a", 1.0), ("b", 2.0), ("a2", 1.0)]:
        deadlines.add(when, lambda name=name: called.append((name, clock.time)))  # type: ignore[misc]
    clock.go_to(10.0)
    assert called == [("a", 1.0), ("a2", 1.0), ("b", 2.0), ("c", 3.0)]


def test_one_timer(clock: Clock, deadlines: Deadlines) -> None:
    """There is one timer, for the nearest deadline, however many deadlines there are."""
    for when in (5.0, 3.0, 4.0, 3.5):
        deadlines.add(when, lambda: None)
    assert clock.set_timers == [3.0]
    clock.go_to(3.0)
    assert clock.set_timers == [3.5]


def test_cancelled(clock: Clock, deadlines: Deadlines) -> None:
    """One that was cancelled is not called, not even where that happened at the same moment."""
    called: list[str] = []
    first = deadlines.add(1.0, lambda: called.append("first"))
    second = 0

    def cancel_second() -> None:
        deadlines.cancel(second)

    deadlines.add(2.0, cancel_second)
    second = deadlines.add(2.0, lambda: called.append("second"))
    deadlines.cancel(first)
    clock.go_to(5.0)
    assert called == []
    deadlines.cancel(first)


def test_added_by_one_that_is_called(clock: Clock, deadlines: Deadlines) -> None:
    """A deadline that a callback adds is called in its turn."""
    called: list[float] = []

    def add_another() -> None:
        deadlines.add(1.5, lambda: called.append(clock.time))

    deadlines.add(1.0, add_another)
    deadlines.add(9.0, lambda: called.append(clock.time))
    clock.go_to(10.0)
    assert called == [1.5, 9.0]


def test_one_that_fails(clock: Clock, deadlines: Deadlines) -> None:
    """What one callback raises keeps nobody else from being called."""
    called: list[str] = []

    def fail() -> None:
        raise LookupError

    deadlines.add(1.0, fail)
    deadlines.add(1.0, lambda: called.append("same moment"))
    deadlines.add(2.0, lambda: called.append("later"))
    with pytest.raises(LookupError):
        clock.go_to(1.0)
    clock.go_to(5.0)
    assert called == ["same moment", "later"]


def test_many_that_pass_together(clock: Clock, deadlines: Deadlines) -> None:
    """A few hundred are called in one turn of the event loop, and the others in the next ones."""
    called: list[int] = []
    for number in range(1000):
        deadlines.add(1.0, lambda number=number: called.append(number))  # type: ignore[misc]
    clock.time = 1.0
    turns = 0
    while len(called) < 1000:
        before = len(called)
        clock.timers[-1].callback()
        assert 0 < len(called) - before <= 300
        turns += 1
    assert turns >= 4
    assert called == list(range(1000))


def test_memory_of_the_cancelled(deadlines: Deadlines) -> None:
    """Jobs that end long before their deadlines leave no entry each, whatever lies before them."""
    deadlines.add(1.0, lambda: None)
    for _ in range(100_000):
        deadlines.cancel(deadlines.add(300.0, lambda: None))
    assert len(deadlines._heap) < 2_000
    assert len(deadlines._pending) == 1


def test_closed(clock: Clock, deadlines: Deadlines) -> None:
    """Nobody is called after closing."""
    called: list[str] = []
    deadlines.add(1.0, lambda: called.append("late"))
    deadlines.close()
    clock.go_to(math.inf)
    assert called == []

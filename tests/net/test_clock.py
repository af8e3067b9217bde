"""One heap and one wake-up for whatever is due later; the time is the test's."""

from __future__ import annotations

import math

import attrs
import pytest

from fcgi_async.net.clock import Clock, ClockTimer


@attrs.define(eq=False)
class Loop:
    """An event loop as far as a clock needs one."""

    time: float = 0.0
    # when the clock wants to be run
    alarm: float = math.inf
    clock: Clock = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.clock = Clock(lambda: self.time, self.wake_at)

    def wake_at(self, when: float) -> None:
        self.alarm = when

    def turn(self) -> None:
        """Run the clock, which is due."""
        self.alarm = math.inf
        self.clock.run()

    def go_to(self, time: float) -> None:
        """Let the time pass, and run the clock whenever it wants to be."""
        while self.alarm <= time and self.alarm < math.inf:
            self.time = max(self.time, self.alarm)
            self.turn()
        self.time = time


@pytest.fixture
def loop() -> Loop:
    """An event loop at 0."""
    return Loop()


def test_in_their_order(loop: Loop) -> None:
    """Each is called once, when its time has passed, and in the order of their times."""
    called: list[tuple[str, float]] = []
    for name, when in [("c", 3.0), ("a", 1.0), ("b", 2.0), ("a2", 1.0)]:
        loop.clock.at(when, lambda name=name: called.append((name, loop.time)))  # type: ignore[misc]
    loop.go_to(10.0)
    assert called == [("a", 1.0), ("a2", 1.0), ("b", 2.0), ("c", 3.0)]


def test_one_timer(loop: Loop) -> None:
    """There is one timer, for the nearest deadline, however many deadlines there are."""
    for when in (5.0, 3.0, 4.0, 3.5):
        loop.clock.at(when, lambda: None)
    assert loop.alarm == 3.0
    loop.go_to(3.0)
    assert loop.alarm == 3.5


def test_cancelled(loop: Loop) -> None:
    """One that was cancelled is not called, not even where that happened at the same moment."""
    called: list[str] = []
    first = loop.clock.at(1.0, lambda: called.append("first"))
    loop.clock.at(2.0, lambda: second.cancel())
    second = loop.clock.at(2.0, lambda: called.append("second"))
    first.cancel()
    loop.go_to(5.0)
    assert called == []
    first.cancel()


def test_added_by_one_that_is_called(loop: Loop) -> None:
    """A deadline that a callback adds is called in its turn."""
    called: list[float] = []

    def add_another() -> None:
        loop.clock.at(1.5, lambda: called.append(loop.time))

    loop.clock.at(1.0, add_another)
    loop.clock.at(9.0, lambda: called.append(loop.time))
    loop.go_to(10.0)
    assert called == [1.5, 9.0]


def test_one_that_fails(loop: Loop) -> None:
    """What one callback raises keeps nobody else from being called."""
    called: list[str] = []

    def fail() -> None:
        raise LookupError

    loop.clock.at(1.0, fail)
    loop.clock.at(1.0, lambda: called.append("same moment"))
    loop.clock.at(2.0, lambda: called.append("later"))
    with pytest.raises(LookupError):
        loop.go_to(1.0)
    loop.go_to(5.0)
    assert called == ["same moment", "later"]


def test_many_that_pass_together(loop: Loop) -> None:
    """A few hundred are called in one turn of the event loop, and the others in the next ones."""
    called: list[int] = []
    for number in range(1000):
        loop.clock.at(1.0, lambda number=number: called.append(number))  # type: ignore[misc]
    loop.time = 1.0
    turns = 0
    while len(called) < 1000:
        before = len(called)
        loop.turn()
        assert 0 < len(called) - before <= 300
        turns += 1
    assert turns >= 4
    assert called == list(range(1000))


def test_memory_of_the_cancelled(loop: Loop) -> None:
    """Jobs that end long before their deadlines leave no entry each, whatever lies before them."""
    loop.clock.at(1.0, lambda: None)
    for _ in range(100_000):
        loop.clock.at(300.0, lambda: None).cancel()
    assert len(loop.clock._heap) < 2_000


def test_memory_of_those_cancelled_when_they_are_due(loop: Loop) -> None:
    """One that is due may cancel all the others that are, any number of times: the later ones leave no entry either."""
    timers: list[ClockTimer] = []

    def cancel_all() -> None:
        for timer in timers:
            timer.cancel()

    for _ in range(20):
        timers[:] = [loop.clock.at(loop.time, cancel_all) for _ in range(200)]
        loop.go_to(loop.time + 1.0)
    most = 0
    for _ in range(10_000):
        loop.clock.at(loop.time + 300.0, lambda: None).cancel()
        most = max(most, len(loop.clock._heap))
    assert most < 200


def test_closed(loop: Loop) -> None:
    """Nobody is called after closing."""
    called: list[str] = []
    loop.clock.at(1.0, lambda: called.append("late"))
    loop.clock.close()
    loop.go_to(math.inf)
    assert called == []

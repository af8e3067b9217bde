"""A peer that accepts connections and says nothing is warned of, without waiting in real time."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import cast

import attrs
import pytest

from fcgi_async.net.backend import Backend
from fcgi_async.pool.silence import Silence


@attrs.define(eq=False)
class FakeTimer:
    when: float
    callback: Callable[[], None]
    cancelled: bool = False

    def cancel(self) -> None:
        self.cancelled = True


@attrs.define(eq=False)
class FakeClock:
    """A clock that is moved by hand."""

    time: float = 0.0
    timers: list[FakeTimer] = attrs.field(factory=list, init=False)

    def now(self) -> float:
        return self.time

    def call_at(self, when: float, callback: Callable[[], None]) -> FakeTimer:
        self.timers.append(FakeTimer(when, callback))
        return self.timers[-1]

    def move_to(self, when: float) -> None:
        """Let the time pass."""
        while due := [timer for timer in self.timers if timer.when <= when and not timer.cancelled]:
            timer = min(due, key=lambda timer: timer.when)
            self.timers.remove(timer)
            self.time = timer.when
            timer.callback()
        self.time = when


@attrs.define(eq=False)
class Situation:
    """What the pool says."""

    waiting: bool = True
    answered: bool = False
    clock: FakeClock = attrs.field(factory=FakeClock, init=False)
    silence: Silence = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        backend = cast(Backend, self.clock)
        self.silence = Silence("tcp://a:1", backend, lambda: self.waiting, lambda: self.answered)


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


def test_warned_after_five_seconds_and_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    """The first warning comes after 5 s, the next after a minute, however many connections are dialled meanwhile."""
    it = Situation()
    it.silence.begun()
    it.clock.move_to(4.9)
    assert warnings(caplog) == []
    it.silence.begun()
    it.clock.move_to(64.9)
    assert len(warnings(caplog)) == 1
    it.clock.move_to(65.1)
    assert len(warnings(caplog)) == 2


def test_both_possibilities_are_named(caplog: pytest.LogCaptureFixture) -> None:
    """A peer that never answered may be busy, or no FastCGI server; one that answered before is busy."""
    it = Situation()
    it.silence.begun()
    it.clock.move_to(6)
    it.answered = True
    it.clock.move_to(70)
    first, second = warnings(caplog)
    assert "tcp://a:1" in first
    assert "busy" in first
    assert "not a FastCGI server" in first
    assert "busy" in second
    assert "not a FastCGI server" not in second


def test_an_answer_ends_it(caplog: pytest.LogCaptureFixture) -> None:
    """A peer that answered in time is not warned of."""
    it = Situation()
    it.silence.begun()
    it.clock.move_to(3)
    it.silence.broken()
    it.clock.move_to(100)
    assert warnings(caplog) == []


def test_nobody_waits(caplog: pytest.LogCaptureFixture) -> None:
    """Without a job that waits there is nothing to warn of."""
    it = Situation(waiting=False)
    it.silence.begun()
    it.clock.move_to(100)
    assert warnings(caplog) == []
    it.waiting = True
    it.silence.begun()
    it.clock.move_to(106)
    assert len(warnings(caplog)) == 1


def test_once_a_minute_whatever_happens_in_between(caplog: pytest.LogCaptureFixture) -> None:
    """A peer that answers and falls silent again is not warned of twice within a minute."""
    it = Situation()
    it.silence.begun()
    it.clock.move_to(10)
    it.silence.broken()
    it.silence.begun()
    it.clock.move_to(64)
    assert len(warnings(caplog)) == 1
    it.clock.move_to(66)
    assert len(warnings(caplog)) == 2

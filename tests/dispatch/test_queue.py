"""The bounded queue alone."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from fcgi_async.dispatch.queue import JobQueue


@attrs.define(eq=False)
class Entry:
    """Something that waits."""

    priority: int = 0
    waiting: bool = True
    admissions: int = 0

    def admitted(self) -> None:
        self.admissions += 1


def leave(queue: JobQueue[Entry], entry: Entry) -> None:
    """Stop waiting."""
    entry.waiting = False
    queue.left(entry)


def taken(queue: JobQueue[Entry]) -> list[Entry]:
    """Take everything."""
    found = []
    while (entry := queue.pop()) is not None:
        found.append(entry)
    return found


def test_first_in_first_out() -> None:
    """Equals come out in the order in which they went in."""
    queue: JobQueue[Entry] = JobQueue(10)
    entries = [Entry() for _ in range(5)]
    assert all(queue.push(entry) for entry in entries)
    assert taken(queue) == entries
    assert queue.pop() is None


def test_priority() -> None:
    """A higher priority comes first; equals keep their order."""
    queue: JobQueue[Entry] = JobQueue(10)
    low, high, normal, high_too = Entry(-1), Entry(5), Entry(0), Entry(5)
    for entry in (low, high, normal, high_too):
        queue.push(entry)
    assert taken(queue) == [high, high_too, normal, low]


def test_bound() -> None:
    """What does not fit stands outside, in its order, and comes in as others go."""
    queue: JobQueue[Entry] = JobQueue(2)
    first, second, third, fourth = entries = [Entry() for _ in range(4)]
    assert [queue.push(entry) for entry in entries] == [True, True, False, False]
    assert (queue.size, queue.total, queue.full) == (2, 4, True)
    assert queue.pop() is first
    assert (third.admissions, fourth.admissions) == (1, 0)
    assert (queue.size, queue.total) == (2, 3)
    assert taken(queue) == [second, third, fourth]
    assert fourth.admissions == 1
    assert not queue.full


def test_outside_is_a_queue_too() -> None:
    """Those outside come in by priority, then in the order of their coming, and nobody new is let in before them."""
    queue: JobQueue[Entry] = JobQueue(1)
    inside, first, second, urgent = Entry(), Entry(), Entry(), Entry(9)
    for entry in (inside, first, second, urgent):
        queue.push(entry)
    assert list(queue) == [inside, urgent, first, second]
    assert taken(queue) == [inside, urgent, first, second]


def test_push_back_goes_to_the_front() -> None:
    """What comes back after a failed attempt is ahead of its equals, behind higher ones, and never refused."""
    queue: JobQueue[Entry] = JobQueue(1)
    again, inside, urgent = Entry(), Entry(), Entry(9)
    queue.push(inside)
    queue.push_back(again)
    queue.push_back(urgent)
    assert queue.size == 3
    assert taken(queue) == [urgent, again, inside]


def test_leaving_makes_room() -> None:
    """Who leaves inside lets in who stands outside; who leaves outside is gone at once."""
    queue: JobQueue[Entry] = JobQueue(1)
    inside, outside, last = Entry(), Entry(), Entry()
    for entry in (inside, outside, last):
        queue.push(entry)
    leave(queue, outside)
    assert (queue.size, queue.total) == (1, 2)
    leave(queue, inside)
    assert last.admissions == 1
    assert taken(queue) == [last]
    assert outside.admissions == 0


def test_iteration() -> None:
    """Everybody who waits is seen, highest first and outsiders last; who has left is not."""
    queue: JobQueue[Entry] = JobQueue(3)
    low, gone, high, outside = Entry(-1), Entry(), Entry(1), Entry(9)
    for entry in (low, gone, high, outside):
        queue.push(entry)
    leave(queue, gone)
    queue.push(last := Entry())
    assert list(queue) == [high, outside, low, last] or list(queue) == [outside, high, low, last]
    assert next(iter(queue)) is outside


def test_those_who_left_do_not_pile_up() -> None:
    """A queue through which thousands pass without being taken keeps only those who wait."""
    queue: JobQueue[Entry] = JobQueue(10_000)
    queue.push(stays := Entry())
    for priority in range(5000):
        queue.push(entry := Entry(priority % 7))
        leave(queue, entry)
    kept = sum(len(lane) for lane in queue._lanes.values())
    assert kept < 200
    assert queue.size == 1
    assert taken(queue) == [stays]


class Queue(RuleBasedStateMachine):
    """Whatever is done, in whatever order: the queue agrees with two plain lists."""

    @initialize(bound=st.integers(1, 4))
    def begin(self, bound: int) -> None:
        self.bound = bound
        self.queue: JobQueue[Entry] = JobQueue(bound)
        self.inside: list[Entry] = []
        self.outside: list[Entry] = []
        self.at_hand: list[Entry] = []

    def admit(self) -> None:
        while self.outside and len(self.inside) < self.bound:
            # max() finds the first of equals
            entry = max(self.outside, key=lambda entry: entry.priority)
            self.outside.remove(entry)
            self.inside.append(entry)

    def best(self) -> Entry:
        return max(self.inside, key=lambda entry: entry.priority)

    @rule(priority=st.integers(-1, 2))
    def push(self, priority: int) -> None:
        entry = Entry(priority)
        fits = len(self.inside) < self.bound and not self.outside
        assert self.queue.full is not fits
        assert self.queue.push(entry) is fits
        (self.inside if fits else self.outside).append(entry)

    @rule()
    def pop(self) -> None:
        entry = self.queue.pop()
        if not self.inside:
            assert entry is None
            return
        assert entry is self.best()
        self.inside.remove(entry)
        self.at_hand.append(entry)
        self.admit()

    @precondition(lambda self: self.at_hand)
    @rule()
    def push_back(self) -> None:
        entry = self.at_hand.pop()
        self.queue.push_back(entry)
        self.inside.insert(0, entry)

    @precondition(lambda self: self.inside or self.outside)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        entry = data.draw(st.sampled_from(self.inside + self.outside))
        (self.inside if entry in self.inside else self.outside).remove(entry)
        leave(self.queue, entry)
        self.admit()

    @invariant()
    def agrees(self) -> None:
        assert self.queue.size == len(self.inside)
        assert self.queue.total == len(self.inside) + len(self.outside)
        # sorted() keeps the order of equals
        expected = [sorted(entries, key=lambda entry: -entry.priority) for entries in (self.inside, self.outside)]
        assert list(self.queue) == expected[0] + expected[1]
        assert all(entry.admissions <= 1 for entry in self.inside)
        assert not any(entry.admissions for entry in self.outside)


TestQueue = Queue.TestCase
TestQueue.settings = settings(derandomize=True, database=None, deadline=None, max_examples=150, stateful_step_count=40)


@pytest.mark.parametrize("bound", [1, 3])
def test_everyone_comes_in_once(bound: int) -> None:
    """Each entry that stood outside is told once that it has come in."""
    queue: JobQueue[Entry] = JobQueue(bound)
    entries = [Entry() for _ in range(10)]
    for entry in entries:
        queue.push(entry)
    taken(queue)
    assert [entry.admissions for entry in entries] == [0] * bound + [1] * (10 - bound)

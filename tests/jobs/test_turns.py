"""Turns between queues of different weights."""

from __future__ import annotations

from fcgi_async.jobs.turns import Turns


def test_weights_share_out_many_turns() -> None:
    turns, waiting = Turns(), {"a": list("a" * 100), "b": list("b" * 100), "c": list("c" * 100)}
    picked = turns.pick(waiting, {"a": 5, "b": 3, "c": 2}, 50)
    assert (picked.count("a"), picked.count("b"), picked.count("c")) == (25, 15, 10)


def test_turns_are_spread() -> None:
    picked = "".join(Turns().pick({"a": list("aaaaaa"), "b": list("bb")}, {"a": 3, "b": 1}, 8))
    assert "aaaa" not in picked
    assert "bb" not in picked


def test_turns_go_on_over_several_calls() -> None:
    turns = Turns()
    picked = [turns.pick({"a": ["a"], "b": ["b"]}, {"a": 3, "b": 1}, 1)[0] for _ in range(40)]
    assert (picked.count("a"), picked.count("b")) == (30, 10)


def test_an_empty_queue_loses_its_turn_and_saves_nothing_up() -> None:
    turns, weights = Turns(), {"a": 1, "b": 1}
    assert turns.pick({"a": list("a" * 10), "b": []}, weights, 10) == list("a" * 10)
    picked = turns.pick({"a": list("a" * 10), "b": list("b" * 10)}, weights, 4)
    assert sorted(picked) == ["a", "a", "b", "b"]


def test_each_queue_keeps_its_order() -> None:
    picked = Turns().pick({"a": [1, 3, 5], "b": [2, 4]}, {"a": 1, "b": 1}, 9)
    assert [each for each in picked if each % 2] == [1, 3, 5]
    assert [each for each in picked if not each % 2] == [2, 4]

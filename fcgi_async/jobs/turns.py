"""Turns between queues of different weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

import attrs

__all__ = ("Turns",)

T = TypeVar("T")


@attrs.define
class Turns:
    """Smooth weighted turns: with weights 3 and 1, every fourth turn goes to the second queue, never four in a row to
    the first.

    An empty queue loses its turn to the others, and does not save it up.
    """

    _credit: dict[str, float] = attrs.field(factory=dict, init=False)

    def pick(self, waiting: Mapping[str, Sequence[T]], weights: Mapping[str, int], count: int) -> list[T]:
        """Return up to `count` waiting items, each queue's in its own order.

        Args:
            waiting: the waiting items, by queue.
            weights: the weights of these queues, 1 or more each.
            count: most items to return.
        """
        left = {queue: list(reversed(items)) for queue, items in waiting.items() if items}
        picked: list[T] = []
        while left and len(picked) < count:
            if len(left) == 1:
                items = next(iter(left.values()))
                while items and len(picked) < count:
                    picked.append(items.pop())
                break
            for queue in left:
                self._credit[queue] = self._credit.get(queue, 0.0) + weights[queue]
            chosen = max(left, key=lambda queue: self._credit[queue])
            self._credit[chosen] -= sum(weights[queue] for queue in left)
            picked.append(left[chosen].pop())
            if not left[chosen]:
                del left[chosen]
                self._credit[chosen] = 0.0
        return picked

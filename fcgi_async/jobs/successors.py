"""Jobs that are put when others have ended: the next of a chain, and what follows a batch. Stored as JSON."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from typing import cast

import attrs

from fcgi_async.jobs.record import NewJob

__all__ = ("Successor", "dump_successors", "load_successors", "wants_answer")

logger = logging.getLogger("fcgi_async.jobs")


@attrs.frozen(kw_only=True)
class Successor:
    """A job that is not put yet.

    Attributes:
        id: its id, so that it is put once.
        task: the task's name.
        data: JSON; None for what is known when it is put.
        trace: a W3C traceparent.
    """

    id: str
    task: str
    data: str | None = attrs.field(repr=False)
    priority: int = 0
    trace: str | None = None

    def new_job(self, otherwise: str, following: Sequence[Successor] = ()) -> NewJob:
        """Return the job to put.

        Args:
            otherwise: its data, unless it has some.
            following: the rest of its chain.
        """
        return NewJob(
            id=self.id,
            task=self.task,
            data=otherwise if self.data is None else self.data,
            priority=self.priority,
            trace=self.trace,
            chain=dump_successors(following) if following else None,
        )


def dump_successors(successors: Sequence[Successor]) -> str:
    """Return successors as they are stored."""
    return json.dumps([attrs.asdict(successor) for successor in successors], separators=(",", ":"))


def load_successors(text: str | None) -> tuple[Successor, ...]:
    """Return successors as they were stored; those that anyone else has written wrongly are left out with a warning."""
    if text is None:
        return ()
    try:
        return tuple(_successor(item) for item in json.loads(text))
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        logger.warning("jobs that were to follow are not written as they must be, and are left out: %r", error)
        return ()


def wants_answer(chain: str | None) -> bool:
    """Return whether the next job of a chain gets the answer of the one before as its data."""
    following = load_successors(chain)
    return bool(following) and following[0].data is None


def _successor(item: object) -> Successor:
    if not isinstance(item, dict):
        raise TypeError(f"{type(item).__name__} is not an object")
    found = cast("Mapping[str, object]", item)
    id, task, data, priority, trace = (found.get(name) for name in ("id", "task", "data", "priority", "trace"))
    if not isinstance(id, str) or not isinstance(task, str) or not isinstance(data, str | None):
        raise TypeError("id and task must be text, and data JSON in text, or null")
    if not isinstance(priority, int | None) or not isinstance(trace, str | None):
        raise TypeError("priority must be a number, and trace text")
    return Successor(id=id, task=task, data=data, priority=priority or 0, trace=trace)

"""Jobs that are put when others have ended: the next of a chain, and those after a batch. They are stored as JSON."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from typing import cast

import attrs

from fcgi_async.jobs.checks import is_name
from fcgi_async.jobs.record import NewJob

__all__ = ("Successor", "dump_successors", "load_successors", "wants_answer")

logger = logging.getLogger("fcgi_async.jobs")

_PRIORITY, _LONGEST_TRACE = 2**31 - 1, 200


@attrs.frozen(kw_only=True)
class Successor:
    """A job that is not put yet.

    Attributes:
        id: its id, so that it is put once.
        task: the task's name.
        data: JSON; None if it is known only when the job is put.
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
            otherwise: its data if it has none of its own.
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
    """Return successors in their stored form."""
    return json.dumps([attrs.asdict(successor) for successor in successors], separators=(",", ":"))


def load_successors(text: str | None) -> tuple[Successor, ...]:
    """Return stored successors; leave out malformed ones of other programs, with a warning."""
    if text is None:
        return ()
    try:
        return tuple(_successor(item) for item in json.loads(text))
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        logger.warning("leaving out jobs that were to follow, because they are malformed: %r", error)
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
    # a database that refuses them would also refuse to store the end of the job before
    if not is_name(id) or not is_name(task) or not -_PRIORITY <= (priority or 0) <= _PRIORITY:
        raise ValueError("id and task must be names, and priority a number of 32 bits")
    if "\0" in (data or "") or len(trace or "") > _LONGEST_TRACE:
        raise ValueError("data must be JSON, and trace a traceparent")
    return Successor(id=id, task=task, data=data, priority=priority or 0, trace=trace)

"""Entries of the queue (jobs, requests of other clients, slots whose job is not known yet), and their names in logs."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from fcgi_async.dispatch.execution import Execution
from fcgi_async.dispatch.relay import Relay
from fcgi_async.dispatch.reservation import Reservation

__all__ = ("Entry", "name_of", "names_of")

Entry = Execution | Relay | Reservation

# how many of the jobs that a closing dispatcher waits for, or abandons, are named in the log
_NAMED_MAX = 5


def name_of(entry: Entry) -> str:
    """Return the script of a job and its tag, or the name of another client's request."""
    if isinstance(entry, Reservation):
        return "a slot"
    if isinstance(entry, Relay):
        return entry.request.name
    job = entry.job
    return repr(job.script) if job.tag is None else f"{job.script!r} tag {job.tag!r}"


def names_of(entries: Iterable[Entry]) -> str:
    """Return the names of the first few entries in parentheses, or nothing if there are none."""
    names = [name_of(entry) for entry in islice(entries, _NAMED_MAX + 1)]
    if len(names) > _NAMED_MAX:
        names[-1] = "..."
    return f" ({', '.join(names)})" if names else ""

"""What waits in the queue: jobs, and slots whose job is not known yet; and what logs call them."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from fcgi_async.dispatch.execution import Execution
from fcgi_async.dispatch.reservation import Reservation

__all__ = ("Entry", "name_of", "names_of")

Entry = Execution | Reservation

# of the jobs that a closing dispatcher waits for, or gives up, the log names so many
_NAMED_MAX = 5


def name_of(entry: Entry) -> str:
    """Return the script of a job and its tag."""
    if isinstance(entry, Reservation):
        return "a slot"
    job = entry.job
    return repr(job.script) if job.tag is None else f"{job.script!r} tag {job.tag!r}"


def names_of(entries: Iterable[Entry]) -> str:
    """Return the first few of them in parentheses, or nothing when there are none."""
    names = [name_of(entry) for entry in islice(entries, _NAMED_MAX + 1)]
    if len(names) > _NAMED_MAX:
        names[-1] = "..."
    return f" ({', '.join(names)})" if names else ""

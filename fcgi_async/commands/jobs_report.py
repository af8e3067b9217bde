"""Reports about durable jobs, as text and as JSON."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime

import attrs

from fcgi_async.commands.terminal import clip, printable
from fcgi_async.jobs.record import Counts, Record

__all__ = ("counts_as_text", "fields", "list_as_text", "record_as_text")

_TIMES = ("created", "due", "started", "finished", "keep_until")
_LONGEST = 500


def fields(value: Record | Counts) -> dict[str, object]:
    """Return a value in JSON's types; times are seconds since 1970."""
    return attrs.asdict(value, value_serializer=_plain)


def list_as_text(records: Iterable[Record]) -> str:
    """Return a line for each job, with foreign text escaped; "" if there are none."""
    lines = [
        f"{printable(record.id):<32}  {printable(record.task):<20}  {record.state:<9}  {record.failed:>6}  "
        f"{_age(record.created):>8}  {clip(printable(record.error or ''), 60)}".rstrip()
        for record in records
    ]
    head = f"{'ID':<32}  {'TASK':<20}  {'STATE':<9}  {'FAILED':>6}  {'AGE':>8}  ERROR"
    return "\n".join([head, *lines]) if lines else ""


def record_as_text(record: Record) -> str:
    """Return a line for each fact about a job, with foreign text escaped."""
    return "\n".join(_lines(record))


def counts_as_text(counts: Counts) -> str:
    """Return the number of jobs by state and task, and the workers."""
    lines = ["  ".join(f"{state}: {number}" for state, number in counts.states.items())]
    if counts.oldest is not None:
        lines.append(f"the oldest ready job has waited for {counts.oldest:.1f} s")
    for task, states in sorted(counts.tasks.items()):
        lines.append(f"{printable(task)}: " + ", ".join(f"{number} {state}" for state, number in states.items()))
    lines += [f"queue {queue} is paused" for queue in counts.paused]
    lines += [f"worker {printable(worker.id)} since {_time(worker.started)}" for worker in counts.workers]
    return "\n".join(lines)


def _lines(record: Record) -> Iterator[str]:
    for name, value in attrs.asdict(record, recurse=False).items():
        if value is None or name == "response":
            continue
        text = _time(value) if name in _TIMES else str(value)
        yield f"{name}: {clip(printable(text), _LONGEST)}"
    if record.response is not None:
        yield f"response: {record.response.status}, {len(record.response.content)} bytes"
        for name, text in record.response.headers.items():
            yield f"  {printable(name)}: {printable(text)}"
        yield clip(printable(record.response.text), _LONGEST)


def _plain(instance: object, attribute: object, value: object) -> object:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return dict(value) if isinstance(value, Mapping) else value


def _age(since: float) -> str:
    seconds = max(time.time() - since, 0)
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def _time(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    except (ValueError, OverflowError, OSError):
        # a client with INSERT may have stored any number
        return f"{seconds:g} s since 1970"

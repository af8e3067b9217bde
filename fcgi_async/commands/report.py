"""FPM's status page as text and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta

import attrs

from fcgi_async.commands.terminal import clip, printable
from fcgi_async.fpm.status import PoolStatus, ProcessState, ProcessStatus

__all__ = ("as_json", "as_text")


def as_json(status: PoolStatus, warnings: Sequence[str] = ()) -> str:
    """Return one JSON object on one line: the status, the counts, and the warnings."""
    counts = {"active": status.active, "idle": status.idle, "total": status.total}
    fields = {**counts, **attrs.asdict(status, value_serializer=_plain), "warnings": list(warnings)}
    return json.dumps(fields)


def as_text(status: PoolStatus, warnings: Iterable[str] = (), *, width: int | None = None) -> str:
    """Return the status as lines, with active workers first; text from clients is escaped.

    Args:
        status: the status to show.
        warnings: warnings about settings.
        width: columns of the terminal; longer lines are truncated. None for no limit.
    """
    return "".join(f"{clip(printable(line), width)}\n" for line in _lines(status, warnings))


def _plain(instance: object, attribute: object, value: object) -> object:
    return value.isoformat() if isinstance(value, datetime) else value


def _lines(status: PoolStatus, warnings: Iterable[str]) -> Iterator[str]:
    up = timedelta(seconds=status.start_since)
    yield f"pool {status.pool}, pm = {status.process_manager}, up {up}, {status.accepted_connections} connections"
    yield f"workers: {status.active} active, {status.idle} idle, {status.total} in all"
    if status.listen_queue is None:
        yield "queue: unknown on a unix socket"
    else:
        yield f"queue: {status.listen_queue} waiting, {status.max_listen_queue} at most"
    yield f"max_children reached: {status.max_children_reached}, slow requests: {status.slow_requests}"
    if status.processes:
        yield ""
        yield f"{'PID':>8}  {'STATE':<15}  {'FOR':>9}  REQUEST"
    for process in sorted(status.processes, key=_rank):
        yield _process(process).rstrip()
    for number, warning in enumerate(warnings):
        yield from ["", f"warning: {warning}"] if not number else [f"warning: {warning}"]


def _rank(process: ProcessStatus) -> tuple[bool, float, int]:
    return not process.active, -process.request_duration if process.active else 0.0, process.pid


def _process(process: ProcessStatus) -> str:
    state, seconds, request = process.state.value, f"{process.request_duration:.3f} s", ""
    if process.state is ProcessState.GETTING_REQUEST_INFORMATIONS:
        state = "Getting request"
    if not process.active:
        # the duration is of its last request
        seconds = ""
    elif process.request_method is None and process.script is None:
        request = "a connection without a request" if process.state is ProcessState.READING_HEADERS else ""
    else:
        request = " ".join(part or "-" for part in (process.request_method, process.request_uri, process.script))
    return f"{process.pid:>8}  {state:<15}  {seconds:>9}  {request}"

"""Jobs as the bare records that anyone may INSERT."""

from __future__ import annotations

from fcgi_async.jobs.record import NewJob, new_id


def job(task: str = "mail", **settings: object) -> NewJob:
    return NewJob(**{"id": new_id(), "task": task, "data": "{}", **settings})  # type: ignore[arg-type]

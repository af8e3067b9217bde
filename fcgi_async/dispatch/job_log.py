"""What is logged about a job: one line at its end, and what was wrong with its response's head."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from fcgi_async.errors import FastCGIError
from fcgi_async.job.job import Job
from fcgi_async.job.response import Response, Timing

__all__ = ("fields_of", "job_logger", "log_dropped_headers", "log_job", "name_of")

job_logger = logging.getLogger("fcgi_async.job")


def log_job(job: Job, response: Response | None, error: FastCGIError | None, timing: Timing) -> None:
    """Log at DEBUG how a job ended; the caller has checked that this level is enabled."""
    endpoint = response.endpoint if response is not None else error.endpoint if error is not None else None
    if response is not None:
        attempts = f" at attempt {response.attempts}" if response.attempts > 1 else ""
        ended = f"status {response.status}{attempts}"
    elif error is not None:
        ran = "PHP may have run it" if error.may_have_run else "PHP did not start it"
        ended = f"{type(error).__name__}, {ran}: {error.message}"
    else:
        ended = "neither a response nor an error"
    job_logger.debug(
        "%s: %.6f s (queued %.6f, connect %.6f, first byte %.6f): %s",
        name_of(job, endpoint),
        timing.total,
        timing.queued,
        timing.connect,
        timing.first_byte,
        ended,
        extra=fields_of(job, endpoint),
    )


def log_dropped_headers(job: Job, endpoint: str, lines: Sequence[str]) -> None:
    """Log at WARNING the lines of a response's head that are not headers."""
    job_logger.warning(
        "%s: %d line(s) of the response's head are not headers and were dropped, the first is %r; "
        "check the script's header() calls",
        name_of(job, endpoint),
        len(lines),
        lines[0][:200],
        extra=fields_of(job, endpoint),
    )


def name_of(job: Job, endpoint: str | None) -> str:
    """Return a job's name in logs."""
    tag = "" if job.tag is None else f" (tag {job.tag!r})"
    return f"job {job.script!r}{tag}" + ("" if endpoint is None else f" at {endpoint}")


def fields_of(job: Job, endpoint: str | None) -> dict[str, object]:
    """Return the extra fields of log records about a job, for formatters."""
    return {"job_script": job.script, "job_tag": job.tag, "endpoint": endpoint}

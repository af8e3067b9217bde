"""What is logged of a job: one line when it is over, and what PHP wrote to STDERR."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence

from fcgi_async.errors import FastCGIError
from fcgi_async.job.job import Job
from fcgi_async.job.response import Response, Timing

__all__ = ("job_logger", "log_dropped_headers", "log_job", "log_stderr")

job_logger = logging.getLogger("fcgi_async.job")
stderr_logger = logging.getLogger("fcgi_async.stderr")
# a program that did not set up logging would else get PHP's warnings on its own standard error
stderr_logger.addHandler(logging.NullHandler())

# PHP-FPM joins what a script logs, and marks where each message begins
_MESSAGE = re.compile(r"(?:^|; |\n)PHP message: ")
_LEVEL = re.compile(r"PHP (?:(?P<error>[\w ]*error)|(?P<info>Notice|Deprecated|Strict Standards)):")
_MESSAGES_MAX = 100


def log_job(job: Job, response: Response | None, error: FastCGIError | None, timing: Timing) -> None:
    """Log at DEBUG how a job ended; the caller has looked whether anybody wants to know."""
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
        _name(job, endpoint),
        timing.total,
        timing.queued,
        timing.connect,
        timing.first_byte,
        ended,
        extra=_fields(job, endpoint),
    )


def log_dropped_headers(job: Job, endpoint: str, lines: Sequence[str]) -> None:
    """Log at WARNING what stood in a response's head and is no header."""
    job_logger.warning(
        "%s: %d line(s) of the response's head are no headers and were dropped, the first is %r; "
        "see the script's header() calls",
        _name(job, endpoint),
        len(lines),
        lines[0][:200],
        extra=_fields(job, endpoint),
    )


def log_stderr(job: Job, endpoint: str | None, stderr: bytes) -> None:
    """Log each message that PHP wrote while it ran a job, at the level that PHP gave it."""
    if not stderr or not stderr_logger.isEnabledFor(logging.ERROR):
        return
    name, fields = _name(job, endpoint), _fields(job, endpoint)
    messages = [text for text in _MESSAGE.split(stderr.decode("utf-8", "replace")) if text.strip()]
    for text in messages[:_MESSAGES_MAX]:
        stderr_logger.log(_level(text), "%s: %s", name, text.rstrip(), extra=fields)
    if len(messages) > _MESSAGES_MAX:
        stderr_logger.warning("%s: %d more messages", name, len(messages) - _MESSAGES_MAX, extra=fields)


def _level(text: str) -> int:
    found = _LEVEL.match(text)
    if found is None:
        return logging.WARNING
    return logging.ERROR if found["error"] else logging.INFO


def _name(job: Job, endpoint: str | None) -> str:
    tag = "" if job.tag is None else f" (tag {job.tag!r})"
    return f"job {job.script!r}{tag}" + ("" if endpoint is None else f" at {endpoint}")


def _fields(job: Job, endpoint: str | None) -> dict[str, object]:
    return {"job_script": job.script, "job_tag": job.tag, "endpoint": endpoint}

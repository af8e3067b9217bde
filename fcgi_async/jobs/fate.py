"""Decide what happens to a job after an attempt: one pure table of the ways in which an attempt can end.

| how it ended                                                    | idempotent       | not idempotent          |
|-----------------------------------------------------------------|------------------|-------------------------|
| PHP certainly did not start it                                  | ready, uncounted | ready, uncounted        |
| it can never be sent                                            | dead             | dead                    |
| the header `FCGI-Job: done / retry;delay=30 / dead`             | as it says       | as it says              |
| 2xx and 3xx, whole and with the success mark                    | done             | done                    |
| 429, 503, or an error with Retry-After                          | later, counted   | later, counted          |
| another 4xx                                                     | dead             | dead                    |
| 5xx, app_status, no success mark, cut short, timeout, lost, ... | later, counted   | as `on_doubt` says      |

"Later" means dead if the task's attempts are used up.
"""

from __future__ import annotations

import math
import re
from email.utils import parsedate_to_datetime
from typing import Final, Literal

import attrs

from fcgi_async.errors import FastCGIError, InvalidJob, RequestRejected
from fcgi_async.job.response import Response
from fcgi_async.jobs.errors import PayloadTooLarge
from fcgi_async.jobs.record import State
from fcgi_async.jobs.task import Task

__all__ = ("LOST", "Fate", "decide", "decide_lost")

# the error of a job whose worker was lost
LOST: Final = "the worker was lost while it had the job: PHP may have run it"
# rejected by a peer that would reject it again: wait
_REJECTED_PAUSE = 1.0
# a response cannot delay a job for longer
_LONGEST_DELAY = 30 * 86400.0
_ORDER = re.compile(r"\s*(done|dead|retry)\s*(?:;\s*delay\s*=\s*(\d{1,9}(?:\.\d{1,6})?)\s*)?")


@attrs.frozen
class Fate:
    """What happens to a job.

    Attributes:
        state: "ready", "delayed", "done", "dead" or "in_doubt".
        delay: seconds until it is ready, if delayed.
        counts: whether the attempt counts as failed.
        reason: what was wrong; None if nothing.
    """

    state: State
    delay: float = 0.0
    counts: bool = False
    reason: str | None = None


def decide(task: Task, failed: int, ended: Response | FastCGIError, *, now: float) -> Fate:
    """Decide about a job after its attempt.

    Args:
        task: the task with the rules.
        failed: how many earlier attempts had failed.
        ended: the response, or the error.
        now: seconds since 1970, to read a Retry-After that is a date.
    """
    if isinstance(ended, Response):
        return _after_response(task, failed, ended, now)
    reason = _describe(ended)
    if ended.may_have_run:
        return _doubt(task, failed, reason)
    if isinstance(ended, InvalidJob | PayloadTooLarge):
        return Fate("dead", counts=True, reason=reason)
    if isinstance(ended, RequestRejected):
        return Fate("delayed", _REJECTED_PAUSE, reason=reason)
    return Fate("ready", reason=reason)


def decide_lost(on_loss: Literal["again", "hold", "dead"], failed: int, attempts: int, *, unstarted: bool) -> Fate:
    """Decide about a job whose worker was lost, by what the worker stored when it claimed the job.

    Args:
        on_loss: `Task.on_loss`.
        failed: how many earlier attempts had failed.
        attempts: `Task.attempts`.
        unstarted: whether the worker certainly had not started it.
    """
    if unstarted:
        return Fate("ready", reason="the worker was lost before it started the job")
    if on_loss == "hold":
        return Fate("in_doubt", counts=True, reason=LOST)
    if on_loss == "dead" or failed + 1 >= attempts:
        return Fate("dead", counts=True, reason=LOST)
    return Fate("ready", counts=True, reason=LOST)


def _after_response(task: Task, failed: int, response: Response, now: float) -> Fate:
    order = _ORDER.fullmatch(response.headers.get("fcgi-job", ""))
    what = f"PHP answered with status {response.status}"
    if order is not None:
        verdict, delay = order.groups()
        if verdict == "done":
            return Fate("done")
        reason = f"{what} and FCGI-Job: {verdict}"
        if verdict == "dead":
            return Fate("dead", counts=True, reason=reason)
        return _later(task, failed, reason, None if delay is None else float(delay))
    if response.ok:
        return Fate("done")
    if response.status >= 400 and response.app_status == 0:
        after = _retry_after(response, now)
        if after is not None or response.status in (429, 503):
            return _later(task, failed, what, after)
        if response.status < 500:
            return Fate("dead", counts=True, reason=what)
    try:
        response.raise_for_status()
    except FastCGIError as error:
        what = error.message
    return _doubt(task, failed, what)


def _doubt(task: Task, failed: int, reason: str) -> Fate:
    if task.on_loss == "hold":
        return Fate("in_doubt", counts=True, reason=reason)
    if task.on_loss == "dead":
        return Fate("dead", counts=True, reason=reason)
    return _later(task, failed, reason, None)


def _later(task: Task, failed: int, reason: str, delay: float | None) -> Fate:
    if failed + 1 >= task.attempts:
        return Fate("dead", counts=True, reason=f"{reason}; all {task.attempts} attempts are used up")
    if delay is None:
        delay = task.backoff.delay(failed + 1)
    return Fate("delayed", min(delay, _LONGEST_DELAY), counts=True, reason=reason)


def _retry_after(response: Response, now: float) -> float | None:
    text = response.headers.get("retry-after")
    if text is None:
        return None
    try:
        seconds = float(text) if text.strip().isdigit() else parsedate_to_datetime(text).timestamp() - now
    except (ValueError, OverflowError):
        return None
    return max(seconds, 0.0) if math.isfinite(seconds) else None


def _describe(error: FastCGIError) -> str:
    return f"{type(error).__name__}: {error.message}"

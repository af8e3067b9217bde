"""What is stored about the end of an attempt."""

from __future__ import annotations

import json

from fcgi_async.errors import FastCGIError
from fcgi_async.job.response import Response
from fcgi_async.jobs.fate import Fate, decide
from fcgi_async.jobs.record import Claimed, Settlement, StoredResponse
from fcgi_async.jobs.task import Task

__all__ = ("settle_attempt",)

_LONGEST_ERROR = 4000
_LONGEST_STDERR = 64 << 10
_LONGEST_ANSWER = 1 << 20
_NO_ANSWER = (
    f"the next job of the chain gets the answer of this one, which is not JSON of at most {_LONGEST_ANSWER} bytes: "
    "echo JSON, or give the next job data of its own"
)


def settle_attempt(
    task: Task, claimed: Claimed, ended: Response | FastCGIError, *, now: float, keep: float
) -> Settlement:
    """Return the settlement to write.

    Args:
        task: the task with the rules.
        claimed: the job.
        ended: the response, or the error.
        now: seconds since 1970.
        keep: least seconds for which done jobs are kept.
    """
    fate = decide(task, claimed.failed, ended, now=now)
    response, answer, error = None, None, fate.reason
    if fate.state == "done" and claimed.answers and isinstance(ended, Response):
        answer = _answer(ended)
        if answer is None:
            fate = Fate("dead", counts=True, reason=_NO_ANSWER)
            error = fate.reason
    if fate.state == "done" and task.keep_result is not None and isinstance(ended, Response):
        if len(ended.content) <= task.result_limit:
            response = _stored(ended)
        else:
            error = (
                f"the response of {len(ended.content)} bytes was not stored: "
                f"it is longer than result_limit={task.result_limit}"
            )
    return Settlement(
        number=claimed.number,
        id=claimed.id,
        attempt=claimed.attempt,
        state=fate.state,
        delay=fate.delay,
        counts=fate.counts,
        status=ended.status if isinstance(ended, Response) else None,
        error=None if error is None else _text(error.encode("utf-8", "replace"), _LONGEST_ERROR),
        stderr=_text(ended.stderr, _LONGEST_STDERR) if ended.stderr else None,
        keep=_kept(fate, task, keep),
        response=response,
        follows=claimed.follows,
        answer=answer,
        frees=task.running is not None,
        durable=task.on_loss != "again",
    )


def _kept(fate: Fate, task: Task, keep: float) -> float | None:
    # dead and in-doubt jobs stay until they are retried or purged
    return max(keep, task.keep_result or 0.0) if fate.state == "done" else None


def _answer(response: Response) -> str | None:
    """Return the data for a chain's next job, in ASCII, which every database accepts; None if it is not JSON."""
    if len(response.content) > _LONGEST_ANSWER:
        return None
    try:
        return json.dumps(json.loads(response.content), allow_nan=False, separators=(",", ":"))
    except (ValueError, RecursionError):
        return None


def _stored(response: Response) -> StoredResponse:
    headers = {name: ", ".join(response.headers.get_list(name)) for name in response.headers}
    return StoredResponse(status=response.status, headers=headers, content=response.content)


def _text(content: bytes, most: int) -> str:
    # only SQLite accepts NUL
    return content[:most].decode("utf-8", "replace").replace("\0", "\ufffd")

"""What becomes of a job: the table, row by row."""

from __future__ import annotations

from email.utils import formatdate

import pytest

from fcgi_async import (
    ConnectError,
    ConnectionLost,
    DispatcherClosed,
    FastCGIError,
    Headers,
    InvalidJob,
    Job,
    JobTimeout,
    Overloaded,
    Response,
    Timing,
)
from fcgi_async.jobs import Backoff, PayloadTooLarge, Task
from fcgi_async.jobs.fate import Fate, decide, decide_lost

NOW = 1_800_000_000.0
BACKOFF = Backoff(first=10, factor=2, most=60, jitter="none")
ONCE = Task("once", "/a.php", backoff=BACKOFF)
AGAIN = Task("again", "/a.php", backoff=BACKOFF, idempotent=True)
RETRY = Task("retry", "/a.php", backoff=BACKOFF, on_doubt="retry")
DEAD = Task("dead", "/a.php", backoff=BACKOFF, on_doubt="dead")


def response(
    status: int = 200,
    *headers: tuple[str, str],
    app_status: int = 0,
    truncated: bool = False,
    mark: str | None = None,
    body: bytes = b"",
) -> Response:
    headers = (*headers, ("Content-Length", "9")) if truncated else headers
    return Response(
        Job("/a.php", success_mark=mark),
        status,
        Headers(headers),
        body,
        b"",
        False,
        app_status,
        Timing(0, 0, 0, 0),
        "unix:///s",
        1,
        truncated,
    )


def may_have_run(error: FastCGIError) -> FastCGIError:
    error.may_have_run = True
    return error


@pytest.mark.parametrize("task", [ONCE, AGAIN, RETRY, DEAD], ids=lambda task: task.name)
@pytest.mark.parametrize("error", [ConnectError("x"), ConnectionLost("x"), DispatcherClosed("x")], ids=repr)
def test_an_unstarted_job_is_ready_and_not_counted(task: Task, error: FastCGIError) -> None:
    fate = decide(task, 4, error, now=NOW)
    assert (fate.state, fate.counts) == ("ready", False)


def test_a_rejected_job_waits_a_little_and_is_not_counted() -> None:
    fate = decide(ONCE, 4, Overloaded("x"), now=NOW)
    assert (fate.state, fate.counts) == ("delayed", False)
    assert fate.delay > 0


@pytest.mark.parametrize("error", [InvalidJob("x"), PayloadTooLarge("x")], ids=repr)
def test_an_invalid_job_is_dead(error: FastCGIError) -> None:
    assert decide(AGAIN, 0, error, now=NOW).state == "dead"


@pytest.mark.parametrize("status", [200, 204, 302])
def test_2xx_and_3xx_are_done(status: int) -> None:
    assert decide(ONCE, 0, response(status), now=NOW) == Fate("done")


@pytest.mark.parametrize("task", [ONCE, AGAIN], ids=lambda task: task.name)
@pytest.mark.parametrize(
    ("answer", "delay"),
    [
        (response(429), 10),
        (response(503), 10),
        (response(503, ("Retry-After", "7")), 7),
        (response(500, ("Retry-After", "7")), 7),
        (response(409, ("Retry-After", " 7 ")), 7),
        (response(503, ("Retry-After", formatdate(NOW + 30, usegmt=True))), 30),
        (response(503, ("Retry-After", formatdate(NOW - 30, usegmt=True))), 0),
        (response(503, ("Retry-After", "soon")), 10),
        (response(503, ("Retry-After", "9" * 400)), 10),
    ],
)
def test_a_busy_answer_delays_the_job(task: Task, answer: Response, delay: float) -> None:
    fate = decide(task, 0, answer, now=NOW)
    assert (fate.state, fate.counts, fate.delay) == ("delayed", True, delay)


@pytest.mark.parametrize("status", [400, 404, 410, 499])
def test_another_4xx_is_dead(status: int) -> None:
    assert decide(AGAIN, 0, response(status), now=NOW).state == "dead"


@pytest.mark.parametrize(
    "ended",
    [
        response(500),
        response(app_status=1),
        response(404, app_status=1),
        response(mark="fine", body=b"fi"),
        response(truncated=True),
        may_have_run(JobTimeout("x")),
        may_have_run(ConnectionLost("x")),
    ],
    ids=["500", "app_status", "404 and app_status", "no mark", "cut", "timeout", "lost"],
)
def test_a_job_that_may_have_run_is_retried_or_in_doubt(ended: Response | FastCGIError) -> None:
    states = [decide(task, 0, ended, now=NOW).state for task in (ONCE, AGAIN, RETRY, DEAD)]
    assert states == ["in_doubt", "delayed", "delayed", "dead"]
    fate = decide(AGAIN, 1, ended, now=NOW)
    assert (fate.counts, fate.delay) == (True, 20)
    assert fate.reason


@pytest.mark.parametrize("failed", [4, 9])
def test_a_delayed_job_without_attempts_left_is_dead(failed: int) -> None:
    assert decide(AGAIN, 3, response(503), now=NOW).state == "delayed"
    fate = decide(AGAIN, failed, response(503), now=NOW)
    assert fate.state == "dead"
    assert "all 5 attempts" in str(fate.reason)


@pytest.mark.parametrize(
    ("order", "state", "delay"),
    [
        ("done", "done", 0),
        ("dead", "dead", 0),
        ("retry", "delayed", 10),
        ("retry;delay=30", "delayed", 30),
        (" retry ; delay = 0.5 ", "delayed", 0.5),
        ("retry;delay=999999999", "delayed", 30 * 86400),
        # not understood: as if it were not there
        ("retry;delay=-1", "in_doubt", 0),
        ("perhaps", "in_doubt", 0),
    ],
)
def test_the_scripts_own_headers_override(order: str, state: str, delay: float) -> None:
    fate = decide(ONCE, 0, response(500, ("FCGI-Job", order)), now=NOW)
    assert (fate.state, fate.delay) == (state, delay)


@pytest.mark.parametrize(
    ("on_loss", "failed", "unstarted", "state", "counts"),
    [
        ("hold", 0, False, "in_doubt", True),
        ("dead", 0, False, "dead", True),
        ("again", 0, False, "ready", True),
        ("again", 3, False, "ready", True),
        ("again", 4, False, "dead", True),
        ("hold", 4, True, "ready", False),
        ("again", 4, True, "ready", False),
    ],
)
def test_a_lost_workers_job(on_loss: str, failed: int, unstarted: bool, state: str, counts: bool) -> None:
    fate = decide_lost(on_loss, failed, 5, unstarted=unstarted)  # type: ignore[arg-type]
    assert (fate.state, fate.counts) == (state, counts)


def test_waiting_times_grow_to_their_bound() -> None:
    assert [BACKOFF.delay(failed) for failed in (1, 2, 3, 4, 5000)] == [10, 20, 40, 60, 60]


def test_full_jitter_takes_any_time_up_to_the_bound() -> None:
    waits = [Backoff(first=10).delay(2) for _ in range(200)]
    assert min(waits) < 5 < 15 < max(waits) <= 20

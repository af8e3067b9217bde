"""What is logged of a job: one line at DEBUG when it is over, and PHP's messages at PHP's levels."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
from collections.abc import Callable
from typing import cast

import pytest

from fcgi_async import Dispatcher, Job, JobTimeout, Retry
from fcgi_async.dispatch.stderr_log import LoggedStderr
from fcgi_async.net.backend import Backend
from fcgi_async.testing import Close, Request, Responder
from tests.handlers import Held, ok

pytestmark = pytest.mark.anyio

TIMES = r"\d\.\d{6} s \(queued \d\.\d{6}, connect \d\.\d{6}, first byte \d\.\d{6}\)"


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the jobs' own logger said, without the times."""
    found = [record for record in caplog.records if record.name == "fcgi_async.job"]
    assert all(record.levelno == logging.DEBUG for record in found)
    return [re.sub(TIMES, "TIMES", record.getMessage()) for record in found]


async def test_one_line_per_job(address: str, caplog: pytest.LogCaptureFixture) -> None:
    """It names the job, its tag, the endpoint, where the time went, and how it ended."""
    caplog.set_level(logging.DEBUG, "fcgi_async.job")
    async with Responder(ok, address) as responder:
        async with Dispatcher(responder.address, max_children=1) as php:
            await php.run(Job("/a.php", tag=7))
            await php.run(Job("/b.php"))
    assert lines(caplog) == [
        f"job '/a.php' (tag 7) at {address}: TIMES: status 200",
        f"job '/b.php' at {address}: TIMES: status 200",
    ]
    first = caplog.records[0]
    assert (first.__dict__["job_script"], first.__dict__["job_tag"], first.__dict__["endpoint"]) == (
        "/a.php",
        7,
        address,
    )


async def test_line_of_a_job_that_failed(address: str, caplog: pytest.LogCaptureFixture) -> None:
    """It says with what error, and whether PHP may have run it."""
    caplog.set_level(logging.DEBUG, "fcgi_async.job")
    held = Held()
    async with Responder(held, address) as responder:
        async with Dispatcher(responder.address, max_children=1) as php:
            with pytest.raises(JobTimeout):
                await php.run(Job("/a.php", run_timeout=0.02))
            held.release()
    (line,) = lines(caplog)
    assert line.startswith(f"job '/a.php' at {address}: TIMES: JobTimeout, PHP may have run it: the job was not done")


async def test_line_of_a_job_that_was_sent_again(address: str, caplog: pytest.LogCaptureFixture) -> None:
    """It tells at which attempt; there is one line all the same."""
    caplog.set_level(logging.DEBUG, "fcgi_async.job")
    requests: list[Request] = []

    async def second_time(request: Request) -> None:
        requests.append(request)
        if len(requests) == 1:
            await request.write_stderr(b"PHP message: PHP Warning:  of the first attempt")
            await request.fault(Close())
        await ok(request)

    async with Responder(second_time, address, workers=2) as responder:
        async with Dispatcher(responder.address, max_children=1, retry=Retry(backoff=0.0)) as php:
            assert (await php.run(Job("/a.php", idempotent=True))).stderr == b""
    assert lines(caplog) == [f"job '/a.php' at {address}: TIMES: status 200 at attempt 2"]
    (warning,) = [record for record in caplog.records if record.name == "fcgi_async.stderr"]
    assert warning.getMessage() == f"job '/a.php' at {address}: PHP Warning:  of the first attempt"


class Clock:
    """What `LoggedStderr` needs of a backend; it stands still until it is told to go."""

    def __init__(self) -> None:
        self.due: list[tuple[float, Callable[[], None]]] = []

    def now(self) -> float:
        return 7.0

    def call_at(self, when: float, callback: Callable[[], None]) -> Clock:
        self.due = [(when, callback)]
        return self

    def cancel(self) -> None:
        self.due.clear()

    def go(self) -> None:
        """Let the time pass that is waited for."""
        due, self.due = self.due, []
        for _, callback in due:
            callback()


def logged(limit: int = 1 << 20) -> tuple[LoggedStderr, Clock]:
    """The STDERR of a job."""
    clock = Clock()
    return LoggedStderr(limit, Job("/a.php", tag="t"), "unix:///fpm.sock", cast("Backend", clock)), clock


def said(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    """What was logged of it, with the levels."""
    prefix = "job '/a.php' (tag 't') at unix:///fpm.sock: "
    assert all(record.getMessage().startswith(prefix) for record in caplog.records)
    return [(record.levelname, record.getMessage().removeprefix(prefix)) for record in caplog.records]


def messages(
    stderr: bytes, caplog: pytest.LogCaptureFixture, level: int = logging.INFO, size: int = 1 << 20
) -> list[tuple[str, str]]:
    """What comes of something that PHP wrote, in parts of some size."""
    caplog.clear()
    with caplog.at_level(level, "fcgi_async.stderr"):
        taker, _ = logged()
        for start in range(0, len(stderr), size):
            taker.feed(stderr[start : start + size], more=start + size < len(stderr))
        taker.end()
        taker.end()
    return said(caplog)


def test_messages_and_their_levels(caplog: pytest.LogCaptureFixture) -> None:
    """PHP-FPM joins messages; each becomes a record of its own, at the level that PHP gave it."""
    joined = (
        b"PHP message: own words; with a semicolon; PHP message: PHP Warning:  two in /a.php on line 2"
        b"; PHP message: PHP Deprecated:  three; PHP message: PHP Notice:  four"
        b"; PHP message: PHP Fatal error:  Uncaught E: boo in /a.php:5\nStack trace:\n#0 {main}\n"
        b"; PHP message: PHP Parse error:  six"
    )
    assert messages(joined, caplog) == [
        ("WARNING", "own words; with a semicolon"),
        ("WARNING", "PHP Warning:  two in /a.php on line 2"),
        ("INFO", "PHP Deprecated:  three"),
        ("INFO", "PHP Notice:  four"),
        ("ERROR", "PHP Fatal error:  Uncaught E: boo in /a.php:5\nStack trace:\n#0 {main}"),
        ("ERROR", "PHP Parse error:  six"),
    ]
    assert [level for level, _ in messages(joined, caplog, logging.ERROR)] == ["ERROR", "ERROR"]
    whole = messages(joined, caplog)
    assert all(messages(joined, caplog, size=size) == whole for size in range(1, 30))


def test_messages_are_logged_as_they_come(caplog: pytest.LogCaptureFixture) -> None:
    """One is complete when the next one begins, or after a pause; what FPM's buffer has cut in two is one message."""
    caplog.set_level(logging.INFO, "fcgi_async.stderr")
    taker, clock = logged()
    taker.feed(b"PHP message: one; PHP message: PHP Warning:  t")
    assert said(caplog) == [("WARNING", "one")]
    taker.feed(b"wo; PHP mess")
    assert len(said(caplog)) == 1
    taker.feed(b"age: PHP Notice:  three")
    assert said(caplog)[1:] == [("WARNING", "PHP Warning:  two")]
    clock.go()
    assert said(caplog)[2:] == [("INFO", "PHP Notice:  three")]
    taker.feed(b"; PHP message: PHP Fatal error:  four")
    taker.end()
    assert said(caplog)[3:] == [("ERROR", "PHP Fatal error:  four")]
    assert clock.due == []
    assert taker.value().startswith(b"PHP message: one; PHP message: PHP Warning:  two; PHP message: PHP Notice")


def test_what_has_no_mark_is_not_kept_for_long(caplog: pytest.LogCaptureFixture) -> None:
    """Of a peer that writes on and on, a message ends after 64 KiB."""
    taker, clock = logged()
    for _ in range(65):
        taker.feed(b"x" * 1024)
    assert [len(text) for _, text in said(caplog)] == [65 * 1024]
    assert clock.due == []


def test_what_is_over_the_limit_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    """It is dropped, and the response says so."""
    taker, _ = logged(20)
    taker.feed(b"PHP message: 1234567890; PHP message: x", more=False)
    taker.end()
    assert said(caplog) == [("WARNING", "1234567")]
    assert (taker.value(), taker.truncated) == (b"PHP message: 1234567", True)


@pytest.mark.parametrize("disabled", [False, True])
async def test_a_logger_that_is_disabled(address: str, caplog: pytest.LogCaptureFixture, disabled: bool) -> None:
    """Then nothing is logged, and the response has what PHP wrote all the same."""

    async def warn(request: Request) -> None:
        await request.write_stderr(b"PHP message: PHP Warning:  boo")
        await ok(request)

    logger = logging.getLogger("fcgi_async.stderr")
    logger.disabled = disabled
    try:
        async with Responder(warn, address) as responder, Dispatcher(responder.address, max_children=1) as php:
            response = await php.run(Job("/a.php"))
    finally:
        logger.disabled = False
    assert response.stderr == b"PHP message: PHP Warning:  boo"
    assert len(caplog.records) == (0 if disabled else 1)


@pytest.mark.parametrize(
    ("stderr", "expected"),
    [
        (b"", []),
        (b"\n", []),
        (b"no mark", ["no mark"]),
        (b"\xff\xfe", ["\ufffd\ufffd"]),
        (b"PHP message: ; PHP message: x", ["x"]),
    ],
)
def test_odd_messages(stderr: bytes, expected: list[str], caplog: pytest.LogCaptureFixture) -> None:
    """Other peers write what they like."""
    assert messages(stderr, caplog) == [("WARNING", text) for text in expected]


def test_flood_of_messages(caplog: pytest.LogCaptureFixture) -> None:
    """Of one job a hundred are logged, and how many more there were."""
    found = messages(b"; PHP message: ".join(b"%d" % number for number in range(250)), caplog)
    assert len(found) == 101
    assert found[-1] == ("WARNING", "150 more messages")


def test_nothing_is_printed_where_logging_is_not_set_up() -> None:
    """PHP's warnings do not appear on the standard error of a program that did not ask for them."""
    source = "import logging, fcgi_async.dispatch.stderr_log as log; log.stderr_logger.error('boo')"
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)

"""What is logged of a job: one line at DEBUG when it is over, and PHP's messages at PHP's levels."""

from __future__ import annotations

import logging
import re
import subprocess
import sys

import pytest

from fcgi_async import Dispatcher, Job, JobTimeout, Retry
from fcgi_async.dispatch.job_log import log_stderr
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


def messages(stderr: bytes, caplog: pytest.LogCaptureFixture, level: int = logging.INFO) -> list[tuple[str, str]]:
    """What comes of something that PHP wrote."""
    caplog.clear()
    with caplog.at_level(level, "fcgi_async.stderr"):
        log_stderr(Job("/a.php", tag="t"), "unix:///fpm.sock", stderr)
    prefix = "job '/a.php' (tag 't') at unix:///fpm.sock: "
    assert all(record.getMessage().startswith(prefix) for record in caplog.records)
    return [(record.levelname, record.getMessage().removeprefix(prefix)) for record in caplog.records]


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
    source = "from fcgi_async.dispatch.job_log import log_stderr; from fcgi_async import Job\n"
    source += "log_stderr(Job('/a.php'), None, b'PHP message: PHP Fatal error:  boo')"
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)

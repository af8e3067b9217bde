"""docs/examples/php/job.php, as users copy it, on a real PHP-FPM."""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from fcgi_async import Dispatcher, Endpoint, Job, JobFailed, JobNotDone, LocalFPM, Response
from tests.conftest import StartFPM
from tests.eventually import eventually
from tests.fpm.marks import ended, started
from tests.fpm.raw_client import raw_bytes, raw_connect
from tests.wire import frames

pytestmark = pytest.mark.anyio

FOLDER = Path(__file__).parent / "scripts"
MARK = '{"success":true}'


@pytest.fixture
async def php(anyio_backend: object, fpm: LocalFPM) -> AsyncIterator[Dispatcher]:
    """A dispatcher whose cancelled jobs are closed."""
    async with Dispatcher(Endpoint(fpm.address, max_children=4, root=str(FOLDER), on_cancel="close")) as dispatcher:
        yield dispatcher


@pytest.fixture
def marks(tmp_path: Path) -> Path:
    """The file in which the job marks its stay."""
    return tmp_path / "marks"


def work(do: str, marks: Path, **settings: Any) -> Job:
    """A job that demands the mark."""
    data = {"do": do, "marks": str(marks), "gate": str(marks.parent / "gate")}
    return Job("work.php", json=data, success_mark=MARK, **settings)


def lines(response: Response) -> list[Any]:
    """What the lines of a response say."""
    return [json.loads(line) for line in response.text.splitlines()]


async def test_success(php: Dispatcher, marks: Path) -> None:
    """The result is a line, and the mark is the last."""
    response = (await php.run(work("nothing", marks))).raise_for_status()
    result, mark = lines(response)
    assert response.ok
    assert response.headers["content-type"] == "application/x-ndjson"
    assert (result["result"]["umlaut"], mark) == ("ü/", {"success": True})


async def test_progress_comes_while_the_job_runs(php: Dispatcher, marks: Path) -> None:
    """Each report is read while the script waits for its reader; how the job went is known at the end."""
    async with php.stream(work("report", marks)) as response:
        got = []
        async for line in response.aiter_lines():
            got.append(json.loads(line))
            if "progress" in got[-1]:
                assert response.ok is None
                with pytest.raises(JobNotDone, match=r"work\.php") as early:
                    response.raise_for_status()
                assert early.value.may_have_run
                (marks.parent / f"gate{got[-1]['progress']['row']}").touch()
        assert response.raise_for_status().ok
    assert got[:3] == [{"progress": {"row": n}} for n in (1, 2, 3)]
    assert got[-1] == {"success": True}


@pytest.mark.parametrize("display_errors", ["off", "on"])
@pytest.mark.parametrize("do", ["exit", "fatal", "memory", "throw"])
async def test_failure_has_no_mark(start_fpm: StartFPM, marks: Path, do: str, display_errors: str) -> None:
    """exit(1), fatal errors and exceptions fail the job, whatever FPM calls them, both run and streamed."""
    fpm = await start_fpm(max_children=1, ini={"display_errors": display_errors})
    async with Dispatcher(Endpoint(fpm.address, max_children=1, root=str(FOLDER))) as php:
        response = await php.run(work(do, marks))
        assert not response.ok
        with pytest.raises(JobFailed) as failed:
            response.raise_for_status()
        async with php.stream(work(do, marks)) as stream:
            await stream.aread()
            assert stream.ok is False
            with pytest.raises(JobFailed) as failed_streaming:
                stream.raise_for_status()
    assert failed.value.response is response
    assert failed.value.may_have_run
    if response.status == 200:
        assert all("without the mark" in str(error.value) for error in (failed, failed_streaming))
    # what FPM alone tells of it
    assert (response.status == 200) == (do == "exit" or do == "fatal" or display_errors == "on")


async def test_an_exception_without_the_mark_looks_like_success(start_fpm: StartFPM, marks: Path) -> None:
    """Under display_errors=on FPM's own answer to an uncaught exception is status 200: what the mark is for."""
    fpm = await start_fpm(max_children=1, ini={"display_errors": "on"})
    async with Dispatcher(Endpoint(fpm.address, max_children=1, root=str(FOLDER))) as php:
        data = {"do": "throw", "marks": str(marks)}
        assert (await php.run(Job("work.php", json=data))).ok


@pytest.mark.parametrize(
    ("printed", "ok"),
    [
        ("done", True),
        ("7\ndone", True),
        ("done\n", True),
        ("done\r\n", True),
        ("done\n\n", False),
        ("don", False),
        ("done, but", False),
        ("", False),
    ],
)
async def test_where_the_mark_stands(php: Dispatcher, printed: str, ok: bool) -> None:
    """The body ends with it, a line end aside; the body comes as it was."""
    job = Job("plain.php", query={"print": printed}, success_mark="done")
    response = await php.run(job)
    async with php.stream(job) as stream:
        assert await stream.aread() == response.content == printed.encode()
        assert stream.ok is response.ok is ok


async def test_a_mark_in_parts(php: Dispatcher) -> None:
    """The mark of a long streamed body is found at its end, in however many parts it came."""
    job = Job("plain.php", query={"print": "x" * 60_000 + "done"}, success_mark="x" * 300 + "done")
    async with php.stream(job) as stream:
        async for _ in stream:
            pass
        assert stream.ok


async def test_a_mark_does_not_excuse_a_status(php: Dispatcher) -> None:
    """A response with the mark and a status of 400 and more is not ok, and nothing is said of the mark."""
    response = await php.run(Job("missing.php", success_mark="found.\n"))
    assert response.text.endswith("found.\n")
    with pytest.raises(JobFailed, match="status 404") as failed:
        response.raise_for_status()
    assert "mark" not in failed.value.message


async def test_a_truncated_body_is_refused(fpm: LocalFPM, marks: Path) -> None:
    """Where the caller goes in the middle of the body, PHP runs the script, and the job does not begin."""
    body = json.dumps({"do": "nothing", "marks": str(marks)}).encode()
    environment = {
        "SCRIPT_FILENAME": str(FOLDER / "work.php"),
        "REQUEST_METHOD": "POST",
        "CONTENT_TYPE": "application/json",
        "CONTENT_LENGTH": str(len(body) + 10),
    }

    def send_half() -> bytes:
        with raw_connect(fpm.address) as connection:
            connection.sendall(raw_bytes(environment, body).removesuffix(frames.stdin(1)))
            connection.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: connection.recv(65536), b""))

    answer = await anyio.to_thread.run_sync(send_half)
    assert b"Status: 400" in answer
    assert b"bytes of the body came" in answer
    assert MARK.encode() not in answer
    assert started(marks) == 0


async def test_a_body_that_is_no_json(php: Dispatcher) -> None:
    """It is refused, with the reason."""
    response = await php.run(Job("work.php", content=b"{", success_mark=MARK))
    assert (response.status, "no JSON" in response.text) == (400, True)


async def test_finishing_early(php: Dispatcher, marks: Path) -> None:
    """The caller has its answer while the job goes on; what it reports then reaches nobody."""
    response = (await php.run(work("finish", marks))).raise_for_status()
    assert lines(response) == [{"result": "accepted"}, {"success": True}]
    assert ended(marks) == 0
    (marks.parent / "gate").touch()
    await eventually(lambda: ended(marks) == 1)
    assert "late" in await anyio.Path(marks).read_text()


async def test_a_caller_that_has_gone(php: Dispatcher, fpm: LocalFPM, marks: Path) -> None:
    """The job notices at its next report, cleans up and ends."""
    async with php.stream(work("forever", marks)) as response:
        assert await anext(aiter(response))
        assert ended(marks) == 0
    await eventually(lambda: ended(marks) == 1)


async def test_a_key_excludes_its_twin(php: Dispatcher, marks: Path) -> None:
    """While a job of a key runs, another is refused; others are not."""
    named = {"headers": {"Idempotency-Key": "order-7"}, "query": {"store": str(marks.parent)}}
    async with php.group() as group:
        running = await group.submit(work("wait", marks, **named))
        await eventually(lambda: started(marks) == 1)
        assert (await php.run(work("wait", marks, **named))).status == 409
        assert (await php.run(work("nothing", marks))).ok
        (marks.parent / "gate").touch()
    assert running.result().ok
    assert started(marks) == 2


async def test_a_key_succeeds_once(php: Dispatcher, marks: Path) -> None:
    """A job that succeeded is not done again: its result is told again. One that failed may be tried again."""
    named = {"headers": {"Idempotency-Key": "order-8"}, "query": {"store": str(marks.parent)}}
    assert not (await php.run(work("throw", marks, **named))).ok
    assert not (await php.run(work("exit", marks, **named))).ok
    first = await php.run(work("nothing", marks, **named))
    again = await php.run(work("nothing", marks, **named))
    assert first.ok
    assert again.ok
    assert again.content == first.content
    assert started(marks) == 3


async def test_a_key_of_a_job_that_finishes_early(php: Dispatcher, marks: Path) -> None:
    """What was told early is told again once the job is done."""
    named = {"headers": {"Idempotency-Key": "order-9"}, "query": {"store": str(marks.parent)}}
    first = await php.run(work("finish", marks, **named))
    assert (await php.run(work("finish", marks, **named))).status == 409
    (marks.parent / "gate").touch()
    await eventually(lambda: ended(marks) == 1)
    await php.join()

    async def told_again() -> bool:
        return (await php.run(work("finish", marks, **named))).content == first.content

    with anyio.fail_after(20):
        while not await told_again():
            pass
    assert started(marks) == 1

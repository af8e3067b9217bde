"""Whatever a peer does, its jobs get what the table says, the next job is served, and nothing is left behind."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import attrs
import pytest

from fcgi_async import Dispatcher, Endpoint, FastCGIError, Headers, Job, KeepAlive, QueueTimeout, Response, Retry
from tests.dispatch.hostile.case import Answers, Case, Expected
from tests.dispatch.hostile.peer import HostilePeer
from tests.dispatch.hostile_peers import CASES, THEMES
from tests.dispatch.settled import settled
from tests.eventually import eventually

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("never_known", "impatient")]

# against being stuck, never a measurement
GUARD = 30.0
GOOD = Job("/good.php")


# where the event loop's own socket matters; whatever else a peer says is read by the same code on each
LOOP_MATTERS = {case.name for theme in ("transport", "multiplexing") for case in THEMES[theme]}


def parameters(cases: Iterable[Case]) -> list[Any]:
    """The cases as parameters of a test."""
    return [
        pytest.param(case, id=case.name, marks=[pytest.mark.every_loop] if case.name in LOOP_MATTERS else [])
        for case in cases
    ]


@pytest.fixture
def known(request: pytest.FixtureRequest, case: Case) -> None:
    """The peer is known to be PHP-FPM where its case says so."""
    if case.is_fpm:
        request.getfixturevalue("known_as_fpm")


def open_sockets() -> int:
    """How many sockets this process has open."""
    count = 0
    for name in os.listdir("/proc/self/fd"):
        # the descriptor of the listing itself is gone again
        with suppress(FileNotFoundError):
            count += os.readlink(f"/proc/self/fd/{name}").startswith("socket:")
    return count


def dispatcher(case: Case, address: str) -> Dispatcher:
    """One slot for each job; a slot is free as soon as its connection is closed."""
    endpoint = Endpoint(
        address,
        max_children=len(case.expected),
        linger=0.0,
        drain_timeout=0.05,
        keepalive=KeepAlive(idle=GUARD),
        reconnect_timeout=GUARD,
    )
    return Dispatcher(endpoint, limits=case.limits, retry=Retry(attempts=case.attempts), shutdown_timeout=GUARD)


def jobs(case: Case) -> list[Job]:
    """The jobs that meet the peer."""
    return [
        Job(
            f"/{name}.php",
            content=bytes(case.size),
            run_timeout=case.run_timeout if not case.impatient or name in case.impatient else None,
            queue_timeout=case.queue_timeout,
        )
        for name in case.expected
    ]


@attrs.frozen
class Streamed:
    """What came through `stream()`."""

    status: int
    headers: Headers
    content: bytes
    stderr: bytes
    app_status: int | None


async def streamed(php: Dispatcher, job: Job) -> Streamed | FastCGIError:
    """Read a whole response while it is written."""
    try:
        async with php.stream(job) as response:
            content = await response.aread()
            return Streamed(response.status, response.headers, content, response.stderr, response.app_status)
    except FastCGIError as error:
        return error


def check(expected: Expected, got: Response | Streamed | FastCGIError, *, job: Job, address: str) -> None:
    """See that a job got what the table says."""
    if isinstance(expected, Answers):
        if isinstance(got, FastCGIError):
            raise got
        assert (got.status, got.app_status, got.content) == (expected.status, expected.app_status, expected.content)
        assert got.stderr == expected.stderr
        if isinstance(got, Response):
            assert got.stderr_truncated == expected.stderr_truncated
            assert got.truncated == expected.truncated
        assert {name: got.headers[name] for name in expected.headers} == expected.headers
        assert expected.header_count in (None, len(got.headers.raw))
    else:
        assert isinstance(got, FastCGIError), got
        assert (type(got), got.may_have_run) == (expected.kind, expected.may_have_run), got
        assert expected.message in got.message
        # one that no worker took was with no endpoint yet
        assert (got.job, got.endpoint) == (job, None if isinstance(got, QueueTimeout) else address)


Got = Response | Streamed | FastCGIError


def strays(expected: Mapping[str, Expected]) -> int:
    """How many stray records there are in a case."""
    return sum(one.strays for one in expected.values() if isinstance(one, Answers))


def test_names_are_unique() -> None:
    """A case is named once."""
    assert len({case.name for case in CASES}) == len(CASES)


async def meet(case: Case, tmp_path: Path, run: Callable[[Dispatcher, list[Job]], Awaitable[Sequence[Got]]]) -> None:
    """Let the jobs of a case meet their peer, serve the next, and see that nothing is left."""
    open_before, tasks_before = open_sockets(), len(anyio.get_running_tasks())
    where = "tcp://127.0.0.1:1" if case.where == "tcp" else f"unix://{tmp_path}/hostile.sock"
    with anyio.fail_after(GUARD):
        async with HostilePeer(case.behaviour, where) as peer:
            async with dispatcher(case, peer.address) as php:
                if case.at_connection is None:
                    assert (await php.run(GOOD)).text == "ok"
                    await settled(php)
                sent = jobs(case)
                got = await run(php, sent)
                for expected, job, one in zip(case.expected.values(), sent, got, strict=True):
                    check(expected, one, job=job, address=peer.address)
                if case.next_served:
                    assert (await php.run(GOOD)).text == "ok"
                    await settled(php)
                assert php.statistics().stray_records == strays(case.expected)
            assert php.statistics().running == 0
    await eventually(lambda: open_sockets() <= open_before)
    await eventually(lambda: len(anyio.get_running_tasks()) <= tasks_before)


@pytest.mark.parametrize("case", parameters(CASES))
@pytest.mark.usefixtures("known")
async def test_hostile_peer(case: Case, tmp_path: Path) -> None:
    """Each job gets what the table says, the next is served, and nothing is left behind."""

    async def run(php: Dispatcher, sent: list[Job]) -> Sequence[Got]:
        return await php.run_all(sent, return_exceptions=True)

    await meet(case, tmp_path, run)


@pytest.mark.parametrize("case", parameters(case for case in CASES if case.streamable))
@pytest.mark.usefixtures("known")
async def test_hostile_peer_streamed(case: Case, tmp_path: Path) -> None:
    """So does a job whose response is read while it is written."""

    async def run(php: Dispatcher, sent: list[Job]) -> Sequence[Got]:
        return [await streamed(php, job) for job in sent]

    await meet(case, tmp_path, run)

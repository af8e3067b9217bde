"""A server on libfcgi: it drops what it has read ahead when a request ends, the probe after a request above all."""

from __future__ import annotations

import hashlib
import logging
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import pytest

from fcgi_async import ConnectionLost, Dispatcher, Endpoint, Job, JobCancelled
from tests.eventually import eventually
from tests.fpm.fault import fault

pytestmark = pytest.mark.anyio

handshakes = pytest.mark.parametrize("handshake", [True, False], ids=["handshake", "no handshake"])
# what ends a job that is run again and again
PATIENCE = 5.0


@handshakes
async def test_jobs_in_a_row(libfcgi_address: str, marks: Path, handshake: bool) -> None:
    """A job costs what it takes, and not what is waited for the answer to a probe that was dropped."""
    # two seconds for each job if each were to wait, as the first few may: beyond the deadline
    settings: dict[str, Any] = {"drain_timeout": 2.0, "linger": 0.2, "handshake": handshake}
    async with fault(libfcgi_address, marks, share=1, **settings) as it:
        with anyio.fail_after(30):
            await it.load(50, at_once=1)
        assert it.failed == {}


async def test_dropped_probe_is_said_once(libfcgi_address: str, marks: Path, caplog: pytest.LogCaptureFixture) -> None:
    """That the peer drops the probe after a request is logged once, with its address; nobody is told to upgrade PHP."""
    caplog.set_level(logging.WARNING, "fcgi_async.pool")
    async with fault(libfcgi_address, marks, share=2, drain_timeout=5.0, linger=0.2) as it:
        with anyio.fail_after(60):
            await it.load(50, at_once=2)
    assert "upgrade PHP" not in caplog.text
    said = [record.getMessage() for record in caplog.records if "probe" in record.getMessage()]
    assert len(said) == 1
    assert libfcgi_address in said[0]


@handshakes
@pytest.mark.parametrize("before", [0, 1], ids=["the first job", "the second job"])
async def test_server_dies_over_a_job(libfcgi_address: str, marks: Path, handshake: bool, before: int) -> None:
    """A job over which the server dies runs once, and its error says that it may have run."""
    settings: dict[str, Any] = {"drain_timeout": 5.0, "linger": 0.2, "handshake": handshake}
    async with fault(libfcgi_address, marks, share=1, **settings) as it:
        await it.load(before, at_once=1)
        name = it.new_name()
        end = await it.run_as(name, "kill itself", job={"timeout": PATIENCE})
        assert it.executed()[name] == 1
        assert isinstance(end, ConnectionLost)
        assert end.may_have_run


@handshakes
async def test_never_more_than_its_share(libfcgi_address: str, marks: Path, handshake: bool) -> None:
    """With max_children=2 no more than two of a server's four workers are used at once, by cancelled jobs neither."""
    settings: dict[str, Any] = {"drain_timeout": 2.0, "linger": 0.2, "handshake": handshake}
    async with fault(libfcgi_address, marks, share=2, **settings) as it:
        query = {"marks": str(marks), "seconds": "0.02"}

        async def cancelled() -> None:
            for number in range(10):
                name = f"cancelled-{number}"
                handle = await it.php.submit(Job("fault.php", query={**query, "name": name}))
                it.cancelled.add(name)
                it.sent += 1
                await eventually(lambda: handle.done() or it.executed()[name])  # noqa: B023 - called at once
                handle.cancel()
                with suppress(JobCancelled):
                    await handle

        with anyio.fail_after(60):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(cancelled)
                await it.load(40, at_once=4, seconds=0.01)
        assert it.failed == {}
        assert it.most_at_once() == 2


@handshakes
async def test_parameters_and_bodies(libfcgi_address: str, handshake: bool) -> None:
    """Parameters and bodies of any size arrive whole."""
    endpoint = Endpoint(
        libfcgi_address, max_children=1, root="/srv", drain_timeout=5.0, linger=0.2, handshake=handshake
    )
    async with Dispatcher(endpoint) as php:
        told = await php.run(Job("any.php", query={"do": "tell parameters"}, params={"NAME": "x" * 60_000}))
        assert {"SCRIPT_FILENAME=/srv/any.php", "NAME=" + "x" * 60_000} <= set(told.text.splitlines())
        for size in (0, 1, 8191, 300_000):
            body = bytes(n % 251 for n in range(size))
            response = await php.run(Job("any.php", query={"do": "echo"}, content=body))
            assert response.headers["X-Received"] == f"{size} {hashlib.md5(body).hexdigest()}"
            assert response.content == body

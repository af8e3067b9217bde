"""What an operator reads off `Dispatcher.statistics()`: each number is documented, and is what it says."""

from __future__ import annotations

import inspect
import re

import anyio
import attrs
import pytest

from fcgi_async import ConnectError, Dispatcher, Endpoint, Job, JobTimeout, QueueFull, QueueTimeout, Statistics
from fcgi_async.testing import Responder
from tests.dispatch.settled import settled
from tests.eventually import eventually
from tests.handlers import Held, ok

pytestmark = pytest.mark.anyio

NAMES = [field.name for field in attrs.fields(Statistics)]
COUNTERS = NAMES[NAMES.index("completed") :]


def counters(now: Statistics) -> dict[str, int]:
    """The counters that are not zero."""
    return {name: getattr(now, name) for name in COUNTERS if getattr(now, name)}


def test_every_number_is_documented() -> None:
    """Each is in the docstring, gauges before counters, and the border is where the text says."""
    text = inspect.getdoc(Statistics) or ""
    assert re.findall(r"^    (\w+): ", text, re.MULTILINE) == NAMES
    assert "up to and including `endpoints_away`" in text
    assert NAMES[NAMES.index("endpoints_away") + 1 :] == COUNTERS


async def test_queue_inside_and_outside(address: str) -> None:
    """`queued` are all that wait for a worker, `outside` those of them that stand before a full queue."""
    held = Held()
    async with Responder(held, address) as responder:
        async with Dispatcher(responder.address, max_children=1, max_queued=2) as php:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(php.run_all, [Job("/a.php")] * 4)
                tasks.start_soon(php.run_all, [Job("/b.php")] * 4)
                await eventually(lambda: held.running and php.statistics().queued == 7)
                now = php.statistics()
                assert (now.running, now.outside) == (1, 5)
                held.release()
            now = await settled(php)
    assert (now.queued, now.outside) == (0, 0)
    assert counters(now) == {"completed": 8, "connections_opened": 1}


async def test_timeouts_by_kind(address: str) -> None:
    """A deadline that passes in the queue and one that passes while the job runs are counted apart, and as failed."""
    held = Held()
    async with Responder(held, address) as responder:
        async with Dispatcher(responder.address, max_children=1) as php:
            running = await php.submit(Job("/a.php", run_timeout=0.2))
            await eventually(lambda: held.running)
            with pytest.raises(QueueTimeout):
                await php.run(Job("/b.php", queue_timeout=0.01))
            with pytest.raises(JobTimeout):
                await running
            held.release()
            now = await settled(php)
    assert counters(now) == {"failed": 2, "queue_timeouts": 1, "job_timeouts": 1, "connections_opened": 1}


async def test_refused_jobs(address: str) -> None:
    """Jobs that a full queue refused are counted, and are neither queued nor failed."""
    held = Held()
    async with Responder(held, address) as responder:
        async with Dispatcher(responder.address, max_children=1, max_queued=1, overflow="reject") as php:
            async with php.group() as group:
                await group.submit(Job("/a.php"))
                await eventually(lambda: held.running)
                await group.submit(Job("/b.php"))
                for _ in range(3):
                    with pytest.raises(QueueFull):
                        await php.run(Job("/c.php"))
                held.release()
            now = await settled(php)
    assert counters(now) == {"completed": 2, "rejected": 3, "connections_opened": 1}


async def test_endpoint_that_is_away(address: str) -> None:
    """Endpoints that cannot be reached are a gauge, the attempts a counter."""
    away = "unix:///nowhere/fpm.sock"
    async with Responder(ok, address) as responder:
        endpoints = [Endpoint(responder.address, max_children=1), Endpoint(away, max_children=1)]
        async with Dispatcher(endpoints) as php:
            assert php.statistics().endpoints_away == 0
            await php.run_all([Job("/a.php")] * 20)
            await eventually(lambda: php.statistics().endpoints_away == 1)
            assert php.statistics().connections_failed >= 1
    async with Dispatcher(away, max_children=1) as php:
        with pytest.raises(ConnectError):
            await php.run(Job("/a.php"))
        assert counters(php.statistics()) == {"failed": 1, "connections_failed": 1}

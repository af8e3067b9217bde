"""What `stream()`, `map()` and `group()` return is entered once; the second time is an error, and runs nothing."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import anyio
import pytest

from fcgi_async import ConfigurationError, Dispatcher, Job
from fcgi_async.testing import Responder
from tests.handlers import ok

pytestmark = [pytest.mark.anyio, pytest.mark.every_loop]

JOB = Job("/a.php")

# with what is done in the block
Make = Callable[[Dispatcher], AbstractAsyncContextManager[Any]]
MANAGERS: dict[str, Make] = {
    "stream": lambda php: php.stream(JOB),
    "map": lambda php: php.map([JOB]),
    "group": lambda php: php.group(),
}


async def use(name: str, entered: Any) -> None:
    """Run one job."""
    if name == "stream":
        await entered.aread()
    elif name == "map":
        async for outcome in entered:
            outcome.result()
    else:
        await (await entered.submit(JOB))


@pytest.mark.parametrize("name", MANAGERS)
async def test_a_second_time_runs_nothing(address: str, name: str) -> None:
    """The error says what to do instead, and the first time is not disturbed."""
    async with Responder(ok, address) as responder, Dispatcher(address, max_children=2) as php:
        manager = MANAGERS[name](php)
        async with manager as entered:
            with pytest.raises(ConfigurationError, match=rf"entered only once; call {name}\(\) again"):
                await manager.__aenter__()
            await use(name, entered)
        with pytest.raises(ConfigurationError, match="entered only once"):
            await manager.__aenter__()
        await anyio.wait_all_tasks_blocked()
        assert len(responder.requests) == 1

"""A dispatcher and FPM's status page: `status()`, who else uses the workers, and how many there are."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from fcgi_async import ConfigurationError, Dispatcher, Endpoint, Job, LocalFPM, PoolStatus, StatusUnavailable
from tests.eventually import eventually

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def busy_workers(fpm: LocalFPM, scripts: Path, folder: Path, count: int) -> AsyncIterator[None]:
    """Somebody else, whose scripts keep workers busy meanwhile."""
    gate = folder / "other"
    async with Dispatcher(Endpoint(fpm.address, max_children=count, root=str(scripts))) as stranger:
        handles = [await stranger.submit(Job("gate.php", query={"gate": str(gate)})) for _ in range(count)]
        await eventually(lambda: stranger.statistics().busy == count)
        yield
        gate.touch()
        for handle in handles:
            await handle
    gate.unlink()


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was said of others."""
    return [record.message for record in caplog.records if "others use" in record.message]


async def test_status_while_every_worker_is_busy(start_fpm: Any, scripts: Path, tmp_path: Path) -> None:
    """With pm.status_listen the answer comes although our jobs have all workers, and it shows them."""
    fpm, gate = await start_fpm(max_children=2), tmp_path / "gate"
    settings: dict[str, Any] = {"max_children": 2, "root": str(scripts), "status": fpm.status_address}
    async with Dispatcher(Endpoint(fpm.address, **settings)) as php:
        handles = [await php.submit(Job("gate.php", query={"gate": str(gate)})) for _ in range(2)]
        await eventually(lambda: php.statistics().busy == 2)
        status = await php.status()
        assert isinstance(status, PoolStatus)
        assert (status.active, status.total) == (2, 2)
        gate.touch()
        for handle in handles:
            await handle


async def test_status_without_a_page(fpm: LocalFPM) -> None:
    """Where no page was named, the error says what to set, in FPM and here."""
    async with Dispatcher(fpm.address, max_children=4) as php:
        with pytest.raises(StatusUnavailable, match=r"pm\.status_listen.*Endpoint\(status=") as caught:
            await php.status()
    assert caught.value.endpoint == fpm.address


async def test_status_on_the_pools_own_socket(start_fpm: Any, scripts: Path, tmp_path: Path) -> None:
    """There it waits behind our own jobs, and the error says so."""
    fpm, gate = await start_fpm(max_children=1), tmp_path / "gate"
    async with Dispatcher(Endpoint(fpm.address, max_children=1, root=str(scripts), status=fpm.address)) as php:
        handle = await php.submit(Job("gate.php", query={"gate": str(gate)}))
        await eventually(lambda: php.statistics().busy == 1)
        with pytest.raises(StatusUnavailable, match=r"pm\.status_listen"):
            await php.status(timeout=0.1)
        gate.touch()
        await handle


async def test_status_of_one_of_several(start_fpm: Any) -> None:
    """Of several endpoints one is named, by itself or by its address."""
    small, large = await start_fpm(max_children=1), await start_fpm(max_children=3)
    endpoints = [Endpoint(f.address, max_children=1, status=f.status_address) for f in (small, large)]
    async with Dispatcher(endpoints) as php:
        assert (await php.status(endpoint=large.address)).total == 3
        assert (await php.status(endpoint=large.address.removeprefix("unix://"))).total == 3
        assert (await php.status(endpoint=endpoints[0])).total == 1
        for wrong in (None, "unix:///nowhere"):
            with pytest.raises(ConfigurationError, match=f"give one of {small.address}, {large.address}"):
                await php.status(endpoint=wrong)


async def test_others_who_take_our_workers(
    start_fpm: Any, scripts: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Where others use more than was reserved for them, that is said, and not at every look."""
    fpm = await start_fpm(max_children=3)
    endpoint = Endpoint(fpm.address, max_children=3, reserve=1, root=str(scripts), status=fpm.status_address)
    async with Dispatcher(endpoint) as php:
        await php.run(Job("respond.php"))
        for _ in range(2):
            async with busy_workers(fpm, scripts, tmp_path, 2):
                for _ in range(3):
                    await php.status()
            await php.status()
    (said,) = warnings(caplog)
    assert fpm.address in said
    assert "others use 2 of its workers, where 1 of 3 are left to them" in said
    assert [record.name for record in caplog.records if record.message == said] == ["fcgi_async.pool"]


async def test_others_within_the_reserve(
    start_fpm: Any, scripts: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither what was left to others nor what we use ourselves is worth a word."""
    fpm = await start_fpm(max_children=3)
    endpoint = Endpoint(fpm.address, max_children=3, reserve=2, root=str(scripts), status=fpm.status_address)
    async with Dispatcher(endpoint) as php, busy_workers(fpm, scripts, tmp_path, 2):
        handle = await php.submit(Job("gate.php", query={"gate": str(tmp_path / "own")}))
        await eventually(lambda: php.statistics().busy == 1)
        assert (await php.status()).active == 3
        (tmp_path / "own").touch()
        await handle
    assert warnings(caplog) == []


async def test_fewer_workers_than_configured(start_fpm: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A static pool with fewer workers than max_children says is warned of, once; one that has them is not."""
    fpm = await start_fpm(max_children=2)
    for configured in (2, 3):
        async with Dispatcher(Endpoint(fpm.address, max_children=configured, status=fpm.status_address)) as php:
            for _ in range(3):
                await php.status()
    (said,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert said.name == "fcgi_async.pool"
    assert f"{fpm.address}: FPM has 2 workers, where Endpoint.max_children says 3" in said.getMessage()


async def test_max_children_from_the_page(start_fpm: Any) -> None:
    """With pm = static the page tells how many workers there are; the reserve is taken off."""
    fpm = await start_fpm(max_children=3)
    async with Dispatcher(Endpoint(fpm.address, reserve=1, status=fpm.status_address)) as php:
        assert php.statistics().share == 2
        assert await php.ping() >= 0


@pytest.mark.parametrize("pm", ["dynamic", "ondemand"])
async def test_max_children_that_the_page_does_not_tell(start_fpm: Any, pm: str) -> None:
    """With the other process managers it does not, and entering says where to look."""
    fpm = await start_fpm(max_children=3, pm=pm)
    php = Dispatcher(Endpoint(fpm.address, status=fpm.status_address))
    with pytest.raises(ConfigurationError, match=rf"pm = {pm}.*pm\.max_children"):
        await php.__aenter__()


async def test_reserve_that_leaves_nothing(start_fpm: Any) -> None:
    """A reserve of all the workers that the page tells is refused on entering."""
    fpm = await start_fpm(max_children=2)
    with pytest.raises(ConfigurationError, match="leaves no worker"):
        await Dispatcher(Endpoint(fpm.address, reserve=2, status=fpm.status_address)).__aenter__()


async def test_page_that_is_away_on_entering(fpm: LocalFPM) -> None:
    """Where the page should tell and does not answer, entering fails, and can be tried again."""
    php = Dispatcher(Endpoint(fpm.address, status="unix:///nowhere/status.sock"))
    for _ in range(2):
        with pytest.raises(StatusUnavailable, match="max_children is not given, and what should tell it does not"):
            await php.__aenter__()


async def test_given_number_needs_no_page(fpm: LocalFPM) -> None:
    """A number that was given holds, whatever the page would say."""
    async with Dispatcher(Endpoint(fpm.address, max_children=4, status="unix:///nowhere/status.sock")) as php:
        assert php.statistics().share == 4

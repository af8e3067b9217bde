"""Several endpoints behind one queue: the least loaded gets the next job, one that is away gets none."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from fcgi_async import ConfigurationError, Dispatcher, Endpoint, Job
from fcgi_async.testing import ProtocolStatus, Reject, Request, Reset, Responder, ServedConnection, Stall
from tests.dispatch.settled import settled
from tests.eventually import eventually
from tests.handlers import Held, ok

on_every_loop = pytest.mark.anyio

JOB = Job("/a.php")


@on_every_loop
async def test_least_loaded_endpoint(address: str) -> None:
    """Jobs are spread over the endpoints by how full they are, each within its share."""
    one, two = Held(), Held()
    endpoints = [Endpoint(address + str(n), max_children=n) for n in (1, 2)]
    async with Responder(one, address + "1"), Responder(two, address + "2"), Dispatcher(endpoints) as php:
        async with anyio.create_task_group() as tasks:
            for _ in range(9):
                tasks.start_soon(php.run, JOB)
            await eventually(lambda: (len(one.running), len(two.running)) == (1, 2))
            assert php.statistics().share == 3
            one.release()
            two.release()


@on_every_loop
async def test_endpoint_that_is_not_there(address: str) -> None:
    """With one of two endpoints missing its jobs go to the other."""
    endpoints = [Endpoint(address + ".missing", max_children=2), Endpoint(address, max_children=2)]
    async with Responder(ok, address), Dispatcher(endpoints) as php:
        responses = await php.run_all([JOB] * 10)
        assert {response.endpoint for response in responses} == {address}


@on_every_loop
async def test_endpoint_that_is_away_is_left_alone(address: str) -> None:
    """One that closes every connection is tried again with back-off, not for every job; the other serves them all."""
    endpoints = [Endpoint(address + "1", max_children=2), Endpoint(address + "2", max_children=1)]
    async with Responder(ok, address + "1", values=Reset()) as away, Responder(ok, address + "2") as there:
        async with Dispatcher(endpoints) as php:
            for _ in range(300):
                await php.run(JOB)
            assert len(there.requests) == 300
            assert len(away.connections) < 30


@on_every_loop
async def test_endpoint_that_comes_back_gets_jobs_again(address: str) -> None:
    """An endpoint that was away is used again once it listens, without a job failing meanwhile."""
    endpoints = [Endpoint(address + "1", max_children=1), Endpoint(address + "2", max_children=1)]
    served: set[str | None] = set()
    async with Responder(ok, address + "2"), Dispatcher(endpoints) as php:
        assert {response.endpoint for response in await php.run_all([JOB] * 20)} == {address + "2"}

        async def load() -> None:
            while len(served) < 2:
                served.update({response.endpoint for response in await php.run_all([JOB] * 8)})

        async with Responder(ok, address + "1"):
            with anyio.fail_after(20):
                await load()
            await settled(php)
        assert php.statistics().failed == 0


@on_every_loop
async def test_job_that_did_not_run_goes_elsewhere(address: str) -> None:
    """A job that an endpoint's worker refused, or left unread, is served by another endpoint."""

    async def overloaded(request: Request) -> None:
        await request.end(protocol_status=ProtocolStatus.OVERLOADED)

    held = Held()
    endpoints = [Endpoint(address + "1", max_children=1), Endpoint(address + "2", max_children=1)]
    async with Responder(held, address + "2"), Dispatcher(endpoints) as php:
        # keeps the second one busy, so that the next job goes to the first
        first = await php.submit(JOB)
        await eventually(lambda: held.running)
        async with Responder(overloaded, address + "1") as one:
            second = await php.submit(Job("/b.php"))
            await eventually(lambda: one.requests)
            held.release()
            response = await second
            assert response.endpoint == address + "2"
            assert response.attempts >= 2
        await first


@on_every_loop
@pytest.mark.parametrize("multiplex", [False, True])
async def test_overloaded_endpoint_leaves_jobs_to_another(
    address: str, monkeypatch: pytest.MonkeyPatch, multiplex: bool
) -> None:
    """Its own slot that becomes free takes no job that the other can take, even if that has yet to connect."""
    monkeypatch.setattr("fcgi_async.pool.reachability._RETRY_MIN", 1000.0)
    connects = anyio.Event()

    async def values(connection: ServedConnection) -> dict[str, str]:
        await connects.wait()
        return {"FCGI_MPXS_CONNS": "0"}

    endpoints = [Endpoint(address + str(n), max_children=1) for n in (1, 2)]
    fault = Reject(ProtocolStatus.OVERLOADED)
    one = Responder(ok, address + "1", fault=fault, multiplex=multiplex)
    async with one, Responder(ok, address + "2", values=values), Dispatcher(endpoints) as php:
        handles = [await php.submit(JOB) for _ in range(3)]
        await eventually(lambda: one.requests and not php.statistics().busy)
        connects.set()
        assert {(await handle).endpoint for handle in handles} == {address + "2"}
        assert len(one.requests) == 1


@on_every_loop
@pytest.mark.parametrize("multiplex", [False, True])
async def test_overloaded_endpoint_gets_jobs_again(address: str, multiplex: bool) -> None:
    """After a moment its slots take jobs again, though the other one, which does not answer, might take them."""
    endpoints = [Endpoint(address + str(n), max_children=1) for n in (1, 2)]
    fault = {1: Reject(ProtocolStatus.OVERLOADED)}
    one = Responder(ok, address + "1", fault=fault, multiplex=multiplex)
    async with one, Responder(ok, address + "2", values=Stall()), Dispatcher(endpoints) as php:
        with anyio.fail_after(20):
            responses = await php.run_all([JOB] * 3)
        assert {response.endpoint for response in responses} == {address + "1"}


@on_every_loop
async def test_overloaded_endpoint_beside_a_full_one(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the other has no room, jobs do not wait for it: workers that become free take them."""
    monkeypatch.setattr("fcgi_async.pool.reachability._RETRY_MIN", 1000.0)
    full, held = Held(), Held()
    # the second one that comes to it
    fault = {2: Reject(ProtocolStatus.OVERLOADED)}
    endpoints = [Endpoint(address + str(n), max_children=n) for n in (1, 2)]
    one, two = Responder(full, address + "1"), Responder(held, address + "2", fault=fault)
    async with one, two, Dispatcher(endpoints) as php:
        running = [await php.submit(JOB) for _ in range(2)]
        await eventually(lambda: full.running and held.running)
        waiting = [await php.submit(JOB) for _ in range(3)]
        await eventually(lambda: php.statistics().retried)
        held.release()
        with anyio.fail_after(20):
            assert {(await handle).endpoint for handle in waiting} == {address + "2"}
        full.release()
        for handle in running:
            await handle


@pytest.mark.parametrize(
    "pair",
    [
        ("unix:///run/fpm.sock", "unix:///run/fpm.sock"),
        ("unix:///run/fpm.sock", "unix:///run/./fpm.sock"),
        ("unix://{link}/fpm.sock", "unix://{folder}/fpm.sock"),
        ("unix://@fpm", "unix://@fpm"),
        ("tcp://LocalHost:9000", "tcp://localhost:9000"),
        ("tcp://[::1]:9000", "tcp://[0:0:0:0:0:0:0:1]:9000"),
    ],
)
def test_one_address_twice(tmp_path: Path, pair: tuple[str, str]) -> None:
    """Two endpoints with one address would both take their share of the same workers, so they are refused."""
    folder, link = tmp_path / "folder", tmp_path / "link"
    folder.mkdir()
    link.symlink_to(folder)
    endpoints = [Endpoint(text.format(folder=folder, link=link), max_children=2) for text in pair]
    with pytest.raises(ConfigurationError, match="are the same address, and each would use its share"):
        Dispatcher(endpoints)
    with pytest.raises(ConfigurationError, match="merge them"):
        Dispatcher([endpoints[0], Endpoint("unix:///other.sock", max_children=1), endpoints[0]])


def test_different_addresses() -> None:
    """Ports, names and kinds tell addresses apart."""
    addresses = ["tcp://a:1", "tcp://a:2", "tcp://b:1", "unix:///a", "unix:///b", "unix://@a", "unix://@b"]
    Dispatcher([Endpoint(address, max_children=1) for address in addresses])

"""Requests of other processes on a dispatcher's workers: what comes back, who goes first, and how much runs at once."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from fcgi_async import ConfigurationError, Dispatcher, Endpoint, Job, LocalFPM
from fcgi_async.gateway import Gateway
from fcgi_async.net.address import Address
from fcgi_async.net.values import ask_values, requests_at_once
from tests.dispatch.settled import settled
from tests.eventually import eventually
from tests.fpm.marks import ended, most_at_once, started

pytestmark = pytest.mark.anyio


async def test_jobs_through_it_are_answered_as_by_php(
    fpm: LocalFPM, client: Endpoint, scripts: Path, gateway: Gateway
) -> None:
    """Status, headers, body and log are the same as without a gateway; PHP sees the same parameters."""
    answer = Job(
        "respond.php", query={"status": 418, "headers": ["X-A: 1", "X-A: 2"], "body": "tea", "log": "a line", "n": "é"}
    )
    seen = Job("inspect.php", form={"a": "b"}, headers={"X-Own": "yes"}, priority=3)
    direct = Endpoint(fpm.address, max_children=1, root=str(scripts))
    async with Dispatcher(client) as through, Dispatcher(direct) as straight:
        for job in (answer, seen):
            one, other = await through.run(job), await straight.run(job)
            assert (one.status, one.headers.raw, one.stderr) == (other.status, other.headers.raw, other.stderr)
            if job is answer:
                assert (one.status, one.content, b"a line" in one.stderr) == (418, b"tea", True)
            else:
                mine: Any = one.json()
                theirs: Any = other.json()
                for server in (mine["server"], theirs["server"]):
                    for name in ("REQUEST_TIME", "REQUEST_TIME_FLOAT"):
                        del server[name]
                assert {**mine, "pid": 0} == {**theirs, "pid": 0}
    assert gateway.statistics().passed == 2


@pytest.mark.parametrize("size", [1, 70_000, 3_000_000])
async def test_bodies_both_ways(client: Endpoint, size: int) -> None:
    """A body of any size reaches PHP and comes back, in memory or by way of a temporary file."""
    body = hashlib.sha256(str(size).encode()).digest() * (size // 32 + 1)
    async with Dispatcher(client) as php:
        response = await php.run(Job("echo.php", content=body[:size]))
    assert response.content == body[:size]


async def test_a_slow_body_holds_no_worker(client: Endpoint, back: Dispatcher, gateway: Gateway) -> None:
    """While the body of a request is still coming, no worker is taken for it."""
    rest = anyio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield b"a" * 400_000
        await rest.wait()
        yield b"b" * 400_000

    async with Dispatcher(client) as php:
        handle = await php.submit(Job("inspect.php", content=body(), content_length=800_000))
        await eventually(lambda: gateway.statistics().requests == 1)
        assert (back.statistics().running, back.statistics().queued) == (0, 0)
        rest.set()
        assert '"length":800000' in (await handle).text


async def test_clients_share_one_share(client: Endpoint, back: Dispatcher, tmp_path: Path) -> None:
    """Four clients at once have no more scripts running than the gateway's share; one alone has all of it."""
    marks = tmp_path / "marks"
    short = Job("work.php", query={"marks": str(marks), "seconds": "0.005"})
    async with Dispatcher(client) as one, Dispatcher(client) as two, Dispatcher(client) as three:
        async with anyio.create_task_group() as tasks:
            for php in (one, two, three):
                tasks.start_soon(php.run_all, [short] * 20)
        assert most_at_once(marks) == 2
        marks.unlink()
        gate = tmp_path / "gate"
        handles = [
            await three.submit(Job("wait.php", query={"marks": str(marks), "gate": str(gate)})) for _ in range(2)
        ]
        await eventually(lambda: started(marks) == 2)
        gate.touch()
        for handle in handles:
            await handle
    assert back.statistics().completed == 62


@pytest.mark.parametrize(
    ("share", "max_queued", "requests"),
    [(1, 10, 3), (4, 10, 12), (5, 10, 12), (6, 10, 12), (7, 10, 14), (4, 7, 11), (4, 1, 5)],
)
async def test_clients_are_told_to_send_enough_for_its_workers(
    tmp_path: Path, share: int, max_queued: int, requests: int
) -> None:
    """A few workers have requests in store though a client is late; one client alone never overfills the queue."""
    address = f"unix://{tmp_path}/gateway.sock"
    pool = Endpoint(f"unix://{tmp_path}/fpm.sock", max_children=share)
    async with Dispatcher(pool, max_queued=max_queued) as back, Gateway(back, address):
        values = await ask_values(Address.parse(address), connect_timeout=5.0)
    assert requests_at_once(values) == requests


async def test_priorities_hold_among_clients(fpm: LocalFPM, scripts: Path, tmp_path: Path) -> None:
    """A job of a higher priority goes before those that others have sent earlier; PHP does not see the number."""
    marks, gate = tmp_path / "marks", tmp_path / "gate"
    began: list[tuple[float, str]] = []

    async def run(php: Dispatcher, name: str, priority: int) -> None:
        response = await php.run(Job("inspect.php", query={"name": name}, priority=priority))
        seen: Any = response.json()
        assert "FCGI_ASYNC_PRIORITY" not in seen["server"]
        began.append((seen["server"]["REQUEST_TIME_FLOAT"], name))

    async with (
        Dispatcher(fpm.address, max_children=1) as back,
        Gateway(back, f"unix://{tmp_path}/gateway.sock", requests=10) as gateway,
    ):

        async def queued(count: int) -> None:
            await eventually(lambda: back.statistics().queued == count)

        client = Endpoint(gateway.address, root=str(scripts))
        async with Dispatcher(client) as one, Dispatcher(client) as two, anyio.create_task_group() as tasks:
            held = await one.submit(Job("wait.php", query={"marks": str(marks), "gate": str(gate)}))
            await eventually(lambda: started(marks) == 1)
            for n in range(3):
                tasks.start_soon(run, one, f"low {n}", 0)
                await queued(n + 1)
            tasks.start_soon(run, two, "high", 7)
            await queued(4)
            gate.touch()
            await held
    assert [name for _, name in sorted(began)] == ["high", "low 0", "low 1", "low 2"]


async def test_slots_are_kept_for_important_jobs_of_any_client(fpm: LocalFPM, scripts: Path, tmp_path: Path) -> None:
    """`kept` of the gateway's endpoint holds for its clients: a job of priority 10 starts beside full slots."""
    marks, gate = tmp_path / "marks", tmp_path / "gate"
    slow = Job("wait.php", query={"marks": str(marks), "gate": str(gate)})
    async with (
        Dispatcher(Endpoint(fpm.address, max_children=2, kept={10: 1})) as back,
        Gateway(back, f"unix://{tmp_path}/gateway.sock") as gateway,
    ):
        client = Endpoint(gateway.address, root=str(scripts))
        async with Dispatcher(client) as one, Dispatcher(client) as two:
            handles = [await one.submit(slow) for _ in range(3)]
            await eventually(lambda: back.statistics().queued == 2 and started(marks) == 1)
            response = await two.run(Job("respond.php", query={"body": "now"}, priority=10))
            assert (response.text, started(marks), ended(marks)) == ("now", 1, 0)
            gate.touch()
            for handle in handles:
                await handle


async def test_a_queued_job_that_is_cancelled_never_runs(
    client: Endpoint, back: Dispatcher, gateway: Gateway, tmp_path: Path
) -> None:
    """One that waits in the gateway is taken out when its client cancels it; those that run go on."""
    marks, gate, other = tmp_path / "marks", tmp_path / "gate", tmp_path / "other"
    slow = Job("wait.php", query={"marks": str(marks), "gate": str(gate)})
    async with Dispatcher(client) as php:
        handles = [await php.submit(slow) for _ in range(2)]
        await eventually(lambda: started(marks) == 2)
        waiting = await php.submit(Job("work.php", query={"marks": str(other)}))
        await eventually(lambda: back.statistics().queued == 1)
        waiting.cancel()
        await eventually(lambda: back.statistics().queued == 0)
        gate.touch()
        for handle in handles:
            await handle
        await php.run(Job("respond.php"))
    assert (started(other), gateway.statistics().left) == (0, 1)


async def test_a_script_whose_client_has_gone_keeps_its_slot(
    client: Endpoint, back: Dispatcher, gateway: Gateway, tmp_path: Path
) -> None:
    """When a client goes away its script is drained, and counted, until it ends."""
    marks, gate = tmp_path / "marks", tmp_path / "gate"
    async with Dispatcher(client) as php:
        await php.submit(Job("wait.php", query={"marks": str(marks), "gate": str(gate)}))
        await eventually(lambda: started(marks) == 1)
        await php.aclose(timeout=0)
    await eventually(lambda: gateway.statistics().connections == 0)
    assert (back.statistics().draining, gateway.statistics().requests) == (1, 0)
    gate.touch()
    assert (await settled(back)).draining == 0


async def test_a_reader_that_is_behind_holds_up_its_script_alone(
    client: Endpoint, back: Dispatcher, tmp_path: Path
) -> None:
    """A response of 50 MB that nobody reads stops in its worker; a job of another client is answered meanwhile."""
    size = 50_000_000
    async with Dispatcher(client) as one, Dispatcher(client) as two:
        async with one.stream(Job("flood.php", query={"bytes": size})) as response:
            await eventually(lambda: back.statistics().busy == 1)
            for _ in range(5):
                assert (await two.run(Job("respond.php", query={"body": "x"}))).text == "x"
            assert back.statistics().busy == 1
            assert sum([len(part) async for part in response]) == size


async def test_a_finished_response_does_not_wait_for_its_script(
    client: Endpoint, back: Dispatcher, tmp_path: Path
) -> None:
    """What a script does after fastcgi_finish_request() holds its slot, and not its client."""
    marks = tmp_path / "marks"
    query = {"marks": str(marks), "name": "it", "seconds": "0.5"}
    async with Dispatcher(client) as php:
        response = await php.run(Job("early.php", query=query))
        assert (response.text, ended(marks), back.statistics().finishing) == ("answer of it", 0, 1)
    await settled(back)


async def test_it_listens_on_the_loopback_and_nowhere_else(back: Dispatcher, scripts: Path) -> None:
    """A port of 127.0.0.1 serves as a unix socket does; any other host is refused."""
    with pytest.raises(ConfigurationError, match="run any PHP file"):
        async with Gateway(back, "tcp://0.0.0.0:9000"):
            pass
    with socket.create_server(("127.0.0.1", 0)) as listening:
        async with Gateway(back, listening) as gateway:
            assert gateway.address.startswith("tcp://127.0.0.1:")
            async with Dispatcher(Endpoint(gateway.address, root=str(scripts))) as php:
                assert (await php.run(Job("respond.php", query={"body": "x"}))).text == "x"


async def test_its_socket_may_be_opened_by_whom_it_says(back: Dispatcher, tmp_path: Path) -> None:
    """The file of a unix socket has the mode that was asked for, replaces one left behind, and is removed."""
    path = tmp_path / "gateway.sock"
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(path))
    async with Gateway(back, f"unix://{path}", mode=0o600):
        assert path.stat().st_mode & 0o777 == 0o600
        with pytest.raises(ConfigurationError, match="cannot listen"):
            async with Gateway(back, f"unix://{path}"):
                pass
    assert not path.exists()

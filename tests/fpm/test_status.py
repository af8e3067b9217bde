"""FPM's status page: what it says, as types, and what is said where it says nothing."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import pytest

from fcgi_async import Dispatcher, Endpoint, Job, LocalFPM, StatusPage, StatusUnavailable
from fcgi_async.fpm.status import ProcessState, fetch_status, parse_status
from fcgi_async.testing import Close, Drip, Handler, ProtocolStatus, Request, Reset, Responder, Stall
from tests.eventually import eventually
from tests.handlers import HEAD
from tests.listening import unix_address

PROCESS = {
    "pid": 21847,
    "state": "Running",
    "start time": 1795448657,
    "start since": 155,
    "requests": 36,
    "request duration": 1_250_208,
    "request method": "GET",
    "request uri": "/orders?x=1",
    "content length": 7,
    "user": "-",
    "script": "/srv/front.php",
    "last request cpu": 12.5,
    "last request memory": 2097152,
}
# counters as FPM leaves them under kept connections
PAGE = {
    "pool": "a",
    "process manager": "static",
    "start time": 1795448370,
    "start since": 442,
    "accepted conn": 322,
    "listen queue": 0,
    "max listen queue": 0,
    "listen queue len": 0,
    "idle processes": 0,
    "active processes": 302,
    "total processes": 302,
    "max active processes": 211,
    "max children reached": 3,
    "slow requests": 1,
    "processes": [PROCESS],
}


def page(**changes: Any) -> bytes:
    """The page with some of its values changed; names have underscores for spaces."""
    return json.dumps(PAGE | {name.replace("_", " "): value for name, value in changes.items()}).encode()


def test_page_as_types() -> None:
    """Every value is there under FPM's name, durations in seconds, times with their zone."""
    status = parse_status(page())
    assert (status.pool, status.process_manager) == ("a", "static")
    assert (status.start_time, status.start_since) == (datetime.fromtimestamp(1795448370, UTC), 442)
    assert (status.accepted_connections, status.max_children_reached, status.slow_requests) == (322, 3, 1)
    (process,) = status.processes
    assert (process.pid, process.state, process.requests) == (21847, ProcessState.RUNNING, 36)
    assert (process.request_duration, process.request_method) == (1.250208, "GET")
    assert (process.request_uri, process.script, process.user) == ("/orders?x=1", "/srv/front.php", None)
    assert (process.content_length, process.last_request_cpu, process.last_request_memory) == (7, 12.5, 2097152)


def test_counts_come_from_the_list() -> None:
    """Active, idle and total are counted in the list: FPM's own counters have 302 of 7."""
    states = ["Creating", "Idle", "Reading headers", "Getting request informations", "Running", "Ending", "Finishing"]
    status = parse_status(page(processes=[PROCESS | {"state": state} for state in states]))
    assert (status.active, status.idle, status.total) == (5, 1, 7)


def test_state_that_is_not_known() -> None:
    """A state of a PHP to come is a worker that is not free."""
    status = parse_status(page(processes=[PROCESS | {"state": "Dreaming"}]))
    assert (status.processes[0].state, status.active) == (ProcessState.OTHER, 1)


@pytest.mark.parametrize(("length", "queue", "most"), [(0, None, None), (511, 5, 9)])
def test_queue_is_known_on_tcp_only(length: int, queue: int | None, most: int | None) -> None:
    """A queue without a length is a unix socket's, of which FPM knows nothing and says 0."""
    status = parse_status(
        page(listen_queue=queue or 0, max_listen_queue=most or 0, listen_queue_len=length),
    )
    assert (status.listen_queue, status.max_listen_queue) == (queue, most)


def test_what_is_not_known_is_ignored() -> None:
    """A newer FPM may say more."""
    assert parse_status(page(news=[1], processes=[PROCESS | {"mood": None}])) == parse_status(page())


def test_uri_of_any_bytes() -> None:
    """Control characters and bytes that are no UTF-8, which older FPMs do not escape, come through."""
    text = page(processes=[PROCESS | {"request uri": "MARK"}]).replace(b"MARK", b"/\x1b[31m\xff\n")
    assert parse_status(text).processes[0].request_uri == "/\x1b[31m\udcff\n"


@pytest.mark.parametrize("name", [name for name in PAGE if not name.endswith("processes") or name == "processes"])
def test_missing_value(name: str) -> None:
    """A page that lacks something is named as such, with what it lacks."""
    with pytest.raises(StatusUnavailable, match=f"has no '{name}'"):
        parse_status(page(**{name: None}))


@pytest.mark.parametrize("name", [name for name in PROCESS if name != "start since"])
def test_missing_value_of_a_process(name: str) -> None:
    """So is a process that lacks something."""
    with pytest.raises(StatusUnavailable, match=f"has no '{name}'"):
        parse_status(page(processes=[{key: value for key, value in PROCESS.items() if key != name}]))


@pytest.mark.parametrize(
    "text", [b"", b"pool: www", b"[]", b"{", b'{"processes":[1]}', b"[" * 100_000, page(start_time=10**30)]
)
def test_no_status_page(text: bytes) -> None:
    """Whatever else answers is no status page."""
    with pytest.raises(StatusUnavailable, match="status page"):
        parse_status(text)


# from a real PHP-FPM


@pytest.mark.anyio
@pytest.mark.parametrize("listen", ["unix", "tcp"])
async def test_page_of_a_busy_pool(start_fpm: Any, scripts: Path, tmp_path: Path, listen: str) -> None:
    """While every worker is busy the page answers on status_listen, and tells what each of them runs."""
    fpm: LocalFPM = await start_fpm(max_children=2, listen=listen)
    gate = tmp_path / "gate"
    async with Dispatcher(Endpoint(fpm.address, max_children=2, root=str(scripts))) as php:
        job = Job("gate.php", query={"gate": str(gate)}, content=b"abc")
        handles = [await php.submit(job) for _ in range(2)]
        await eventually(lambda: php.statistics().busy == 2)
        status = await fetch_status(StatusPage(fpm.status_address))
        while status.processes[0].script is None or status.processes[1].script is None:
            status = await fetch_status(StatusPage(fpm.status_address))
        assert (status.pool, status.process_manager) == ("www", "static")
        assert (status.active, status.idle, status.total) == (2, 0, 2)
        assert (status.listen_queue is None) == (listen == "unix")
        for process in status.processes:
            assert process.pid in fpm.worker_pids()
            assert process.state is ProcessState.RUNNING
            assert (process.request_method, process.content_length) == ("POST", 3)
            assert process.script == str(scripts / "gate.php")
            assert process.request_uri is not None
            assert process.request_uri.startswith("/gate.php?gate=")
            assert process.request_duration < (datetime.now(UTC) - process.start_time).total_seconds() + 2
        gate.touch()
        for handle in handles:
            await handle


@pytest.mark.anyio
async def test_kept_connections_do_not_deceive(fpm: LocalFPM, php: Dispatcher) -> None:
    """After many requests on kept connections there are as many workers as before."""
    workers = (await fetch_status(StatusPage(fpm.status_address))).total
    await php.run_all(Job("respond.php") for _ in range(200))
    status = await fetch_status(StatusPage(fpm.status_address))
    assert status.total == status.active + status.idle == workers


@pytest.mark.anyio
async def test_page_on_the_pools_own_socket(start_fpm: Any) -> None:
    """A free worker answers as well, and counts itself."""
    fpm = await start_fpm(max_children=2)
    assert (await fetch_status(StatusPage(fpm.address))).active == 1


@pytest.mark.anyio
async def test_page_behind_the_jobs(start_fpm: Any, scripts: Path, tmp_path: Path) -> None:
    """On the socket of a pool that is busy there is no answer, and the error says what to set."""
    fpm = await start_fpm(max_children=1)
    gate = tmp_path / "gate"
    async with Dispatcher(Endpoint(fpm.address, max_children=1, root=str(scripts))) as php:
        handle = await php.submit(Job("gate.php", query={"gate": str(gate)}))
        await eventually(lambda: php.statistics().busy == 1)
        with pytest.raises(StatusUnavailable, match=r"no answer within 0\.1 s.*pm\.status_listen") as caught:
            await fetch_status(StatusPage(fpm.address), timeout=0.1)
        assert caught.value.endpoint == fpm.address
        gate.touch()
        await handle


@pytest.mark.anyio
async def test_another_path(fpm: LocalFPM) -> None:
    """FPM's 404 is a path that is not pm.status_path."""
    with pytest.raises(StatusUnavailable, match=r"/else at (unix|tcp)://.*status 404.*pm\.status_path"):
        await fetch_status(StatusPage(fpm.status_address, path="/else"))


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("address", "said"),
    [("unix:///nowhere/status.sock", "no such socket"), ("tcp://127.0.0.1:1", "nothing listens")],
)
async def test_nobody_there(address: str, said: str) -> None:
    """An address at which nobody listens is compared with the configuration by the one who reads the error."""
    with pytest.raises(StatusUnavailable, match=said) as caught:
        await fetch_status(StatusPage(address))
    assert isinstance(caught.value.__cause__, OSError)


# from what only pretends


async def _silent(request: Request) -> None:
    await request.fault(Stall())


async def _overloaded(request: Request) -> None:
    await request.end(protocol_status=ProtocolStatus.OVERLOADED)


async def _endless(request: Request) -> None:
    await request.write_stdout(HEAD)
    while True:
        await request.write_stdout(bytes(60_000))


async def _closing(request: Request) -> None:
    await request.fault(Close())


async def _no_head(request: Request) -> None:
    await request.write_stdout(b"no head at all\n\n")


async def _no_record(request: Request) -> None:
    await request.send_raw(b"HTTP/1.0 400 Bad Request\r\n\r\n")


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("script", "said"),
    [
        (_silent, "no answer"),
        (_overloaded, "protocol status 2"),
        (_endless, "more than"),
        (_closing, "closed without an answer"),
        (_no_head, "not PHP-FPM"),
        (_no_record, "closed without an answer"),
    ],
)
async def test_peer_that_misbehaves(tmp_path: Path, script: Handler, said: str) -> None:
    """Whatever a peer does, there is an error in time that names the page."""
    address = unix_address(tmp_path)
    async with Responder(script, address):
        with pytest.raises(StatusUnavailable, match=f"status page /status at {address}: .*{said}"):
            await fetch_status(StatusPage(address), timeout=0.1 if script is _silent else 20)


@pytest.mark.anyio
async def test_reset(tmp_path: Path) -> None:
    """A connection that is reset names its reason."""

    async def script(request: Request) -> None:
        await request.fault(Reset())

    async with Responder(script, unix_address(tmp_path)) as responder:
        with pytest.raises(StatusUnavailable, match=r"connection failed|closed without"):
            await fetch_status(StatusPage(responder.address))


@pytest.mark.anyio
async def test_page_in_pieces(tmp_path: Path) -> None:
    """A page that comes byte by byte is read whole."""

    async def script(request: Request) -> None:
        assert (request.params["SCRIPT_NAME"], request.params["QUERY_STRING"]) == ("/s", "full&json")
        assert not request.keep_conn
        await request.write_stdout(HEAD + page())

    async with Responder(script, unix_address(tmp_path), fault=Drip()) as responder:
        assert await fetch_status(StatusPage(responder.address, path="/s")) == parse_status(page())


@pytest.mark.anyio
@pytest.mark.parametrize("end", [lambda scope: scope.cancel(), None], ids=["cancelled", "timeout"])
async def test_nothing_is_left_behind(tmp_path: Path, end: Callable[[anyio.CancelScope], None] | None) -> None:
    """Cancelled or too late, the connection is closed."""
    asked = anyio.Event()

    async def script(request: Request) -> None:
        asked.set()
        await request.fault(Stall())

    async with Responder(script, unix_address(tmp_path)) as responder, anyio.create_task_group() as tasks:

        async def fetch() -> None:
            with pytest.raises(StatusUnavailable):
                await fetch_status(StatusPage(responder.address), timeout=0.01)

        before = len(os.listdir("/proc/self/fd"))
        if end is None:
            await fetch()
        else:
            tasks.start_soon(lambda: fetch_status(StatusPage(responder.address), timeout=60))
            await asked.wait()
            end(tasks.cancel_scope)
    await eventually(lambda: responder.open_connections == 0)
    assert len(os.listdir("/proc/self/fd")) <= before

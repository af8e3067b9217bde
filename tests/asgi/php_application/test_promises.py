"""What the application promises, under uvicorn on a real PHP-FPM: slow clients, leaving ones, jobs, lost workers."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from anyio.from_thread import BlockingPortal

from fcgi_async import LocalFPM
from tests.asgi.php_application.serving import connect, exchange, get, parse, read_reply, site_under, statistics
from tests.asgi.server import Service
from tests.conftest import INI
from tests.eventually import soon

MIB = 1024 * 1024


@pytest.fixture
def service(fpm: LocalFPM, tmp_path: Path) -> Iterator[Service]:
    """The site under uvicorn."""
    with site_under("uvicorn", fpm, tmp_path) as found:
        yield found


def held(service: Service) -> int:
    """How many workers run scripts, or hold a response."""
    found = statistics(service)
    return found["busy"] + found["finishing"] + found["draining"]


def test_slow_uploaders(service: Service) -> None:
    """20 bodies that stop in their middle hold no worker, and all arrive when they go on."""
    body = b"x" * 1_000_000
    head = f"POST /sum.php HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    socks = [connect(service) for _ in range(20)]
    for sock in socks:
        sock.sendall(head + body[:500_000])
    for _ in range(20):
        reply = exchange(service, get("/work.php"))
        assert reply is not None
        assert reply.body == b"done"
        # its worker is free a moment after its answer
        soon(lambda: held(service) == 0)
    for sock in socks:
        sock.sendall(body[500_000:])
    for sock in socks:
        reply = read_reply(sock)
        sock.close()
        assert reply is not None
        assert reply.body == b"1000000 1000000"


def test_slow_readers(service: Service) -> None:
    """20 answers of 24 MB that nobody takes hold no worker once PHP has written them, and are whole."""
    socks = [connect(service) for _ in range(20)]
    for sock in socks:
        sock.sendall(get("/flood.php?mib=24"))
    # 20 of them, and none of the pages that ask
    soon(lambda: statistics(service)["completed"] == 20, within=60)
    soon(lambda: held(service) == 0)
    reply = exchange(service, get("/work.php"))
    assert reply is not None
    assert reply.body == b"done"
    received = bytearray()
    while data := socks[7].recv(MIB):
        received += data
    for sock in socks:
        sock.close()
    reply = parse(received)
    assert reply is not None
    assert reply.complete
    assert reply.body == b"0123456789abcdef" * (24 * MIB // 16)


def test_clients_that_leave(service: Service, tmp_path: Path) -> None:
    """Of eight that leave the four in the queue never run; the next request is served once the others are done."""
    marks, gate = tmp_path / "marks", tmp_path / "gate"
    marks.mkdir()
    socks = [connect(service) for _ in range(8)]
    for sock in socks:
        sock.sendall(get(f"/wait.php?marks={marks}&gate={gate}"))
    soon(lambda: len(list(marks.iterdir())) == 4 and statistics(service)["queued"] == 4)
    for sock in socks:
        sock.close()
    soon(lambda: statistics(service)["queued"] == 0 and statistics(service)["draining"] == 4)
    gate.touch()
    reply = exchange(service, get("/work.php"))
    assert reply is not None
    assert reply.body == b"done"
    assert len(list(marks.iterdir())) == 4


def test_readers_that_leave_endless_answers(service: Service) -> None:
    """Eight scripts that would print for ever end after their clients, and the next request is served."""
    socks = [connect(service) for _ in range(8)]
    for sock in socks:
        sock.sendall(get("/flood.php"))
    soon(lambda: statistics(service)["busy"] == 4)
    for sock in socks:
        sock.close()
    reply = exchange(service, get("/work.php"))
    assert reply is not None
    assert reply.body == b"done"
    soon(lambda: held(service) == 0)


def test_web_beside_jobs(fpm: LocalFPM, tmp_path: Path) -> None:
    """With a slot kept for them, requests are answered while 2,000 jobs wait, and never wait for one."""
    with site_under("uvicorn", fpm, tmp_path, KEPT="1") as service:
        exchange(service, get("/-/jobs?n=2000&ms=20"))
        for _ in range(50):
            reply = exchange(service, get("/work.php"))
            assert reply is not None
            assert reply.body == b"done"
        found = statistics(service)
    assert found["queued"] > 0
    # three slots are the jobs' own
    assert found["busy"] <= 3


@contextmanager
def own_fpm(portal: BlockingPortal, **settings: Any) -> Iterator[LocalFPM]:
    """A PHP-FPM for this test alone."""
    fpm = LocalFPM(**{"max_children": 4, "system_ini": False, "ini": INI, **settings})
    with portal.wrap_async_context_manager(fpm):
        yield fpm


@contextmanager
def load(service: Service, target: str, clients: int = 8) -> Iterator[Callable[[], list[int]]]:
    """Clients that ask again and again while the block runs; what is yielded returns the statuses they got so far."""
    statuses: list[int] = []
    over = False

    def ask() -> None:
        while not over:
            reply = exchange(service, get(target))
            statuses.append(0 if reply is None or not reply.complete else reply.status)

    with ThreadPoolExecutor(clients) as threads:
        asking = [threads.submit(ask) for _ in range(clients)]
        try:
            yield lambda: statuses
        finally:
            over = True
        for one in asking:
            one.result()


def test_reload(fpm_portal: BlockingPortal, tmp_path: Path) -> None:
    """Graceful reloads of FPM under load cost no request."""
    with own_fpm(fpm_portal, global_settings={"process_control_timeout": "10s"}) as fpm:
        with site_under("uvicorn", fpm, tmp_path) as service, load(service, "/work.php?ms=5") as statuses:
            for n in range(3):
                soon(lambda n=n: len(statuses()) > 50 * (n + 1))  # type: ignore[misc]
                fpm_portal.call(fpm.reload)
            before = len(statuses())
            soon(lambda: len(statuses()) > before + 50)
        assert set(statuses()) == {200}


def test_killed_workers(fpm_portal: BlockingPortal, tmp_path: Path) -> None:
    """Twelve workers that are killed under load cost no GET with retry="get"."""
    with own_fpm(fpm_portal) as fpm:
        options = {"retry": "get"}
        with site_under("uvicorn", fpm, tmp_path, options=options) as service:
            with load(service, "/work.php?ms=20") as statuses:
                for n in range(12):
                    soon(lambda n=n: len(statuses()) > 10 * (n + 1))  # type: ignore[misc]
                    os.kill(fpm_portal.call(fpm.worker_pids)[0], signal.SIGKILL)
                before = len(statuses())
                soon(lambda: len(statuses()) > before + 50)
            assert set(statuses()) == {200}
            assert statistics(service)["retried"] > 0


def peak(service: Service) -> int:
    """The most memory that the server has had, in bytes."""
    status = Path(f"/proc/{service.process.pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))) * 1024


def transfer(service: Service, mib: int) -> int:
    """Send and get so much, and return how much memory that took at its peak."""
    exchange(service, get("/sum.php"))
    exchange(service, get("/flood.php?mib=2"))
    before = peak(service)
    with connect(service) as sock:
        sock.sendall(f"POST /sum.php HTTP/1.1\r\nHost: a\r\nContent-Length: {mib * MIB}\r\n\r\n".encode())
        part = bytes(MIB)
        for _ in range(mib):
            sock.sendall(part)
        reply = read_reply(sock)
    assert reply is not None
    assert reply.body == f"{mib * MIB} {mib * MIB}".encode()
    with connect(service) as sock:
        sock.sendall(get(f"/flood.php?mib={mib}"))
        received = 0
        while data := sock.recv(MIB):
            received += len(data)
    assert received > mib * MIB
    return peak(service) - before


# sum.php has the whole body in memory
LARGE = {"memory_limit": "2G"}


@pytest.mark.parametrize("mib", [128, pytest.param(1024, marks=pytest.mark.long)])
def test_flat_memory(fpm_portal: BlockingPortal, tmp_path: Path, mib: int) -> None:
    """A large upload and a large download pass through a few megabytes of the server's memory."""
    with own_fpm(fpm_portal, ini={**INI, **LARGE}) as fpm:
        with site_under("uvicorn", fpm, tmp_path, options={"max_body": mib * MIB}) as service:
            assert transfer(service, mib) < 48 * MIB

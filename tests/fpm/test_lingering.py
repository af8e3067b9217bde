"""Slots of abandoned scripts on TCP, given back when FPM's status page shows that the script has ended."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import anyio
import pytest

from fcgi_async import Dispatcher, Endpoint, Job, KeepAlive, LocalFPM, StatusPage
from fcgi_async.pool import monitor
from fcgi_async.testing import Request, Responder, Stall
from tests.eventually import eventually
from tests.handlers import HEAD, Held
from tests.listening import unix_address

pytestmark = pytest.mark.anyio

# what time alone would not end within a test
LONG = 600.0


def endpoint(fpm: LocalFPM, scripts: Path, **settings: Any) -> Endpoint:
    """Every worker of a pool, whose page is asked, and whose connections are closed on cancelling."""
    return Endpoint(
        fpm.address,
        **{
            "max_children": fpm.max_children,
            "root": str(scripts),
            "status": fpm.status_address,
            "on_cancel": "close",
            "linger": LONG,
            **settings,
        },
    )


async def abandon(php: Dispatcher, *gates: Path, script: str = "wait.php") -> None:
    """Start a script for each gate, and cancel it while it runs; it ends when its gate is there."""
    lingering = php.statistics().lingering
    marks = [gate.with_suffix(".marks") for gate in gates]
    jobs = [Job(script, query={"gate": str(gate), "marks": str(mark)}) for gate, mark in zip(gates, marks, strict=True)]
    handles = [await php.submit(job) for job in jobs]
    await eventually(lambda: all(mark.exists() for mark in marks))
    for handle in handles:
        handle.cancel()
    assert php.statistics().lingering == lingering + len(gates)


async def look(php: Dispatcher) -> int:
    """Let FPM be asked a few times, and return how many slots linger."""
    for _ in range(3):
        await php.status()
    return php.statistics().lingering


async def test_slot_of_a_script_that_has_ended(start_fpm: Any, scripts: Path, tmp_path: Path) -> None:
    """A slot is given back soon after its abandoned script has ended, and a job that waits gets it."""
    fpm = await start_fpm(listen="tcp", max_children=2)
    async with Dispatcher(endpoint(fpm, scripts, reserve=1)) as php:
        await abandon(php, tmp_path / "gate")
        waiting = await php.submit(Job("respond.php", query={"body": "next"}))
        assert await look(php) == 1
        (tmp_path / "gate").touch()
        assert (await waiting).text == "next"
        assert php.statistics().lingering == 0


async def test_slot_of_a_script_that_runs(start_fpm: Any, scripts: Path, tmp_path: Path) -> None:
    """As many slots stay taken as abandoned scripts run, whoever else is busy or idle."""
    fpm = await start_fpm(listen="tcp", max_children=4)
    gates = [tmp_path / "first", tmp_path / "second"]
    async with Dispatcher(endpoint(fpm, scripts)) as php:
        await abandon(php, *gates)
        busy = await php.submit(Job("gate.php", query={"gate": str(tmp_path / "busy")}))
        await eventually(lambda: php.statistics().busy == 1)
        await php.run(Job("respond.php"))
        assert await look(php) == 2
        gates[0].touch()
        await eventually(lambda: php.statistics().lingering == 1)
        assert await look(php) == 1
        gates[1].touch()
        await eventually(lambda: php.statistics().lingering == 0)
        (tmp_path / "busy").touch()
        await busy


async def test_others_only_make_it_later(start_fpm: Any, scripts: Path, tmp_path: Path) -> None:
    """A worker that serves somebody else may be the one with our script, until it is free."""
    fpm = await start_fpm(listen="tcp", max_children=2)
    other, ours = tmp_path / "other", tmp_path / "ours"
    async with Dispatcher(endpoint(fpm, scripts, keepalive=KeepAlive(idle=0))) as stranger:
        theirs = await stranger.submit(Job("gate.php", query={"gate": str(other)}))
        await eventually(lambda: stranger.statistics().busy == 1)
        async with Dispatcher(endpoint(fpm, scripts, reserve=1)) as php:
            await abandon(php, ours)
            ours.touch()
            await eventually(lambda: ours.with_suffix(".marks").read_text().count("\n") == 2)
            assert await look(php) == 1
            other.touch()
            await theirs
            await eventually(lambda: php.statistics().lingering == 0)


async def test_workers_held_by_abandoned_scripts(
    start_fpm: Any, scripts: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Where scripts that nobody waits for hold most of our workers, that is said, once."""
    fpm, gates = await start_fpm(listen="tcp", max_children=4), [tmp_path / f"gate{number}" for number in range(4)]

    def said() -> list[str]:
        return [record.message for record in caplog.records if "nobody waits for" in record.message]

    async with Dispatcher(endpoint(fpm, scripts, status=None)) as php:
        await abandon(php, *gates[:2])
        assert said() == []
        await abandon(php, *gates[2:])
        (warning,) = said()
        assert f"{fpm.address}: 3 of our 4 workers are held by scripts" in warning
        for gate in gates:
            gate.touch()


async def test_killed_script(start_fpm: Any, scripts: Path, tmp_path: Path) -> None:
    """An abandoned script that FPM ends has ended too."""
    fpm = await start_fpm(listen="tcp", max_children=1, pool={"request_terminate_timeout": "1s"})
    async with Dispatcher(endpoint(fpm, scripts)) as php:
        await abandon(php, tmp_path / "gate")
        assert (await php.run(Job("respond.php", query={"body": "next"}))).text == "next"


@pytest.mark.parametrize("page", ["/wrong", None], ids=["wrong path", "nobody there"])
async def test_page_that_does_not_answer(
    start_fpm: Any,
    scripts: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    page: str | None,
) -> None:
    """Without an answer time alone ends it, and that is said once."""
    monkeypatch.setattr(monitor, "_LOOK_MIN", 0.01)
    monkeypatch.setattr(monitor, "_LOOK_MAX", 0.01)
    fpm = await start_fpm(listen="tcp", max_children=1)
    status = StatusPage("unix:///nowhere/status.sock" if page is None else fpm.status_address, path=page or "/status")
    with caplog.at_level(logging.INFO, "fcgi_async.pool"):
        async with Dispatcher(endpoint(fpm, scripts, status=status, linger=0.5)) as php:
            await abandon(php, tmp_path / "gate")
            await eventually(lambda: php.statistics().lingering == 0)
            (tmp_path / "gate").touch()
    (record,) = [record for record in caplog.records if "status page" in record.message]
    assert record.levelno == logging.WARNING
    assert "only after Endpoint.linger" in record.message


async def test_page_that_comes_back(
    start_fpm: Any,
    scripts: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A page that is away is asked again, and counts when it is back."""
    monkeypatch.setattr(monitor, "_LOOK_MIN", 0.01)
    monkeypatch.setattr(monitor, "_LOOK_MAX", 0.01)
    fpm = await start_fpm(listen="tcp", max_children=1)
    real, away = (Path(path) for path in (fpm.status_address.removeprefix("unix://"), fpm.directory / "away.sock"))
    real.rename(away)
    with caplog.at_level(logging.INFO, "fcgi_async.pool"):
        async with Dispatcher(endpoint(fpm, scripts)) as php:
            await abandon(php, tmp_path / "gate")
            (tmp_path / "gate").touch()
            await eventually(lambda: "only after Endpoint.linger" in caplog.text)
            assert php.statistics().lingering == 1
            away.rename(real)
            await eventually(lambda: php.statistics().lingering == 0)
            await eventually(lambda: "answers again" in caplog.text)


async def test_page_on_the_pools_own_socket_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page that would cost a worker of the pool is not asked for this: time decides."""
    monkeypatch.setattr(monitor, "_LOOK_MIN", 0.01)
    address, held = unix_address(tmp_path), Held()
    async with (
        Responder(held, address) as responder,
        Dispatcher(Endpoint(address, max_children=1, status=address, on_cancel="close", linger=0.2)) as php,
    ):
        handle = await php.submit(Job("/a.php"))
        await eventually(lambda: held.running)
        handle.cancel()
        assert php.statistics().lingering == 1
        await eventually(lambda: php.statistics().lingering == 0)
        assert [request.params["SCRIPT_NAME"] for request in responder.requests] == ["/a.php"]
        held.release()


async def test_closing_while_the_page_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dispatcher that is left takes the question back."""
    monkeypatch.setattr(monitor, "_LOOK_MIN", 0.0)
    held, asked = Held(), anyio.Event()

    async def silent(request: Request) -> None:
        asked.set()
        await request.fault(Stall())

    async with (
        Responder(held, unix_address(tmp_path)) as responder,
        Responder(silent, unix_address(tmp_path, "status.sock")) as page,
    ):
        settings: dict[str, Any] = {"max_children": 1, "status": page.address, "on_cancel": "close", "linger": LONG}
        async with Dispatcher(Endpoint(responder.address, **settings)) as php:
            handle = await php.submit(Job("/a.php"))
            await eventually(lambda: held.running)
            handle.cancel()
            await asked.wait()
        await eventually(lambda: page.open_connections == 0)
        held.release()


async def test_job_that_nobody_has_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job written without a probe may still wait in the listen queue, of which no page tells: time decides."""
    monkeypatch.setattr(monitor, "_LOOK_MIN", 0.01)
    fpm_page = _page_of_an_idle_worker()
    held = Held()

    async def script(request: Request) -> None:
        await request.write_stdout(HEAD + fpm_page)

    async with (
        Responder(held, unix_address(tmp_path)) as responder,
        Responder(script, unix_address(tmp_path, "status.sock")) as page,
    ):
        settings: dict[str, Any] = {"max_children": 1, "status": page.address, "handshake": False, "linger": LONG}
        async with Dispatcher(Endpoint(responder.address, **settings)) as php:
            handle = await php.submit(Job("/a.php"))
            await eventually(lambda: held.running)
            handle.cancel()
            await eventually(lambda: len(page.requests) >= 3)
            assert php.statistics().lingering == 1
        held.release()


def _page_of_an_idle_worker() -> bytes:
    return (
        b'{"pool":"www","process manager":"static","start time":1795517981,"start since":0,"accepted conn":1,'
        b'"listen queue":0,"max listen queue":0,"listen queue len":0,"max children reached":0,"slow requests":0,'
        b'"processes":[{"pid":455,"state":"Idle","start time":1795517981,"start since":0,"requests":1,'
        b'"request duration":0,"request method":"-","request uri":"-","content length":0,"user":"-","script":"-",'
        b'"last request cpu":0.00,"last request memory":0}]}'
    )

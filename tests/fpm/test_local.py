"""LocalFPM: a private php-fpm that does what it was asked and leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import anyio
import anyio.to_thread
import pytest

from fcgi_async.errors import ConfigurationError
from fcgi_async.fpm import LocalFPM, local
from tests.conftest import StartFPM
from tests.eventually import eventually
from tests.fpm.process_group import find_by_argument, living_members
from tests.fpm.raw_client import raw_connect, raw_request

pytestmark = pytest.mark.anyio

SCRIPTS = Path(__file__).parent / "scripts"

HOLDER = """
import json, sys
import anyio
from fcgi_async.fpm import LocalFPM

async def hold():
    async with LocalFPM(max_children=2, system_ini=False) as fpm:
        print(json.dumps({"pid": fpm.pid, "directory": str(fpm.directory)}), flush=True)
        await anyio.sleep_forever()

backend, options = json.loads(sys.argv[1])
anyio.run(hold, backend=backend, backend_options=options)
"""


def settings_inside(address: str, *, ini: tuple[str, ...] = (), env: tuple[str, ...] = ()) -> dict[str, Any]:
    """What a script run at this address sees of these settings and environment variables."""
    query = urlencode([("ini[]", name) for name in ini] + [("env[]", name) for name in env])
    response = raw_request(address, SCRIPTS / "settings.php", params={"QUERY_STRING": query})
    seen: dict[str, Any] = json.loads(response.body)
    return seen


def status_page(fpm: LocalFPM) -> str:
    params = {"SCRIPT_NAME": "/status", "QUERY_STRING": "full&json"}
    return raw_request(fpm.status_address, "/status", params=params).text


async def test_scripts_run_by_its_workers(start_fpm: StartFPM) -> None:
    """A script sent to the address is run by one of the workers that the instance names, as the calling user."""
    fpm = await start_fpm(max_children=3)
    workers = fpm.worker_pids()
    assert len(workers) == 3
    assert settings_inside(fpm.address)["pid"] in workers
    assert {os.stat(f"/proc/{pid}").st_uid for pid in workers} == {os.geteuid()}


async def test_directory_is_private(start_fpm: StartFPM) -> None:
    """Nobody but the calling user can reach the sockets."""
    fpm = await start_fpm()
    assert fpm.address == f"unix://{fpm.directory}/fpm.sock"
    assert stat.S_IMODE(fpm.directory.stat().st_mode) == 0o700


async def test_leaves_nothing_behind(anyio_backend: object) -> None:
    """After the context neither a process nor the directory is left."""
    async with LocalFPM(max_children=2, system_ini=False) as fpm:
        group = os.getpgid(fpm.pid)
        assert set(living_members(group)) == {fpm.pid, *fpm.worker_pids()}
        assert find_by_argument(str(fpm.directory)) != []
    assert living_members(group) == []
    assert find_by_argument(str(fpm.directory)) == []
    assert fpm.worker_pids() == []
    assert not fpm.directory.exists()


async def test_listens_on_loopback(start_fpm: StartFPM) -> None:
    """With listen="tcp" it answers on a port of 127.0.0.1."""
    fpm = await start_fpm(listen="tcp", max_children=1)
    assert fpm.address.startswith("tcp://127.0.0.1:")
    assert settings_inside(fpm.address)["pid"] in fpm.worker_pids()


async def test_tries_another_port(monkeypatch: pytest.MonkeyPatch, start_fpm: StartFPM) -> None:
    """A port that somebody took between our look and FPM's bind is replaced by another one."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        free = local.find_free_port()
        ports = iter([taken.getsockname()[1], free])
        monkeypatch.setattr(local, "find_free_port", lambda: next(ports))
        fpm = await start_fpm(listen="tcp", max_children=1)
        assert fpm.address == f"tcp://127.0.0.1:{free}"
        assert settings_inside(fpm.address)["pid"] in fpm.worker_pids()


async def test_status_answers_while_all_workers_are_busy(start_fpm: StartFPM) -> None:
    """The status page has a socket of its own, so that a full pool does not hide its state."""
    fpm = await start_fpm(max_children=1)
    with raw_connect(fpm.address):
        assert '"pool":"www"' in status_page(fpm)


@pytest.mark.parametrize("system_ini", [True, False])
async def test_php_settings_arrive(start_fpm: StartFPM, system_ini: bool) -> None:
    """Every PHP setting arrives as it was given, whatever characters it has, with the system's php.ini or not."""
    ini = {
        "memory_limit": "77M",
        "precision": "9",
        "user_agent": """it's; a "${HOME}" \\ = & | ~ #""",
        "error_append_string": '; "double" $only \\',
        "auto_prepend_file": "",
    }
    fpm = await start_fpm(max_children=1, system_ini=system_ini, ini=ini)
    assert settings_inside(fpm.address, ini=tuple(ini))["ini"] == ini


async def test_words_are_php_words(start_fpm: StartFPM) -> None:
    """Booleans and constants mean in `ini` what they mean in php.ini."""
    fpm = await start_fpm(max_children=1, ini={"implicit_flush": "on", "error_reporting": "E_ALL"})
    seen = settings_inside(fpm.address, ini=("implicit_flush", "error_reporting"))["ini"]
    assert seen == {"implicit_flush": "1", "error_reporting": "32767"}


async def test_pool_settings_arrive(start_fpm: StartFPM) -> None:
    """Settings of the pool's section reach FPM, quotes and all."""
    pool = {"env[GREETING]": """it's "$HOME"; \\""", "php_admin_value[memory_limit]": "55M"}
    fpm = await start_fpm(max_children=1, pool=pool)
    seen = settings_inside(fpm.address, ini=("memory_limit",), env=("GREETING",))
    assert seen["ini"] == {"memory_limit": "55M"}
    assert seen["env"] == {"GREETING": """it's "$HOME"; \\"""}


@pytest.mark.parametrize("system_ini", [True, False])
async def test_opcache_is_on(start_fpm: StartFPM, system_ini: bool) -> None:
    """Opcache is loaded and on, even where no php.ini of the system loads it."""
    fpm = await start_fpm(max_children=1, system_ini=system_ini)
    assert settings_inside(fpm.address)["opcache"] is True


@pytest.mark.parametrize(("pm", "first_workers"), [("dynamic", 1), ("ondemand", 0)])
async def test_other_process_managers(start_fpm: StartFPM, pm: str, first_workers: int) -> None:
    """A dynamic pool is ready with some of its workers, an ondemand pool with none."""
    fpm = await start_fpm(pm=pm, max_children=3)
    assert len(fpm.worker_pids()) >= first_workers
    assert settings_inside(fpm.address)["pid"] in fpm.worker_pids()


async def test_reload_renews_the_workers(start_fpm: StartFPM) -> None:
    """A reload keeps the master, the address and the settings, and has new workers when it returns."""
    fpm = await start_fpm(max_children=2, ini={"user_agent": "kept; over the reload"})
    master, workers = fpm.pid, fpm.worker_pids()
    for _ in range(3):
        await fpm.reload()
        assert fpm.pid == master
        assert len(fpm.worker_pids()) == 2
        assert not set(fpm.worker_pids()) & set(workers)
        assert settings_inside(fpm.address, ini=("user_agent",))["ini"] == {"user_agent": "kept; over the reload"}
        workers = fpm.worker_pids()


async def test_reload_lets_running_scripts_finish(start_fpm: StartFPM) -> None:
    """A script that runs when the reload begins gives its whole answer."""
    fpm = await start_fpm(max_children=1)
    old_worker = fpm.worker_pids()
    answers = []

    async def run_script() -> None:
        answers.append(
            await anyio.to_thread.run_sync(
                lambda: raw_request(fpm.address, SCRIPTS / "linger.php", params={"QUERY_STRING": "0.5"})
            )
        )

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run_script)
        await eventually(lambda: "linger.php" in status_page(fpm))
        await fpm.reload()
    assert [int(answer.text) for answer in answers] == old_worker


async def test_stop_and_start_again(start_fpm: StartFPM) -> None:
    """While stopped nothing listens; started again it answers at the same address."""
    fpm = await start_fpm(max_children=1, listen="tcp")
    group = os.getpgid(fpm.pid)
    await fpm.stop()
    assert living_members(group) == []
    with pytest.raises(ConnectionRefusedError):
        raw_connect(fpm.address)
    with pytest.raises(ConfigurationError, match="not running"):
        fpm.signal(signal.SIGUSR2)
    await fpm.start()
    assert settings_inside(fpm.address)["pid"] in fpm.worker_pids()
    with pytest.raises(ConfigurationError, match="running already"):
        await fpm.start()


async def test_stop_ends_running_scripts(start_fpm: StartFPM) -> None:
    """Stopping does not wait for a script that would run for an hour."""
    fpm = await start_fpm(max_children=1)
    group = os.getpgid(fpm.pid)
    failures = []

    async def run_script() -> None:
        try:
            await anyio.to_thread.run_sync(
                lambda: raw_request(fpm.address, SCRIPTS / "linger.php", params={"QUERY_STRING": "3600"}, timeout=60)
            )
        except ConnectionError as error:
            failures.append(error)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run_script)
        await eventually(lambda: "linger.php" in status_page(fpm))
        await fpm.stop()
        assert living_members(group) == []
    assert len(failures) == 1


@pytest.mark.parametrize("listen", ["unix", "tcp"])
async def test_death_of_the_master(start_fpm: StartFPM, listen: str) -> None:
    """Workers do not outlive a master that was killed, and FPM can be started again."""
    fpm = await start_fpm(max_children=2, listen=listen)
    group = os.getpgid(fpm.pid)
    fpm.signal(signal.SIGKILL)
    await fpm.wait()
    assert living_members(group) == []
    with pytest.raises(ConfigurationError, match="not running"):
        _ = fpm.pid
    await fpm.start()
    assert settings_inside(fpm.address)["pid"] in fpm.worker_pids()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
async def test_death_of_the_holder(anyio_backend: tuple[str, dict[str, Any]], number: signal.Signals) -> None:
    """When the Python process that holds it is killed, FPM, its workers and its directory disappear."""
    # a factory of loops stays here
    loop = (anyio_backend[0], {name: value for name, value in anyio_backend[1].items() if not callable(value)})
    holder = await anyio.open_process([sys.executable, "-c", HOLDER, json.dumps(loop)], stderr=subprocess.DEVNULL)
    async with holder:
        assert holder.stdout is not None
        held = json.loads(await holder.stdout.receive())
        group = os.getpgid(held["pid"])
        assert held["pid"] in living_members(group)
        holder.send_signal(number)
        await holder.wait()
        await eventually(lambda: not living_members(group))
        await eventually(lambda: not Path(held["directory"]).exists())


async def test_cancelling_the_holder(anyio_backend: object) -> None:
    """Cancelling the task inside the context takes everything down before the cancellation goes on."""
    fpm = LocalFPM(max_children=2, system_ini=False)
    with anyio.CancelScope() as scope:
        async with fpm:
            group = os.getpgid(fpm.pid)
            scope.cancel()
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert living_members(group) == []
    assert not fpm.directory.exists()


async def test_cancelling_the_start(anyio_backend: object, tmp_path: Path) -> None:
    """Cancelling while FPM does not get ready takes down what was started."""
    fpm = LocalFPM(binary=never_ready(tmp_path), startup_timeout=60)
    groups: list[int] = []

    async def enter() -> None:
        async with fpm:
            raise AssertionError("it can never be ready")

    def guard_is_there() -> bool:
        groups[:] = find_by_argument(str(fpm.directory)) if hasattr(fpm, "directory") else []
        return bool(groups)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(enter)
        await eventually(guard_is_there)
        group = os.getpgid(groups[0])
        tasks.cancel_scope.cancel()
    assert living_members(group) == []
    assert not fpm.directory.exists()


async def test_error_in_the_context(anyio_backend: object) -> None:
    """An error inside the context comes out as it is, not in a group, and FPM is down."""
    fpm = LocalFPM(max_children=1, system_ini=False)
    groups = []

    async def fail_inside() -> None:
        async with fpm:
            groups.append(os.getpgid(fpm.pid))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail_inside()
    [group] = groups
    assert living_members(group) == []
    assert not fpm.directory.exists()


def never_ready(folder: Path) -> str:
    """A php-fpm that starts and never gets anywhere."""
    binary = folder / "php-fpm"
    binary.write_text("#!/bin/sh\necho 'thinking about it'\nexec sleep 3600\n")
    binary.chmod(0o755)
    return str(binary)


async def test_never_ready(anyio_backend: object, tmp_path: Path) -> None:
    """An FPM that is not ready in time is taken down; the error says how long was waited and what FPM had said."""
    fpm = LocalFPM(binary=never_ready(tmp_path), startup_timeout=0.5)
    with pytest.raises(ConfigurationError, match=r"not ready within 0\.5 s.*thinking about it"):
        await fpm.__aenter__()
    assert find_by_argument(str(fpm.directory)) == []
    assert not fpm.directory.exists()


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"pool": {"nonsense": "1"}}, "unknown entry 'nonsense'"),
        (
            {"global_settings": {"process_control_timeout": "soon"}},
            "unable to parse value for entry 'process_control_timeout'",
        ),
        ({"max_children": 0}, "pm.max_children must be a positive value"),
        ({"pm": "sometimes"}, "invalid process manager"),
    ],
    ids=["pool", "global", "max_children", "pm"],
)
async def test_refused_settings(anyio_backend: object, settings: dict[str, Any], complaint: str) -> None:
    """Settings that FPM refuses are an error that carries FPM's own words, and leave nothing behind."""
    fpm = LocalFPM(system_ini=False, **settings)
    with pytest.raises(ConfigurationError) as caught:
        await fpm.__aenter__()
    assert complaint in caught.value.message
    assert not fpm.directory.exists()


@pytest.mark.parametrize("argument", ["ini", "pool", "global_settings"])
@pytest.mark.parametrize(
    "setting",
    [
        {"log_limit": "1024\nlisten = 0.0.0.0:9000"},
        {"log_limit": "1024\rlisten = 0.0.0.0:9000"},
        {"log_limit": "1024\x00"},
        {"log_limit\nlisten": "0.0.0.0:9000"},
        {"log_limit = 1024 ; ": "1"},
        {"": "1"},
    ],
    ids=["newline", "return", "nul", "name-newline", "name-syntax", "name-empty"],
)
async def test_injected_settings(anyio_backend: object, argument: str, setting: dict[str, str]) -> None:
    """No name and no value can smuggle in another setting: they are refused before FPM is started."""
    fpm = LocalFPM(**{"system_ini": False, argument: setting})  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=r"line break or NUL|not the name of"):
        await fpm.__aenter__()
    assert not fpm.directory.exists()


@pytest.mark.parametrize(
    "settings",
    [
        {"pool": {"listen": "/tmp/elsewhere.sock"}},
        {"pool": {"pm.max_children": "9"}},
        {"global_settings": {"pid": "x"}},
    ],
    ids=["listen", "max_children", "pid"],
)
async def test_own_settings(anyio_backend: object, settings: dict[str, Any]) -> None:
    """Settings that LocalFPM's own promises rest on cannot be overridden behind its back."""
    with pytest.raises(ConfigurationError, match="LocalFPM sets this itself"):
        await LocalFPM(system_ini=False, **settings).__aenter__()


async def test_entering_twice(anyio_backend: object) -> None:
    """An instance that is running refuses to be entered again, and goes on running."""
    async with LocalFPM(max_children=1, system_ini=False) as fpm:
        with pytest.raises(ConfigurationError, match="was entered before"):
            await fpm.__aenter__()
        assert settings_inside(fpm.address)["pid"] in fpm.worker_pids()


async def test_long_temporary_directory(start_fpm: StartFPM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where TMPDIR is too long for the path of a unix socket, a shorter place is taken."""
    deep = tmp_path / ("deep" * 20)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    fpm = await start_fpm(max_children=1)
    assert settings_inside(fpm.address)["pid"] in fpm.worker_pids()
    assert deep not in fpm.directory.parents


def test_shared_instance(fpm: LocalFPM, scripts: Path) -> None:
    """The session's instance serves tests that know no event loop."""
    assert fpm.max_children == 4
    answer = raw_request(fpm.address, scripts / "settings.php")
    assert json.loads(answer.body)["pid"] in fpm.worker_pids()

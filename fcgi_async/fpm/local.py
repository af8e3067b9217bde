"""LocalFPM: a private php-fpm for development, tests, demo and benchmarks.

Theory of operation. Python does not start php-fpm itself. It starts a guard, a shell script of a dozen lines in a
session of its own (so that Ctrl-C reaches only Python). The guard starts FPM and waits for two things:

- FPM ends, for any reason: the guard kills the workers that outlived their master, and ends. So the guard always ends
last, and waiting for the guard means waiting for FPM. - something comes on its standard input: a line is the order to
kill FPM. An end of file means that Python has ended, even by SIGKILL, because the kernel always closes the pipe; then
the guard removes the directory too.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import anyio
import attrs
from anyio.abc import ByteStream, Process

from fcgi_async.errors import ConfigurationError
from fcgi_async.fpm.binary import find_opcache, find_php_fpm
from fcgi_async.fpm.ini import format_section, format_setting
from fcgi_async.fpm.processes import group_is_alive, worker_pids
from fcgi_async.job.numbers import is_whole

__all__ = ("LocalFPM",)

POOL_NAME = "www"
STATUS_PATH = "/status"
POLL_INTERVAL = 0.005
# SIGTERM ends FPM within milliseconds; if it does not, it is killed.
STOP_TIMEOUT = 5.0
PORT_ATTEMPTS = 5
# sun_path holds 107 bytes and NUL on Linux.
LONGEST_SOCKET_PATH = 107
OWN_GLOBAL_SETTINGS = frozenset({"pid", "error_log", "daemonize"})
_SET_ON_ENTERING = ("address", "directory", "status_address")
OWN_POOL_SETTINGS = frozenset(
    {"listen", "listen.backlog", "pm", "pm.max_children", "pm.status_path", "pm.status_listen"}
)

# The reader takes the lifeline as descriptor 3, because a shell gives background commands an empty standard input.
# FPM makes its own process group for master and workers; before that, it is in the guard's group.
GUARD = """
directory=$1; shift
exec 3<&0
"$@" </dev/null 3<&- &
master=$!
( read -r _ <&3 || rm -rf "$directory"; kill -KILL "$master" ) 2>/dev/null &
reader=$!
wait "$master"
kill -KILL "$reader"
wait "$reader"
kill -KILL "-$master"
kill -KILL -$$
"""


@attrs.define(eq=False)
class LocalFPM:
    """A private php-fpm with one pool, running while its context is entered.

        async with LocalFPM(max_children=4) as fpm, Dispatcher(fpm.address, max_children=fpm.max_children) as php:
            ...

    It uses a temporary directory that only the calling user can enter, runs PHP as that user (also as root) and ends
    with the context: after an error, after a cancellation, and even if the Python process is killed. It works on
    asyncio and on trio, on Linux.

    Entering raises `ConfigurationError` if no php-fpm is found, if FPM refuses the settings (the message quotes FPM's
    own) or if FPM is not ready within `startup_timeout`. Cancelling it while it starts stops what was started.

    Args:
        max_children: workers of the pool, at least 1.
        pm: FPM's process manager.
        listen: "unix" for a socket in the directory, "tcp" for a free port of 127.0.0.1.
        backlog: the listen queue's length, FPM's `listen.backlog`.
        ini: PHP settings as in php.ini (`{"memory_limit": "64M"}`); scripts may change them if PHP allows it. Put
            settings that scripts must not change into `pool` as `php_admin_value[...]`.
        pool: further settings of the pool's section, `{"pm.max_requests": "3", "env[HOME]": "/srv"}`.
        global_settings: further settings of the `[global]` section.
        system_ini: whether the system's php.ini and extensions are loaded. Opcache is always loaded if it is installed.
        binary: path or name of the php-fpm to run; None to look for one, see `find_php_fpm`.
        startup_timeout: seconds until FPM must be ready.

    Attributes:
        directory: the directory of the sockets, the configuration and the log; it is removed after the context.
        address: the pool's address: `unix:///tmp/.../fpm.sock` or `tcp://127.0.0.1:port`; `start` does not change it.
        status_address: the address for requests of `/status`, which FPM answers even while all workers are busy.
    """

    max_children: int = attrs.field(default=4, kw_only=True)
    pm: Literal["static", "dynamic", "ondemand"] = attrs.field(default="static", kw_only=True)
    listen: Literal["unix", "tcp"] = attrs.field(default="unix", kw_only=True)
    backlog: int = attrs.field(default=511, kw_only=True)
    ini: Mapping[str, str] = attrs.field(factory=dict, kw_only=True)
    pool: Mapping[str, str] = attrs.field(factory=dict, kw_only=True)
    global_settings: Mapping[str, str] = attrs.field(factory=dict, kw_only=True)
    system_ini: bool = attrs.field(default=True, kw_only=True)
    binary: str | None = attrs.field(default=None, kw_only=True)
    startup_timeout: float = attrs.field(default=10.0, kw_only=True)

    directory: Path = attrs.field(init=False)
    address: str = attrs.field(init=False)
    status_address: str = attrs.field(init=False)
    _command: list[str] = attrs.field(init=False)
    _guard: Process | None = attrs.field(init=False, default=None)

    def __attrs_post_init__(self) -> None:
        for name in ("max_children", "backlog"):
            value: object = getattr(self, name)
            if not is_whole(value):
                raise ConfigurationError(f"LocalFPM({name}) must be a whole number, not {value!r}")
        if self.listen not in ("unix", "tcp"):
            raise ConfigurationError(f'LocalFPM(listen) must be "unix" or "tcp", not {self.listen!r}')

    def __getattr__(self, name: str) -> object:
        # called only for attributes that are not set yet
        hint = "; it is set inside `async with LocalFPM(...) as fpm:`" if name in _SET_ON_ENTERING else ""
        raise AttributeError(f"this LocalFPM has no {name!r}{hint}", name=name, obj=self)

    async def __aenter__(self) -> Self:
        if self._guard is not None:
            raise ConfigurationError("this LocalFPM was entered before; make a new one for each `async with`")
        binary = find_php_fpm(self.binary)
        self.directory = make_private_directory()
        try:
            self.status_address = f"unix://{self.directory}/status.sock"
            self._command = await self._command_line(binary)
            await self._start_on_free_address()
        except BaseException:
            await self._leave()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._leave()

    @property
    def pid(self) -> int:
        """The master's pid. A reload keeps it, stop and start do not.

        Raises:
            ConfigurationError: FPM is not running.
        """
        if self._guard is not None and self._guard.returncode is None and (pid := self._booted_pid()):
            return pid
        raise ConfigurationError("this LocalFPM is not running; use it inside `async with LocalFPM(...) as fpm:`")

    def worker_pids(self) -> list[int]:
        """The pids of the pool's current workers; empty if FPM is not running."""
        pid = self._booted_pid()
        return worker_pids(pid, POOL_NAME) if pid else []

    def log(self) -> str:
        """The text in FPM's error log so far, or on its standard error if FPM has not opened its log."""
        return read_text(self.directory / "fpm.log") or read_text(self.directory / "output")

    def signal(self, number: signal.Signals) -> None:
        """Send the master a signal: SIGQUIT stops it gracefully, SIGKILL kills its workers too; `wait` after either.

        Raises:
            ConfigurationError: FPM is not running.
        """
        os.kill(self.pid, number)

    async def wait(self) -> None:
        """Wait until FPM and its workers have ended; return at once if FPM is not running."""
        if self._guard is not None:
            await self._guard.wait()
        if group := self._booted_pid():
            while group_is_alive(group):  # noqa: ASYNC110 - the end of a grandchild sets no Event
                await anyio.sleep(POLL_INTERVAL)

    async def start(self) -> None:
        """Start FPM again at the same address, after `stop` or after its death; return when it is ready.

        Cancelling it stops what was started.

        Raises:
            ConfigurationError: FPM is running, refused to start, or was not ready in time.
        """
        if self._guard is not None and self._guard.returncode is None:
            raise ConfigurationError("this LocalFPM is running already")
        await self.stop()
        try:
            await self._launch()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Stop FPM and running scripts at once; do nothing if it is not running.

        It cannot be cancelled, and ends within a few seconds whatever FPM does.
        """
        if self._guard is None:
            return
        guard = self._guard
        with anyio.CancelScope(shield=True):
            if guard.returncode is None and (pid := self._booted_pid()):
                with anyio.move_on_after(STOP_TIMEOUT):
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGTERM)
                    await guard.wait()
            if guard.returncode is None and guard.stdin is not None:
                with suppress(anyio.BrokenResourceError):
                    await guard.stdin.send(b"kill\n")
            await guard.aclose()
            with anyio.move_on_after(STOP_TIMEOUT):
                await self.wait()
        self._guard = None
        self._pid_file.unlink(missing_ok=True)

    async def reload(self) -> None:
        """Reload FPM gracefully (SIGUSR2); return when the new workers are ready.

        That takes as long as the longest running script, up to `process_control_timeout` (10 s by default); after that
        FPM kills the script. Cancelling stops the waiting, not the reload.

        Raises:
            ConfigurationError: FPM is not running, or did not survive the reload.
        """
        before = self._boot_time()
        self.signal(signal.SIGUSR2)
        await self._wait_until_ready(before)

    @property
    def _pid_file(self) -> Path:
        return self.directory / "fpm.pid"

    def _booted_pid(self) -> int | None:
        text = read_text(self._pid_file)
        return int(text) if text else None

    def _boot_time(self) -> int | None:
        """When the master wrote its pid, in ns: that is its last step before it forks, at every start and reload."""
        try:
            status = self._pid_file.stat()
        except FileNotFoundError:
            return None
        return status.st_mtime_ns if status.st_size else None

    async def _command_line(self, binary: str) -> list[str]:
        command = [binary, "--nodaemonize", "--fpm-config", str(self.directory / "fpm.conf")]
        if os.geteuid() == 0:
            command.append("--allow-to-run-as-root")
        if not self.system_ini:
            command.append("-n")
            if opcache := await find_opcache(binary):
                command += ["-d", format_setting("zend_extension", opcache)]
        for name, value in self.ini.items():
            command += ["-d", format_setting(name, value)]
        return command

    def _write_configuration(self, listen: str) -> None:
        for own, settings in ((OWN_GLOBAL_SETTINGS, self.global_settings), (OWN_POOL_SETTINGS, self.pool)):
            if taken := own & settings.keys():
                raise ConfigurationError(
                    f"{', '.join(sorted(taken))}: LocalFPM sets this itself, from its own arguments; leave it out"
                )
        global_section = {
            "pid": str(self._pid_file),
            "error_log": str(self.directory / "fpm.log"),
            "daemonize": "no",
            "process_control_timeout": "10s",
        }
        pool_section = {
            "listen": listen,
            "listen.backlog": str(self.backlog),
            "pm": self.pm,
            "pm.max_children": str(self.max_children),
            "pm.status_path": STATUS_PATH,
            "pm.status_listen": self.status_address.removeprefix("unix://"),
            "catch_workers_output": "no",
            "clear_env": "no",
        }
        if self.pm == "dynamic":
            pool_section |= {"pm.min_spare_servers": "1", "pm.max_spare_servers": str(self.max_children)}
        if os.geteuid() == 0:
            pool_section |= {"user": "0", "group": str(os.getegid())}
        (self.directory / "fpm.conf").write_text(
            format_section("global", global_section | dict(self.global_settings))
            + format_section(POOL_NAME, pool_section | dict(self.pool))
        )

    async def _start_on_free_address(self) -> None:
        for remaining in reversed(range(PORT_ATTEMPTS)):
            listen = f"{self.directory}/fpm.sock" if self.listen == "unix" else f"127.0.0.1:{find_free_port()}"
            self.address = f"unix://{listen}" if self.listen == "unix" else f"tcp://{listen}"
            self._write_configuration(listen)
            try:
                await self.start()
            except ConfigurationError as error:
                # Another process may take the port between our check and FPM's.
                if self.listen == "unix" or not remaining or "Address already in use" not in error.message:
                    raise
            else:
                return

    async def _launch(self) -> None:
        with (self.directory / "output").open("wb") as output, anyio.CancelScope(shield=True):
            self._guard = await anyio.open_process(
                ["/bin/sh", "-c", GUARD, "fcgi-async-guard", str(self.directory), *self._command],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        with anyio.move_on_after(self.startup_timeout):
            await self._wait_until_ready(None)
            return
        raise ConfigurationError(f"php-fpm was not ready within {self.startup_timeout} s; its log: {self.log()!r}")

    async def _wait_until_ready(self, before: int | None) -> None:
        """Wait until the master has booted since `before`, has its first workers, and its socket accepts."""
        while self._boot_time() in (None, before) or len(self.worker_pids()) < self._first_workers:
            if self._guard is None or self._guard.returncode is not None:
                raise ConfigurationError(f"php-fpm did not start: {self._complaint()}")
            await anyio.sleep(POLL_INTERVAL)
        await self._connect_once()

    @property
    def _first_workers(self) -> int:
        return {"static": self.max_children, "dynamic": 1, "ondemand": 0}[self.pm]

    async def _connect_once(self) -> None:
        scheme, _, place = self.address.partition("://")
        try:
            if scheme == "unix":
                stream: ByteStream = await anyio.connect_unix(place)
            else:
                host, _, port = place.rpartition(":")
                stream = await anyio.connect_tcp(host, int(port))
        except OSError as error:
            raise ConfigurationError(f"php-fpm has started, but {self.address} does not accept: {error}") from error
        # A silent connection occupies a worker for up to 5 s.
        await stream.aclose()

    def _complaint(self) -> str:
        """FPM's last message before it gave up, in one line."""
        lines = read_text(self.directory / "output").splitlines() or self.log().splitlines()
        unstamped = [re.sub(r"^\[[^]]*\] ", "", line) for line in lines]
        errors = [line for line in unstamped if line.startswith(("ERROR:", "ALERT:", "EMERG:"))]
        return "; ".join(errors or unstamped) or "it ended without a message"

    async def _leave(self) -> None:
        await self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)


def make_private_directory() -> Path:
    """Make a temporary directory whose sockets have paths short enough for the kernel."""
    for base in (tempfile.gettempdir(), "/tmp", "/var/tmp"):
        if len(os.fsencode(f"{base}/fcgi-xxxxxxxx/status.sock")) <= LONGEST_SOCKET_PATH:
            return Path(tempfile.mkdtemp(prefix="fcgi-", dir=base))
    raise AssertionError("/tmp is short enough")


def find_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def read_text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except FileNotFoundError:
        return ""

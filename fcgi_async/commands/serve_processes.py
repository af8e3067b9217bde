"""Serve a site by several processes, which accept from the same sockets."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from typing import Final, Self

import anyio
import attrs
from anyio.abc import Process

from fcgi_async.commands.listening import Listening
from fcgi_async.commands.serve_options import ServeOptions

__all__ = ("Member", "supervise")

_VARIABLE: Final = "FCGI_ASYNC_SERVE_MEMBER"
# seconds until a process that ended by itself is restarted
_PAUSE: Final = 1.0
_WRONG_USAGE: Final = 2


@attrs.frozen
class Member:
    """One of the processes, as started by the first one.

    Attributes:
        lifeline: a pipe that reaches its end when the first process has ended.
    """

    lifeline: int

    @classmethod
    def of_environment(cls) -> Self | None:
        """Return the values from the environment that the first process set; None if this is the first process."""
        text = os.environ.get(_VARIABLE, "")
        return cls(int(text)) if text.isdecimal() else None

    async def wait_for_end(self, stop: anyio.Event) -> None:
        """Set an event when the first process has ended."""
        await anyio.wait_readable(self.lifeline)
        stop.set()


@attrs.define(eq=False)
class _Supervisor:
    _chosen: ServeOptions
    _listening: Sequence[Listening]
    _verbose: bool
    _lifeline: int
    _processes: dict[int, Process] = attrs.field(factory=dict, init=False)
    _stopping: anyio.Event = attrs.field(factory=anyio.Event, init=False)
    _code: int = attrs.field(default=0, init=False)

    async def run(self) -> int:
        async with anyio.create_task_group() as group:
            for number in range(self._chosen.processes):
                group.start_soon(self._keep, number)
            group.start_soon(self._stop_by_signal)
            await self._stopping.wait()
            for process in self._processes.values():
                _signal(process, signal.SIGTERM)
            while self._processes:  # noqa: ASYNC110 - each is waited for by a task of its own
                await anyio.sleep(0.05)
            group.cancel_scope.cancel()
        return self._code

    async def _keep(self, number: int) -> None:
        while not self._stopping.is_set():
            process = await self._start(number)
            self._processes[number] = process
            try:
                code = await process.wait()
            finally:
                del self._processes[number]
            if self._stopping.is_set():
                return
            if code == _WRONG_USAGE:
                # the next one would fail in the same way
                self._code = code
                self._stopping.set()
                return
            print(f"fcgi-async: process {process.pid} ended with {code}; starting another one", file=sys.stderr)
            await anyio.sleep(_PAUSE)

    async def _start(self, number: int) -> Process:
        descriptors = [one.socket.fileno() for one in self._listening]
        return await anyio.open_process(
            [sys.executable, "-m", "fcgi_async", "serve", *self._arguments(number, descriptors)],
            stdin=None,
            stdout=None,
            stderr=None,
            env={**os.environ, _VARIABLE: str(self._lifeline)},
            pass_fds=[*descriptors, self._lifeline],
        )

    def _arguments(self, number: int, descriptors: Sequence[int]) -> list[str]:
        """Return the options of one process; jobs beside the site run in only one of them."""
        chosen = self._chosen
        status = [] if chosen.status is None else [descriptors[-1]]
        options: dict[str, object] = {
            "front": chosen.front,
            "scripts": chosen.scripts,
            "fpm": chosen.fpm,
            "max-children": chosen.workers,
            "reserve": chosen.reserve,
            "processes": chosen.processes,
            "tls-cert": chosen.certificate and chosen.certificate.cert,
            "tls-key": chosen.certificate and chosen.certificate.key,
            "kept": chosen.kept,
            "worker": chosen.worker,
            "tasks": chosen.tasks,
            "schedules": chosen.schedules,
            "jobs": chosen.jobs if number == 0 else None,
            "status": f"fd:{status[0]}" if status else None,
        }
        flags = {
            "http2": chosen.server == "hypercorn" and not chosen.trio,
            "trio": chosen.trio,
            "verbose": self._verbose,
            "health": chosen.health,
            "dev": chosen.dev,
            "production": not chosen.dev,
        }
        return [
            str(chosen.root),
            *(f"--{name}={value}" for name, value in options.items() if value is not None),
            *(f"--{name}" for name, value in flags.items() if value),
            *(f"--host={host}" for host in chosen.hosts or ()),
            *(f"--listen=fd:{fd}" for fd in descriptors if fd not in status),
        ]

    async def _stop_by_signal(self) -> None:
        with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async for _ in signals:
                if self._stopping.is_set():
                    for process in self._processes.values():
                        _signal(process, signal.SIGTERM)
                self._stopping.set()


async def supervise(chosen: ServeOptions, listening: Sequence[Listening], *, verbose: bool) -> int:
    """Serve by the requested number of processes, until a signal; return the exit code.

    A process that ends by itself is restarted. When this process ends, for any reason, the others end too.

    Args:
        chosen: the options of the site.
        listening: the listening sockets; the last one is the status socket if there is one.
        verbose: whether they log the library's work.
    """
    end, kept = os.pipe()
    try:
        return await _Supervisor(chosen, listening, verbose, end).run()
    finally:
        os.close(kept)
        os.close(end)


def _signal(process: Process, number: signal.Signals) -> None:
    if process.returncode is None:
        process.send_signal(number)

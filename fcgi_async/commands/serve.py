"""`fcgi-async serve`: serve a PHP application, and run jobs beside it on the same workers."""

from __future__ import annotations

import argparse
import inspect
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from importlib.util import find_spec
from typing import Final, cast

import anyio
import attrs
from anyio.abc import TaskStatus

from fcgi_async.asgi import HealthRoutes, PHPApplication
from fcgi_async.asgi.protocol import Application
from fcgi_async.commands.access_log import AccessLog, Visit, json_line, readable_line, write_messages
from fcgi_async.commands.errors import UsageError
from fcgi_async.commands.listening import Listening, listen
from fcgi_async.commands.named import load_named, load_schedules, load_tasks
from fcgi_async.commands.serve_options import ServeOptions, add_serve_options
from fcgi_async.commands.serve_pool import SITE_PRIORITY, open_dispatcher
from fcgi_async.commands.serve_processes import Member, supervise
from fcgi_async.commands.serve_status import StatusSocket
from fcgi_async.commands.stdio import STDERR
from fcgi_async.commands.terminal import has_colours
from fcgi_async.dispatch.dispatcher import Dispatcher
from fcgi_async.jobs.client import Jobs
from fcgi_async.jobs.worker import Worker

__all__ = ("add_arguments", "backend", "execute")

# seconds that requests and jobs have to end after a signal
_CLOSE_WITHIN: Final = 20.0
_PRIVATE: Final = 0o600
# what a shell reports for a program ended by SIGINT
_INTERRUPTED: Final = 128 + 2

Beside = Callable[[Dispatcher], Awaitable[object]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_serve_options(parser)


def backend(options: argparse.Namespace) -> tuple[str, dict[str, object]]:
    """Return the event loop of the command, as anyio's options: trio, or uvloop if it is installed.

    Raises:
        UsageError: trio was requested but is not installed.
    """
    if options.trio:
        if find_spec("trio") is None:
            raise UsageError("--trio needs trio: pip install 'fcgi-async[http2,trio]'")
        return "trio", {}
    return "asyncio", {"use_uvloop": find_spec("uvloop") is not None}


async def execute(options: argparse.Namespace) -> int:
    """Serve until a signal; return the exit code.

    Raises:
        UsageError: an option, or something that it names, cannot be used, or the server is not installed.
        FastCGIError: PHP-FPM or a database cannot be used.
        OSError: an address is in use.
    """
    chosen = ServeOptions.parse(options)
    serve = _server(chosen)
    beside = None if chosen.jobs is None else _load_jobs(chosen.jobs)
    member = Member.of_environment()
    listening: list[Listening] = []
    try:
        for address in chosen.listen:
            listening.append(listen(address))
        status = None if chosen.status is None else listen(chosen.status, option="--status", mode=_PRIVATE)
        if status is not None:
            listening.append(status)
        if chosen.processes > 1 and member is None:
            _greet(chosen, [one for one in listening if one is not status])
            return await supervise(chosen, listening, verbose=options.verbose)
        return await _Site(chosen, listening, status, member, beside, serve).run()
    finally:
        for one in listening:
            one.close()


# serves an application on sockets until the event is set
Serve = Callable[[Application, Sequence[Listening], anyio.Event], Awaitable[None]]


@attrs.define(eq=False)
class _Site:
    """One process that serves the site."""

    _chosen: ServeOptions
    _listening: Sequence[Listening]
    _status: Listening | None
    _member: Member | None
    _beside: Beside | None
    _serve: Serve
    _stop: anyio.Event = attrs.field(factory=anyio.Event, init=False)
    _failure: Exception | None = attrs.field(default=None, init=False)
    _hurried: bool = attrs.field(default=False, init=False)

    async def run(self) -> int:
        log = AccessLog(self._write)
        async with open_dispatcher(self._chosen, shutdown_timeout=_CLOSE_WITHIN) as php:
            php.observe(log)
            app = log.around(self._application(php))
            if self._chosen.health:
                # outside of the access log, which probes would fill
                app = HealthRoutes(app, dispatcher=php)
            if self._status is not None:
                app = StatusSocket(app, php, self._status.name)
            async with self._worker(php) as worker:
                await self._live(app, php, worker)
            if self._hurried:
                # the server has abandoned running requests
                await php.aclose(timeout=0)
        if self._failure is not None:
            raise self._failure
        return _INTERRUPTED if self._hurried else 0

    async def _live(self, app: Application, php: Dispatcher, worker: Worker | None) -> None:
        async with anyio.create_task_group() as group:
            await group.start(self._stop_by_signal, group.cancel_scope)
            if self._member is not None:
                group.start_soon(self._member.wait_for_end, self._stop)
            if self._beside is not None:
                group.start_soon(self._guard, partial(self._beside, php))
            worked = anyio.Event()
            if worker is not None:
                group.start_soon(self._guard, worker.run, worked)
            if self._member is None:
                _greet(self._chosen, [one for one in self._listening if one is not self._status])
            await self._serve(app, self._listening, self._stop)
            self._stop.set()
            if worker is not None:
                worker.stop()
                await worked.wait()
            group.cancel_scope.cancel()

    async def _guard(self, function: Callable[[], Awaitable[object]], done: anyio.Event | None = None) -> None:
        """Run a job function beside the site; if it fails, so does the command."""
        try:
            await function()
        except Exception as error:
            self._failure = self._failure or error
            self._stop.set()
        finally:
            if done is not None:
                done.set()

    async def _stop_by_signal(self, scope: anyio.CancelScope, *, task_status: TaskStatus[None]) -> None:
        """Finish running work at the first signal, and end at once at the second."""
        with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            task_status.started()
            async for _ in signals:
                if self._stop.is_set():
                    self._hurried = True
                    scope.cancel()
                    return
                self._stop.set()

    @asynccontextmanager
    async def _worker(self, php: Dispatcher) -> AsyncIterator[Worker | None]:
        if self._chosen.worker is None or self._chosen.tasks is None:
            yield None
            return
        tasks = load_tasks(self._chosen.tasks)
        schedules = [] if self._chosen.schedules is None else load_schedules(self._chosen.schedules)
        async with Jobs(self._chosen.worker) as jobs:
            yield Worker(php, jobs, tasks, schedules=schedules, shutdown_timeout=_CLOSE_WITHIN)

    def _application(self, php: Dispatcher) -> Application:
        chosen = self._chosen
        return PHPApplication(
            chosen.root,
            dispatcher=php,
            front=chosen.front,
            scripts=chosen.scripts,
            hosts=chosen.hosts,
            priority=SITE_PRIORITY,
        )

    def _write(self, visit: Visit) -> None:
        if self._chosen.dev:
            print(readable_line(visit, colour=has_colours(STDERR)), file=sys.stderr, flush=True)
        else:
            print(json_line(visit), flush=True)
        write_messages(visit, colour=has_colours(STDERR))


def _greet(chosen: ServeOptions, listening: Sequence[Listening]) -> None:
    """Print what is served, where, and by how many workers."""
    scheme = "http" if chosen.certificate is None else "https"
    places = ", ".join(one.url(scheme) for one in listening)
    if chosen.fpm is None:
        by = f"a private PHP-FPM with {chosen.workers} workers"
    else:
        by = f"{chosen.workers - chosen.reserve} of the {chosen.workers} workers at {chosen.fpm}"
    _say(f"serving {chosen.root} on {places}, by {by}")
    if not (chosen.root / chosen.front).is_file():
        _say(f"{chosen.root} has no {chosen.front}, so a path without a file is answered with 404")
    if chosen.dev and not all(one.is_local for one in listening):
        _say("other machines can connect, and are shown PHP's errors; give --production to hide them")


def _say(what: str) -> None:
    """Write a line to standard error."""
    print(f"fcgi-async: {what}", file=sys.stderr, flush=True)


def _server(chosen: ServeOptions) -> Serve:
    """Return the function that serves an application."""
    try:
        if chosen.server == "uvicorn":
            from fcgi_async.commands.uvicorn_server import serve_with_uvicorn

            async def serve(app: Application, listening: Sequence[Listening], stop: anyio.Event) -> None:
                await serve_with_uvicorn(
                    app,
                    [one.socket for one in listening],
                    stop=stop,
                    certificate=chosen.certificate,
                    within=_CLOSE_WITHIN,
                )

            return serve
        from fcgi_async.commands.hypercorn_server import serve_with_hypercorn

        async def serve_http2(app: Application, listening: Sequence[Listening], stop: anyio.Event) -> None:
            sockets = [one.socket for one in listening]
            await serve_with_hypercorn(
                app, sockets, stop=stop, certificate=chosen.certificate, within=_CLOSE_WITHIN, trio=chosen.trio
            )

        return serve_http2
    except ImportError as error:
        raise UsageError(str(error)) from error


def _load_jobs(name: str) -> Beside:
    value = load_named("--jobs", name, example="app.jobs:nightly")
    if not inspect.iscoroutinefunction(value):
        raise UsageError(f"--jobs {name}: this is not an async function, such as `async def jobs(php): ...`")
    return cast(Beside, value)

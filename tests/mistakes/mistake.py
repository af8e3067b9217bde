"""A mistake, and the words that its message must have."""

from __future__ import annotations

import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import attrs
import pytest

from fcgi_async import Dispatcher, Job, LocalFPM
from fcgi_async.jobs import Jobs, Task
from tests.conftest import SCRIPTS

ECHO = str(SCRIPTS / "echo.php")
JOB = Job(ECHO)
TASK = Task("mail", ECHO)
# never connected to
ADDRESS = "unix:///nowhere/fpm.sock"


@attrs.frozen
class Here:
    """What mistakes are made with.

    Args:
        fpm: a PHP-FPM that runs.
        folder: an empty folder.
        monkeypatch: takes away what the mistake supposes not to be there.
    """

    fpm: LocalFPM
    folder: Path
    monkeypatch: pytest.MonkeyPatch

    @asynccontextmanager
    async def php(self, **settings: object) -> AsyncIterator[Dispatcher]:
        """An entered dispatcher on that PHP-FPM."""
        async with Dispatcher(self.fpm.address, max_children=2, **settings) as php:  # type: ignore[arg-type]
            yield php

    def jobs(self) -> Jobs:
        """A database that is not open yet."""
        return Jobs(self.folder / "jobs.db")

    def write(self, name: str, text: str) -> Path:
        """Write a file."""
        path = self.folder / name
        path.write_text(text)
        return path

    def hide(self, package: str, *modules: str) -> None:
        """Have a package missing, and the modules that need it not imported yet."""
        self.monkeypatch.setitem(sys.modules, package, None)
        for module in modules:
            self.monkeypatch.delitem(sys.modules, module, raising=False)


@attrs.frozen
class Mistake:
    """A mistake.

    Args:
        name: what is done wrong.
        cause: does it; what it returns is awaited if it can be.
        error: the type of the error.
        what: what happened, in words that the message must have.
        where: the option, path, endpoint or value.
        cure: what to do.
    """

    name: str
    cause: Callable[[Here], object]
    error: type[BaseException]
    what: str
    where: str
    cure: str


async def enter(context: AbstractAsyncContextManager[object]) -> None:
    """Enter a context, and leave it."""
    async with context:
        pass


async def run_at(address: str, job: Job = JOB, **settings: object) -> None:
    """Run a job with a dispatcher of its own."""
    async with Dispatcher(address, max_children=1, **settings) as php:  # type: ignore[arg-type]
        (await php.run(job)).raise_for_status()


def bind(path: Path, kind: socket.SocketKind) -> str:
    """Leave a socket behind on which nobody listens, and return its address."""
    with socket.socket(socket.AF_UNIX, kind) as left:
        left.bind(str(path))
    return f"unix://{path}"

"""Running `fcgi-async`: in this process where that is enough, else as a process of its own."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import attrs
import pytest

from fcgi_async.cli import main
from fcgi_async.fpm import LocalFPM
from tests.fpm.process_group import living_members
from tests.jobs.conftest import jobs_url, mariadb, postgres

__all__ = ("jobs_url", "mariadb", "postgres")

SCRIPTS = Path(__file__).parent / "scripts"
# generous, because a busy machine is no failure
SECONDS = 30.0
POLL_INTERVAL = 0.005


@attrs.frozen
class Result:
    """How a command ended."""

    code: int
    out: bytes
    err: str

    def assert_one_line(self) -> None:
        """Whatever went wrong is said in one line, without a traceback."""
        assert self.err.startswith("fcgi-async: ")
        assert self.err.endswith("\n")
        assert self.err.count("\n") == 1


class RunCommand(Protocol):
    """Runs `fcgi-async` to its end."""

    def __call__(self, *arguments: str | Path, stdin: bytes = b"") -> Result: ...


class StartCommand(Protocol):
    """Starts `fcgi-async` as a process, with pipes for its standard streams."""

    def __call__(self, *arguments: str | Path) -> Started: ...


@attrs.define(eq=False)
class Started:
    """A `fcgi-async` that runs, and the private PHP-FPM that it may have started."""

    process: subprocess.Popen[bytes]
    directory: Path
    _master: int | None = attrs.field(default=None, init=False)

    def wait_for_fpm(self) -> None:
        """Return when its private PHP-FPM has booted."""
        wait_until(self._find_master)

    def _find_master(self) -> bool:
        for file in self.directory.glob("fcgi-*/fpm.pid"):
            if text := file.read_text():
                self._master = int(text)
        return self._master is not None

    def end(self) -> Result:
        """Close its standard input and return how it ended."""
        out, err = self.process.communicate(timeout=SECONDS)
        return Result(self.process.returncode, out, err.decode())

    def assert_fpm_is_gone(self) -> None:
        """Nothing of its PHP-FPM is left, neither processes nor files."""
        assert self.fpm_is_gone()
        assert list(self.directory.glob("fcgi-*")) == []

    def fpm_is_gone(self) -> bool:
        """Whether its PHP-FPM, which `wait_for_fpm` saw, and the workers have ended."""
        assert self._master is not None
        return not living_members(self._master)


def wait_until(condition: Callable[[], object]) -> None:
    """Return as soon as the condition holds."""
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"not true within {SECONDS} s: {condition!r}"
        time.sleep(POLL_INTERVAL)


@pytest.fixture
def command(capfdbinary: pytest.CaptureFixture[bytes]) -> Iterator[RunCommand]:
    """Run `fcgi-async` in this process, with its standard input from a pipe."""
    logger = logging.getLogger("fcgi_async")
    stderr = logging.getLogger("fcgi_async.stderr")
    handlers, level, stdin = logger.handlers, logger.level, os.dup(0)

    def run(*arguments: str | Path, stdin: bytes = b"") -> Result:
        with tempfile.TemporaryFile() as file:
            file.write(stdin)
            file.seek(0)
            os.dup2(file.fileno(), 0)
        code = main([str(argument) for argument in arguments])
        out, err = capfdbinary.readouterr()
        return Result(code, out, err.decode())

    yield run
    os.dup2(stdin, 0)
    os.close(stdin)
    logger.handlers, logger.level, stderr.propagate = handlers, level, True


@pytest.fixture
def start() -> Iterator[StartCommand]:
    """Start `fcgi-async` as processes that end with the test at the latest."""
    # pytest's own directories are too long for a socket's path
    directory = Path(tempfile.mkdtemp(prefix="cli-"))
    started: list[Started] = []

    def run(*arguments: str | Path) -> Started:
        process = subprocess.Popen(
            [sys.executable, "-m", "fcgi_async", *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "TMPDIR": str(directory)},
        )
        started.append(Started(process, directory))
        return started[-1]

    yield run
    for one in started:
        one.process.kill()
        one.process.wait()
        for stream in (one.process.stdin, one.process.stdout, one.process.stderr):
            if stream is not None and not stream.closed:
                with suppress(BrokenPipeError):
                    stream.close()
    shutil.rmtree(directory)


@pytest.fixture
def pool(fpm: LocalFPM) -> list[str]:
    """The options that name the PHP-FPM which all tests share."""
    return ["--fpm", fpm.address, "--max-children", str(fpm.max_children)]

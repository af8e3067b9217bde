"""What all tests share: the event loops they run on, and the real PHP-FPM they run against.

With `--loops=asyncio` the tests in the folders of `ONE_LOOP_WILL_DO` run on asyncio alone, unless they are marked
`every_loop`; all others run on each loop.

Nothing here skips: a machine without php-fpm fails every test that needs it, with LocalFPM's own message.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Protocol

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal

from fcgi_async.fpm import LocalFPM

SCRIPTS = Path(__file__).parent / "fpm" / "scripts"
# An FPM for the tests to share instead of one of their own, such as compose.yaml's: with 4 workers or more, the
# settings below, and the same files at the same paths, whoever it runs as.
FOREIGN_FPM = os.environ.get("FCGI_ASYNC_TEST_FPM")
# Enough for every test: errors go to STDERR instead of into the response, and output leaves when the script says so.
INI = {"display_errors": "off", "log_errors": "on", "html_errors": "off", "output_buffering": "0"}


# an event loop whose tasks begin before whoever starts them has them, where asyncio knows how
EAGER: list[Any] = []
if sys.version_info >= (3, 12):

    def eager_loop() -> asyncio.AbstractEventLoop:
        """asyncio's own loop with its eager task factory."""
        loop = asyncio.new_event_loop()
        loop.set_task_factory(asyncio.eager_task_factory)
        return loop

    EAGER = [pytest.param(("asyncio", {"use_uvloop": False, "loop_factory": eager_loop}), id="asyncio+eager")]


# what is tested there keeps books, or a peer: it looks the same to it whichever event loop moves the bytes
ONE_LOOP_WILL_DO = {"asgi", "cli", "dispatch", "gateway", "interop", "jobs", "telemetry", "testing"}
# what is tested there is what PHP-FPM does, or becomes of a worker
ONE_LOOP_WILL_DO_IN_FPM = ("test_fault_", "test_lingering", "test_local", "test_pool_status")
TESTS = Path(__file__).parent


def pytest_configure() -> None:
    """Take SIGINT again where a shell has the suite in the background, without job control: children inherit it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGQUIT, signal.SIG_DFL)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option."""
    loops = ("asyncio", "all")
    parser.addoption("--loops", choices=loops, default="all", help="on which event loops to test what keeps books")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the other event loops, with `--loops=asyncio`, where one will do."""
    if config.getoption("--loops") == "all":
        return
    needed = [item for item in items if needed_on_its_loop(item)]
    config.hook.pytest_deselected(items=[item for item in items if not needed_on_its_loop(item)])
    items[:] = needed


def needed_on_its_loop(item: pytest.Item) -> bool:
    """Whether a test proves something on this event loop that it does not prove on asyncio."""
    folder = item.path.relative_to(TESTS).parts[0] if item.path.is_relative_to(TESTS) else ""
    one_will_do = folder in ONE_LOOP_WILL_DO or (folder == "fpm" and item.path.name.startswith(ONE_LOOP_WILL_DO_IN_FPM))
    if not one_will_do or item.get_closest_marker("every_loop"):
        return True
    callspec: Any = getattr(item, "callspec", None)
    loop: Any = callspec.params.get("anyio_backend", "asyncio") if callspec else "asyncio"
    name, options = (loop, {}) if isinstance(loop, str) else loop
    return name == "asyncio" and not any(options.values())


class StartFPM(Protocol):
    """Starts a PHP-FPM of the test's own, with LocalFPM's arguments; it ends with the test."""

    async def __call__(self, **settings: Any) -> LocalFPM: ...


@pytest.fixture(
    params=[
        pytest.param(("asyncio", {"use_uvloop": False}), id="asyncio"),
        pytest.param(("asyncio", {"use_uvloop": True}), id="uvloop"),
        pytest.param(("trio", {}), id="trio"),
        *EAGER,
    ]
)
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """The event loops; every `@pytest.mark.anyio` test runs on each."""
    backend: tuple[str, dict[str, Any]] = request.param
    return backend


@pytest.fixture(scope="session")
def scripts() -> Path:
    """The folder of the PHP scripts that the tests run."""
    return SCRIPTS


@pytest.fixture(scope="session")
def fpm_portal() -> Iterator[BlockingPortal]:
    """An event loop in a thread of its own that keeps what lives as long as the session."""
    with start_blocking_portal() as portal:
        yield portal


@pytest.fixture(scope="session")
def fpm_here(fpm_portal: BlockingPortal) -> Iterator[LocalFPM]:
    """The same as `fpm`, and always of our own: for tests that look at its files, its socket or its processes."""
    shared = LocalFPM(max_children=4, system_ini=False, ini=INI)
    with fpm_portal.wrap_async_context_manager(shared):
        yield shared


@pytest.fixture(scope="session")
def fpm(request: pytest.FixtureRequest) -> LocalFPM:
    """A PHP-FPM with 4 static workers that all tests share: use it, do not reload, stop or saturate it for long."""
    if FOREIGN_FPM is None:
        here: LocalFPM = request.getfixturevalue("fpm_here")
        return here
    foreign = LocalFPM(max_children=4)
    foreign.address, foreign.status_address = FOREIGN_FPM, os.environ["FCGI_ASYNC_TEST_FPM_STATUS"]
    return foreign


if FOREIGN_FPM is not None:

    @pytest.fixture
    def tmp_path(tmp_path: Path) -> Path:
        """A folder that scripts of another user may write to."""
        tmp_path.chmod(0o777)
        for folder in tmp_path.parents[:2]:
            folder.chmod(0o711)
        return tmp_path


@pytest.fixture
async def start_fpm(anyio_backend: tuple[str, dict[str, Any]]) -> AsyncIterator[StartFPM]:
    """Start PHP-FPMs for this test alone, on its own event loop: `await start_fpm(max_children=1, backlog=1)`."""
    async with AsyncExitStack() as stack:

        async def start(**settings: Any) -> LocalFPM:
            ini = INI | dict(settings.pop("ini", {}))
            return await stack.enter_async_context(LocalFPM(**{"system_ini": False, "ini": ini, **settings}))

        yield start

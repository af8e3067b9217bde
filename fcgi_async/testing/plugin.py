"""pytest fixtures: `pytest_plugins = ["fcgi_async.testing.plugin"]` in the topmost conftest.py loads them.

They are ordinary, synchronous fixtures, so that tests may ask for them whatever runs their event loop: pytest-asyncio,
anyio or pytest-trio.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from anyio.from_thread import start_blocking_portal

try:
    import pytest
except ImportError as error:
    raise ImportError(
        "fcgi_async.testing.plugin needs pytest: pip install 'fcgi-async[testing]'", name=error.name, path=error.path
    ) from error

from fcgi_async.fpm.local import LocalFPM
from fcgi_async.testing.responder import Responder

__all__ = ("fcgi_responder", "local_fpm", "local_fpm_settings")


@pytest.fixture
def fcgi_responder() -> Iterator[Callable[..., Responder]]:
    """Make responders: `async with fcgi_responder(handler, ...) as responder`, with the arguments of `Responder`.

    The responder runs on the test's own event loop, and so do its handlers: they may share events with the test. A
    test that leaves one open has failed.
    """
    made: list[Responder] = []

    def make(*args: Any, **settings: Any) -> Responder:
        made.append(Responder(*args, **settings))
        return made[-1]

    yield make
    for responder in made:
        assert responder.open_connections == 0, f"the responder at {responder.address} was never left"


@pytest.fixture(scope="session")
def local_fpm_settings() -> Mapping[str, Any]:
    """The arguments of the `LocalFPM` that `local_fpm` is; a fixture of this name in your conftest.py replaces it."""
    return {"max_children": 4}


@pytest.fixture(scope="session")
def local_fpm(local_fpm_settings: Mapping[str, Any]) -> Iterator[LocalFPM]:
    """A private PHP-FPM that all tests of the session share: `local_fpm.address`, `local_fpm.max_children`.

    It is started when the first test asks for it, and runs on an event loop in a thread of its own. Do not stop or
    reload it: a test that does should enter a `LocalFPM` of its own.
    """
    fpm = LocalFPM(**local_fpm_settings)
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(fpm):
        yield fpm

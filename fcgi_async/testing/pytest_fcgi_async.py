"""pytest's plugin of fcgi_async, which pytest finds by itself.

The wheel has this file beside the package: pytest's start imports it, and a fixture that a test asks for the package.

The fixtures are synchronous, so that tests may ask for them whatever runs their event loop: pytest-asyncio, anyio or
pytest-trio, and those without an event loop too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from fcgi_async.fpm.local import LocalFPM
    from fcgi_async.testing import Responder

__all__ = ("fcgi_responder", "fcgi_responder_factory", "local_fpm", "local_fpm_settings")


@pytest.fixture
def fcgi_responder() -> Iterator[Responder]:
    """A `Responder` at work, for any test: `fcgi_responder.on("/x.php").reply(...)`, `fcgi_responder.address`.

    It runs in an event loop of its own, in a thread, and so do the functions that answer: what belongs to the test's
    loop is not for them. `reload()`, `stop_listening()` and `wait_for_requests()` need a responder of
    `fcgi_responder_factory`. An error that such a function raises fails the test at its end.
    """
    from anyio.from_thread import start_blocking_portal

    from fcgi_async.testing import Responder

    responder = Responder()
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(responder):
        yield responder


@pytest.fixture
def fcgi_responder_factory() -> Iterator[Callable[..., Responder]]:
    """Make responders: `async with fcgi_responder_factory(handler, ...) as responder`, with `Responder`'s arguments.

    The responder runs on the test's own event loop, and so do its handlers: they may share events with the test. A
    test that leaves one open has failed.
    """
    from fcgi_async.testing import Responder

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
    from anyio.from_thread import start_blocking_portal

    from fcgi_async.fpm.local import LocalFPM

    fpm = LocalFPM(**local_fpm_settings)
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(fpm):
        yield fpm

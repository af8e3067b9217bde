"""A dispatcher as one application sees it: defaults of its own, and everything else shared."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from pathlib import PurePosixPath
from typing import Any
from unittest import mock

import pytest

from fcgi_async import (
    ConfigurationError,
    Dispatcher,
    DispatcherClosed,
    Endpoint,
    InvalidJob,
    Job,
    QueueTimeout,
    RemoteProtocolError,
    Timeouts,
    View,
)
from fcgi_async.testing import Close, Request, Responder
from fcgi_async.wire.records import encode_params
from tests.dispatch.settled import settled
from tests.eventually import eventually

pytestmark = pytest.mark.anyio


class Seen:
    """A handler that keeps the parameters of each request."""

    def __init__(self) -> None:
        self.params: list[Mapping[str, str]] = []

    async def __call__(self, request: Request) -> str:
        self.params.append(dict(request.params))
        return "ok"


async def test_defaults_of_an_application() -> None:
    """Root, parameters and headers of a view reach PHP; the job's own replace them, and they the endpoint's."""
    seen = Seen()
    async with Responder(seen) as responder:
        endpoint = Endpoint(
            responder.address, max_children=1, root="/srv/other", params={"A": "endpoint", "B": "endpoint"}
        )
        async with Dispatcher(endpoint) as php:
            shop = php.view(
                root=PurePosixPath("/srv/shop"), params={"B": "view", "C": "view"}, headers={"Host": "shop.example"}
            )
            await shop.run(Job("index.php"))
            await shop.run(Job("index.php", params={"C": "job"}, headers={"Host": "job.example"}))
            await php.run(Job("index.php"))
    names = ("SCRIPT_FILENAME", "DOCUMENT_ROOT", "A", "B", "C", "HTTP_HOST")
    assert [[params.get(name) for name in names] for params in seen.params] == [
        ["/srv/shop/index.php", "/srv/shop", "endpoint", "view", "view", "shop.example"],
        ["/srv/shop/index.php", "/srv/shop", "endpoint", "view", "job", "job.example"],
        ["/srv/other/index.php", "/srv/other", "endpoint", "endpoint", None, "localhost"],
    ]


async def test_a_view_of_a_view() -> None:
    """Has the defaults of both, and its own first."""
    seen = Seen()
    async with Responder(seen) as responder:
        async with Dispatcher(responder.address, max_children=1) as php:
            outer = php.view(root="/srv/a", params={"A": "outer", "B": "outer"}, priority=3, headers=[("X", "outer")])
            inner = outer.view(params={"B": "inner"}, timeouts=Timeouts(total=5))
            assert isinstance(inner, View)
            await inner.run(Job("a.php"))
            async with inner.view(root="/srv/b").stream(Job("a.php")) as response:
                await response.aread()
    wanted = {"SCRIPT_FILENAME": "/srv/a/a.php", "A": "outer", "B": "inner", "HTTP_X": "outer"}
    assert seen.params[0].items() >= wanted.items()
    assert seen.params[1]["SCRIPT_FILENAME"] == "/srv/b/a.php"


WAYS: dict[str, Callable[[View, Job], Awaitable[object]]] = {}


def way(function: Callable[[View, Job], Awaitable[object]]) -> Callable[[View, Job], Awaitable[object]]:
    """Count it among the ways to hand in a job."""
    WAYS[function.__name__] = function
    return function


@way
async def run(view: View, job: Job) -> None:
    await view.run(job)


@way
async def run_all(view: View, job: Job) -> None:
    await view.run_all([job])


@way
async def stream(view: View, job: Job) -> None:
    async with view.stream(job) as response:
        await response.aread()


@way
async def over_map(view: View, job: Job) -> None:
    async with view.map([job]) as outcomes:
        async for outcome in outcomes:
            outcome.result()


@way
async def in_group(view: View, job: Job) -> None:
    async with view.group() as group:
        await group.submit(job)


@way
async def submit(view: View, job: Job) -> None:
    await (await view.submit(job))


@way
async def slot(view: View, job: Job) -> None:
    async with view.slot() as held:
        await held.run(job)


@pytest.mark.parametrize("name", WAYS)
async def test_every_way(name: str) -> None:
    """Every method of a view for jobs has its defaults, and is counted by the dispatcher."""
    seen = Seen()
    async with Responder(seen) as responder, Dispatcher(responder.address, max_children=1) as php:
        await WAYS[name](php.view(root="/srv/shop", params={"APP": "shop"}), Job("index.php"))
        await php.join()
        assert (await settled(php)).completed == 1
    assert (seen.params[0]["APP"], seen.params[0]["DOCUMENT_ROOT"]) == ("shop", "/srv/shop")


async def test_priority() -> None:
    """A view's counts for jobs that have 0, and for its slots."""
    order: list[str] = []

    async def script(request: Request) -> str:
        order.append(request.params["QUERY_STRING"])
        return "ok"

    async with Responder(script) as responder, Dispatcher(responder.address, max_children=1) as php:
        urgent = php.view(priority=5)
        php.pause()
        handles = [
            await php.submit(Job("/a.php", query="none")),
            await urgent.submit(Job("/a.php", query="view")),
            await urgent.submit(Job("/a.php", query="own", priority=7)),
            await urgent.submit(Job("/a.php", query="least", priority=-1)),
        ]
        php.resume()
        for handle in handles:
            await handle
    assert order == ["own", "view", "none", "least"]


async def test_timeouts() -> None:
    """A view's take the place of the dispatcher's; a job's own go first."""
    async with Responder(Seen()) as responder:
        async with Dispatcher(responder.address, max_children=1, timeouts=Timeouts(total=0)) as php:
            patient = php.view(timeouts=Timeouts())
            assert (await patient.run(Job("/a.php"))).text == "ok"
            for caller in (php, patient.view(timeouts=Timeouts(total=0))):
                with pytest.raises(QueueTimeout):
                    await caller.run(Job("/a.php"))
            with pytest.raises(QueueTimeout):
                await patient.run(Job("/a.php", timeout=0))


async def test_idempotent() -> None:
    """A job of an idempotent view is tried again though it may have run; one of the dispatcher is not."""
    asked: list[str] = []

    async def script(request: Request) -> str | Close:
        asked.append(request.params["SCRIPT_NAME"])
        # a part of the response has come: it has run
        return Close(after=20) if len(asked) % 2 else "ok"

    async with Responder(script) as responder, Dispatcher(responder.address, max_children=1) as php:
        assert (await php.view(idempotent=True).run(Job("/a.php"))).attempts == 2
        asked.clear()
        with pytest.raises(RemoteProtocolError) as caught:
            await php.view(idempotent=True).view(idempotent=False).run(Job("/a.php"))
        assert caught.value.may_have_run


async def test_it_lives_as_long_as_its_dispatcher() -> None:
    """It can be made before that is entered, and takes no jobs before or after."""
    seen = Seen()
    async with Responder(seen) as responder:
        php = Dispatcher(responder.address, max_children=1)
        view = php.view(root="/srv")
        with pytest.raises(DispatcherClosed, match="not entered yet"):
            await view.run(Job("a.php"))
        async with php:
            await view.run(Job("a.php"))
            await view.wait_room(1)
            assert view.room() == 1
        with pytest.raises(DispatcherClosed):
            await view.run(Job("a.php"))


class Observing:
    """An observer that adds a parameter to every job."""

    params: Mapping[str, str] = {"TRACE": "1"}
    ended = 0

    def job_submitted(self, job: Job) -> Observing:
        return self

    def done(self, report: object) -> None:
        self.ended += 1


async def test_it_is_observed() -> None:
    """The dispatcher's observers see the jobs of a view, and add to what it sends."""
    seen, observer = Seen(), Observing()
    async with Responder(seen) as responder, Dispatcher(responder.address, max_children=1) as php:
        php.observe(observer)
        await php.view(root="/srv", params={"A": "view"}).run(Job("a.php"))
        await eventually(lambda: observer.ended == 1)
    assert seen.params[0].items() >= {"A": "view", "TRACE": "1", "DOCUMENT_ROOT": "/srv"}.items()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"root": "srv"}, "root must be an absolute path on FPM's side, not 'srv'"),
        ({"params": {"PHP_VALUE": "x"}}, r"view\(\) at endpoint .*PHP_VALUE is refused"),
        ({"params": {"SCRIPT_FILENAME": "/x"}}, "would be sent twice"),
        ({"params": {"HTTP_A": "1"}, "headers": {"A": "2"}}, "a header becomes HTTP_A"),
        ({"params": [("A", "b")]}, "params must be a mapping"),
        ({"headers": {"Proxy": "x"}}, "HTTP_PROXY is refused"),
        ({"priority": 1.5}, r"view\(priority\) must be a whole number, not 1.5"),
        ({"timeouts": 3}, r"view\(timeouts\) must be a Timeouts"),
        ({"idempotent": 1}, r"view\(idempotent\) must be True or False, not 1"),
    ],
)
def test_what_cannot_work_is_refused(settings: dict[str, Any], message: str) -> None:
    """As it is by an endpoint, and where the view is made."""
    php = Dispatcher("unix:///run/fpm.sock", max_children=1)
    for owner in (php, php.view()):
        with pytest.raises(ConfigurationError, match=message):
            owner.view(**settings)


async def test_its_root_confines_its_jobs() -> None:
    """A script outside is refused, though the dispatcher itself may run it."""
    async with Responder(Seen()) as responder, Dispatcher(responder.address, max_children=1) as php:
        shop = php.view(root="/srv/shop")
        for script in ("../other.php", "/srv/other.php"):
            with pytest.raises(InvalidJob, match="leads out of"):
                await shop.run(Job(script))
        await php.run(Job("/srv/other.php"))


async def test_defaults_are_encoded_once() -> None:
    """A job costs the encoding of what it says itself, however much the view says."""
    async with Responder(Seen()) as responder, Dispatcher(responder.address, max_children=1) as php:
        shop = php.view(root="/srv/shop", params={f"P{n}": str(n) for n in range(50)})
        await shop.run(Job("index.php", query="a"))
        with (
            mock.patch("fcgi_async.dispatch.request.encode_pair") as encode_pair,
            mock.patch("fcgi_async.dispatch.request.encode_params", side_effect=encode_params) as encode,
        ):
            await shop.run(Job("index.php", query="b", params={"P7": "own", "REMOTE_ADDR": "10.0.0.1"}))
        encode_pair.assert_not_called()
        ((given,), _) = encode.call_args
        assert given.keys() == {"QUERY_STRING", "REQUEST_URI", "REQUEST_METHOD", "P7", "REMOTE_ADDR"}

"""ErrorResponses: what goes wrong with a job becomes a status of its own, where nothing was answered yet."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from fcgi_async import (
    ConnectError,
    ConnectionLost,
    Dispatcher,
    DispatcherClosed,
    Endpoint,
    FastCGIError,
    InvalidJob,
    Job,
    JobCancelled,
    JobTimeout,
    LocalFPM,
    Overloaded,
    QueueFull,
    QueueTimeout,
    RemoteProtocolError,
    ResponseTooLarge,
    ResponseTruncated,
)
from fcgi_async.asgi import ErrorResponses
from fcgi_async.asgi.protocol import Application, Receive, Scope, Send
from tests.asgi.client import Client

pytestmark = pytest.mark.anyio


def raises(error: Exception) -> Application:
    """An application that fails before it answers."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise error

    return app


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (InvalidJob, 400),
        (QueueFull, 503),
        (QueueTimeout, 503),
        (DispatcherClosed, 503),
        (Overloaded, 503),
        (JobTimeout, 504),
        (ConnectError, 502),
        (ConnectionLost, 502),
        (RemoteProtocolError, 502),
        (ResponseTooLarge, 502),
        (ResponseTruncated, 502),
    ],
)
async def test_status(
    kind: type[FastCGIError], status: int, caplog: pytest.LogCaptureFixture, anyio_backend: object
) -> None:
    """Each error has its status, 503 says when to come again, and the log has what the client is not told."""
    client = Client()
    with caplog.at_level(logging.WARNING, "fcgi_async.asgi"):
        await client.request(ErrorResponses(raises(kind("the secret reason")), retry_after=7), path="/thumb")
    assert (client.status, client.headers.get(b"retry-after")) == (status, b"7" if status == 503 else None)
    assert b"secret" not in client.sent[1]["body"]
    assert caplog.messages == [f"/thumb is answered with {status}: the secret reason"]


@pytest.mark.parametrize(
    ("request_of_client", "status"),
    [
        ({"headers": [(b"x-long", b"x" * 70_000)]}, 431),
        ({"headers": [(b"content-type", b"x" * 70_000)]}, 431),
        ({"query_string": b"x" * 70_000}, 414),
        ({"path": "/" + "x" * 70_000}, 414),
        ({"headers": [(b"proxy", b"http://evil.example")]}, 400),
        ({"headers": [(b"x-a", b"1"), (b"x_a", b"2")]}, 400),
        ({"method": "GET /"}, 400),
    ],
    ids=["header", "content type", "query", "path", "forbidden header", "two headers of one name", "method"],
)
async def test_requests_that_make_no_job(
    php: Dispatcher, request_of_client: dict[str, Any], status: int, caplog: pytest.LogCaptureFixture
) -> None:
    """A client whose request cannot be passed on to PHP is told that the request is at fault, not the server."""
    client = Client()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        uri = f"{scope['path']}?{scope['query_string'].decode()}"
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        await php.run(Job("respond.php", uri=uri, method=scope["method"], headers=headers))

    with caplog.at_level(logging.WARNING, "fcgi_async.asgi"):
        await client.request(ErrorResponses(app), **request_of_client)
    assert client.status == status
    assert client.sent[1]["body"].startswith(f"{status} ".encode())
    assert f"is answered with {status}" in caplog.text
    assert len(caplog.text) < 1000


async def test_a_long_query_of_a_job(php: Dispatcher) -> None:
    """The query that is given apart from a URI is part of the target too; other parameters are not."""
    jobs: list[tuple[dict[str, Any], int]] = [
        ({"query": {"q": "x" * 65_520}}, 414),
        ({"params": {"NAME": "x" * 70_000}}, 400),
    ]
    for job, status in jobs:
        client = Client()

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            await php.run(Job("respond.php", **job))  # noqa: B023 - called at once

        await client.request(ErrorResponses(app))
        assert client.status == status


async def test_status_of_invalid_jobs_of_ones_own(anyio_backend: object) -> None:
    """An application that makes every job itself says 500 of those that are not valid, whatever is wrong."""
    client, error = Client(), InvalidJob("long")
    error.too_long = "QUERY_STRING"
    await client.request(ErrorResponses(raises(error), statuses={InvalidJob: 500}))
    assert client.status == 500


async def test_other_errors_pass(anyio_backend: object) -> None:
    """A mistake of the handler is not dressed up, be it ours or not."""
    for error in (JobCancelled("bad"), LookupError("bad")):
        with pytest.raises(type(error), match="bad"):
            await Client().request(ErrorResponses(raises(error)))


async def test_a_group_of_errors(anyio_backend: object) -> None:
    """A group is answered as its first where all in it would be, however deep they are."""
    client = Client()
    await client.request(
        ErrorResponses(raises(ExceptionGroup("", [ExceptionGroup("", [JobTimeout("late")]), QueueFull("full")])))
    )
    assert client.status == 504
    with pytest.raises(ExceptionGroup):
        await Client().request(ErrorResponses(raises(ExceptionGroup("", [JobTimeout("late"), LookupError()]))))


async def test_never_after_the_response_has_begun(anyio_backend: object) -> None:
    """An error in the middle of a response is the server's to report."""
    client = Client()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise JobTimeout("late")

    with pytest.raises(JobTimeout):
        await client.request(ErrorResponses(app))
    assert len(client.sent) == 1


async def test_statuses_of_ones_own(anyio_backend: object) -> None:
    """The most derived class decides; what has no status passes."""
    client, statuses = Client(), {FastCGIError: 500, QueueFull: 429}
    await client.request(ErrorResponses(raises(QueueFull("full")), statuses=statuses))
    assert (client.status, client.headers.get(b"retry-after")) == (429, None)
    with pytest.raises(JobTimeout):
        await Client().request(ErrorResponses(raises(JobTimeout("late")), statuses={}))


async def test_a_deadline_that_passes(fpm: LocalFPM, scripts: Path, tmp_path: Path) -> None:
    """A real job behind its deadline is a 504 to the client."""
    client = Client()
    async with Dispatcher(Endpoint(fpm.address, max_children=1, root=str(scripts))) as php:

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            query = {"marks": str(tmp_path / "marks"), "gate": str(tmp_path / "gate")}
            await php.run(Job("wait.php", query=query, run_timeout=0.05))

        await client.request(ErrorResponses(app))
        (tmp_path / "gate").touch()
    assert client.status == 504

"""The test kit's responder, asked by our own dispatcher: what handlers see, and what their answers become."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
import pytest

from fcgi_async import Dispatcher, Job
from fcgi_async.testing import Reply, Request, Responder, Role

pytestmark = pytest.mark.anyio


async def ok(request: Request) -> str:
    return "ok"


@pytest.mark.parametrize("address", [None, "tcp"])
async def test_handler_answers(address: str | None) -> None:
    """Text becomes a response with PHP's own head, over a unix socket and over TCP."""
    async with Responder(ok, address) as responder, Dispatcher(responder.address, max_children=2) as php:
        response = await php.run(Job("/srv/a.php"))
    assert (response.status, response.text) == (200, "ok")
    assert response.headers["content-type"] == "text/html; charset=UTF-8"


async def test_handler_sees_the_request() -> None:
    """Script, method, target, headers and body are those of the job."""
    async with Responder(ok) as responder, Dispatcher(responder.address, max_children=1) as php:
        await php.run(Job("/srv/a.php", uri="/orders/7?x=1", json={"id": 7}, headers={"X-Trace": "abc"}))
        (seen,) = responder.requests
        assert (seen.script, seen.method, seen.uri, seen.query) == ("/srv/a.php", "POST", "/orders/7?x=1", "x=1")
        assert (seen.headers["x-trace"], seen.headers["Content-Type"]) == ("abc", "application/json")
        assert (seen.role, seen.keep_conn, seen.number, seen.connection_number) == (Role.RESPONDER, True, 1, 1)
        assert seen.ended


async def test_body_is_read_whole_and_again() -> None:
    """`body()` is all of it, also for a test that asks when the request is over."""

    async def echo(request: Request) -> bytes:
        return await request.body()

    body = bytes(range(256)) * 2000
    async with Responder(echo) as responder, Dispatcher(responder.address, max_children=1) as php:
        response = await php.run(Job("/srv/a.php", content=body))
        assert response.content == body
        assert await responder.requests[0].body() == body


async def test_body_is_streamed_both_ways() -> None:
    """Each part of the body is answered as it comes."""

    async def shout(request: Request) -> Reply:
        async def parts() -> AsyncIterator[bytes]:
            async for part in request:
                yield part.upper()

        return Reply(201, {"Content-Type": "text/plain"}, parts())

    async with Responder(shout) as responder, Dispatcher(responder.address, max_children=1) as php:
        response = await php.run(Job("/srv/a.php", content=b"abc" * 50_000))
    assert (response.status, response.content) == (201, b"ABC" * 50_000)


async def test_reply_carries_everything() -> None:
    """Status, repeated headers, STDERR and app status arrive."""
    reply = Reply(404, [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")], "no", stderr="oh", app_status=7)

    async def handler(request: Request) -> Reply:
        return reply

    async with Responder(handler) as responder, Dispatcher(responder.address, max_children=1) as php:
        response = await php.run(Job("/srv/a.php"))
    assert (response.status, response.content, response.stderr, response.app_status) == (404, b"no", b"oh", 7)
    assert response.headers.get_list("set-cookie") == ["a=1", "b=2"]


async def test_handler_writes_by_itself() -> None:
    """A handler may write, log and end; what it does afterwards keeps its worker, as fastcgi_finish_request() does."""
    go_on = anyio.Event()

    async def handler(request: Request) -> None:
        await request.write_stdout("Content-type: text/plain\r\n\r\nhalf ")
        await request.write_stderr("logged")
        await request.write_stdout("done")
        await request.end(app_status=3)
        await go_on.wait()

    async with Responder(handler) as responder, Dispatcher(responder.address, max_children=1) as php:
        response = await php.run(Job("/srv/a.php"))
        assert (response.text, response.stderr, response.app_status) == ("half done", b"logged", 3)
        assert php.statistics().finishing == 1
        go_on.set()


async def test_silent_handler_is_an_empty_answer() -> None:
    """A handler that returns nothing has answered with an empty 200."""

    async def handler(request: Request) -> None:
        return None

    async with Responder(handler) as responder, Dispatcher(responder.address, max_children=1) as php:
        assert (await php.run(Job("/srv/a.php"))).content == b""


async def test_handler_that_raises() -> None:
    """The client sees what PHP sends after a fatal error; leaving the responder raises the handler's error."""

    async def handler(request: Request) -> None:
        raise LookupError("broken handler")

    with pytest.raises(LookupError, match="broken handler"):
        async with Responder(handler) as responder:
            async with Dispatcher(responder.address, max_children=1) as php:
                response = await php.run(Job("/srv/a.php"))
            assert response.status == 500
            assert b"broken handler" in response.stderr


async def test_error_of_the_test_comes_first() -> None:
    """A test that fails is not hidden by its handler's error."""

    async def handler(request: Request) -> None:
        raise LookupError

    with pytest.raises(ZeroDivisionError):
        async with Responder(handler) as responder, Dispatcher(responder.address, max_children=1) as php:
            await php.run(Job("/srv/a.php"))
            raise ZeroDivisionError


async def test_workers_bound_what_runs() -> None:
    """Two workers run two handlers; the others' connections wait in the backlog."""
    go_on = anyio.Event()

    async def handler(request: Request) -> str:
        await go_on.wait()
        return request.script

    async with Responder(handler, workers=2) as responder, Dispatcher(responder.address, max_children=2) as php:
        async with anyio.create_task_group() as tasks:
            for number in range(6):
                tasks.start_soon(php.run, Job(f"/{number}.php"))
            await responder.wait_for_requests(2)
            assert responder.running == 2
            go_on.set()
        assert (len(responder.requests), responder.most_at_once, responder.most_connections) == (6, 2, 2)
        assert {request.script for request in responder.requests} == {f"/{number}.php" for number in range(6)}


@pytest.mark.parametrize("text", ["a\r\nb", "a\nb"])
def test_header_with_a_line_break_is_refused(text: str) -> None:
    """A header cannot smuggle in another."""
    with pytest.raises(ValueError, match="not a header"):
        Reply(headers={"X-A": text})

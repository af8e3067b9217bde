"""What `Responder.on()` answers, and what a test asserts afterwards."""

from __future__ import annotations

import threading
from functools import partial
from typing import Any
from unittest.mock import Mock

import pytest
from anyio.from_thread import start_blocking_portal

from fcgi_async import ConfigurationError, ConnectionLost, Dispatcher, Job
from fcgi_async.testing import Close, Drip, Reply, Request, Reset, Responder
from tests.testing.wire_client import connected, request

pytestmark = pytest.mark.anyio


async def ask(responder: Responder, *jobs: Job) -> list[tuple[int, str]]:
    """Run jobs one after the other; return status and text of each."""
    async with Dispatcher(responder.address, max_children=1) as php:
        return [(response.status, response.text) for response in [await php.run(job) for job in jobs]]


def double(request: Request) -> Reply:
    """A plain function."""
    body: Any = request.json()
    return Reply(json={"twice": body["n"] * 2})


@pytest.mark.parametrize("handler", [double, partial(double), Mock(side_effect=double)])
@pytest.mark.parametrize("multiplex", [False, True])
async def test_plain_functions(handler: Any, multiplex: bool) -> None:
    """They are called once the body is there, however large it is."""
    async with Responder(handler, multiplex=multiplex) as responder:
        assert await ask(responder, Job("/a.php", json={"n": 4, "more": "x" * 300_000})) == [(200, '{"twice":8}')]


async def test_json_of_a_reply() -> None:
    """It has its content type, None is JSON too, and a header of the caller's goes first."""
    async with Responder() as responder, Dispatcher(responder.address, max_children=1) as php:
        responder.on().reply(json=None).reply(Reply(201, {"content-type": "application/problem+json"}, json=["ä"]))
        null, problem = [await php.run(Job("/a.php")) for _ in range(2)]
    assert (null.headers["content-type"], null.content) == ("application/json", b"null")
    assert problem.headers.get_list("content-type") == ["application/problem+json"]
    assert (problem.status, problem.json()) == (201, ["ä"])


@pytest.mark.parametrize("value", [{1}, object(), float("nan")])
def test_json_that_is_none(value: object) -> None:
    """It is refused where it is written."""
    with pytest.raises((TypeError, ValueError)):
        Reply(json=value)


def test_two_bodies_are_refused() -> None:
    """There is one."""
    with pytest.raises(ValueError, match="two bodies"):
        Reply(body="a", json=1)


async def test_what_requests_tell() -> None:
    """Text, JSON and form are there for a plain function, and for the test afterwards."""
    seen: list[object] = []

    def handler(request: Request) -> None:
        seen.append(request.form if "form" in request.headers["content-type"] else request.json())

    async with Responder(handler) as responder:
        await ask(
            responder,
            Job("/a.php", json={"id": 7}),
            Job("/a.php", form={"a": {"b": "ü"}, "c": ""}),
        )
    assert seen == [{"id": 7}, {"a[b]": "ü", "c": ""}]
    assert responder.requests[0].text == '{"id":7}'
    with pytest.raises(ValueError, match="'application/json', not application/x-www-form"):
        _ = responder.requests[0].form


async def test_a_body_that_was_not_read() -> None:
    """A coroutine function reads it first; otherwise the error says how."""

    async def handler(request: Request) -> str:
        with pytest.raises(RuntimeError, match=r"await request\.body\(\)"):
            request.json()
        return "ok"

    async with Responder(handler) as responder:
        assert await ask(responder, Job("/a.php", json=1)) == [(200, "ok")]
        with pytest.raises(RuntimeError, match="was not read"):
            responder.requests[0].json()
        with pytest.raises(AssertionError, match="the handler did not read its body"):
            responder.assert_asked_once("/a.php", json=1)


@pytest.mark.parametrize(
    ("expected", "job", "matches"),
    [
        ({"script": "/x.php"}, Job("/srv/app/x.php"), True),
        ({"script": "x.php"}, Job("/srv/app/x.php"), True),
        ({"script": "/srv/app/x.php"}, Job("/srv/app/x.php"), True),
        ({"script": "x.php"}, Job("/srv/app/max.php"), False),
        ({"script": "/app"}, Job("/srv/app/x.php"), False),
        ({"method": "post"}, Job("/x.php", json=1), True),
        ({"method": "POST"}, Job("/x.php"), False),
        ({"query": {"a": 1, "b": [2, 3]}}, Job("/x.php", query={"b": [2, 3], "a": 1}), True),
        ({"query": "b=2&a=1"}, Job("/x.php", query={"a": 1, "b": 2}), True),
        ({"query": {"a": 1}}, Job("/x.php", query={"a": 1, "b": 2}), False),
        ({"query": {}}, Job("/x.php"), True),
        ({"uri": "/orders/7"}, Job("/x.php", uri="/orders/7?a=1"), True),
        ({"uri": "/orders/7?a=1"}, Job("/x.php", uri="/orders/7?a=1"), True),
        ({"uri": "/orders/7?a=2"}, Job("/x.php", uri="/orders/7?a=1"), False),
        ({"uri": "/käse"}, Job("/x.php", uri="/käse"), True),
    ],
)
async def test_which_requests_match(expected: dict[str, Any], job: Job, matches: bool) -> None:
    """By the end of the script's name, method, target and query; the same for answers and assertions."""
    async with Responder() as responder:
        responder.on(**expected).reply("matched")
        [(status, text)] = await ask(responder, job)
    assert (status, text) == ((200, "matched") if matches else (404, "File not found.\n"))
    responder.assert_asked(**expected, times=int(matches))


async def test_answers_in_turn() -> None:
    """One for each request, the last one for all that follow; a list stands for its items."""
    async with Responder() as responder:
        route = responder.on("/x.php").reply(Reply(503), ["one", b"two"]).reply(lambda request: request.script)
        answers = await ask(responder, *[Job("/x.php")] * 5)
    assert answers == [(503, ""), (200, "one"), (200, "two"), (200, "/x.php"), (200, "/x.php")]
    assert route.requests == responder.requests


async def test_faults_and_coroutine_functions_answer_too() -> None:
    """An answer may be a fault, a coroutine function, or nothing."""

    async def slow(request: Request) -> bytes:
        return await request.body()

    async with Responder() as responder, Dispatcher(responder.address, max_children=1) as php:
        responder.on("/x.php").reply(Reset(), slow, None)
        with pytest.raises(ConnectionLost):
            await php.run(Job("/x.php", content="a"))
        assert [(await php.run(Job("/x.php", content="a"))).text for _ in range(2)] == ["a", ""]


async def test_the_last_one_made_answers() -> None:
    """So a test overrides what its fixture has set up; what none answers goes to the handler."""
    async with Responder(lambda request: "handler") as responder:
        responder.on("/x.php").reply("fixture")
        responder.on("/x.php", method="POST").reply("test")
        answers = await ask(responder, Job("/x.php"), Job("/x.php", json=1), Job("/y.php"))
    assert answers == [(200, "fixture"), (200, "test"), (200, "handler")]
    assert responder.unexpected == []


async def test_unexpected_requests() -> None:
    """They get PHP-FPM's answer for a missing script, and assertions show them."""
    async with Responder() as responder, Dispatcher(responder.address, max_children=1) as php:
        responder.on("/x.php").reply("ok")
        response = await php.run(Job("/srv/y.php", json={"id": 7}))
    assert (response.status, response.text, response.stderr) == (404, "File not found.\n", b"Primary script unknown")
    assert [request.script for request in responder.unexpected] == ["/srv/y.php"]
    with pytest.raises(AssertionError) as failed:
        responder.assert_all_asked()
    assert str(failed.value) == (
        "the requests are not as expected:\n"
        "  /x.php was expected but never asked for\n"
        "  1. POST /srv/y.php json={'id': 7} was asked, and there was no answer to it"
    )


async def test_assertions_return_what_was_asked() -> None:
    """The requests, for more questions."""
    async with Responder() as responder:
        responder.on().reply("ok")
        await ask(responder, Job("/x.php", json={"id": 7}, headers={"X-Trace": "abc"}), Job("/y.php", form="a=1&b=2"))
    assert responder.assert_asked_once("/x.php", json={"id": 7}, headers={"x-trace": "abc"}).number == 1
    assert responder.assert_asked_once("/y.php", form={"b": 2, "a": 1}, body="a=1&b=2").number == 2
    assert responder.assert_asked(times=2) == responder.requests == responder.assert_asked()
    assert responder.assert_asked_once(params={"CONTENT_LENGTH": "7"}).script == "/y.php"
    responder.assert_not_asked("/z.php")
    responder.assert_not_asked("/x.php", json=[])
    responder.assert_all_asked()


async def test_a_failed_assertion_shows_what_came() -> None:
    """Each request with what is different in it."""
    async with Responder() as responder:
        responder.on("/x.php").reply("ok")
        await ask(
            responder,
            Job("/srv/x.php", json={"id": 8}),
            Job("/srv/y.php", query={"a": 1}),
            Job("/srv/x.php", uri="/orders/7", content="x" * 300),
        )
    with pytest.raises(AssertionError) as failed:
        responder.assert_asked_once("/x.php", json={"id": 7})
    assert str(failed.value) == (
        "one request for /x.php with json={'id': 7} was expected, and none of the 3 that came are that\n"
        "  1. POST /srv/x.php json={'id': 8} <- another json\n"
        "  2. GET /srv/y.php query='a=1' <- another script, and there was no answer to it\n"
        f"  3. POST /srv/x.php uri='/orders/7' body=b'{'x' * 193}... <- another json"
    )


async def test_a_failed_assertion_of_one_too_many() -> None:
    """It shows those that are as expected too."""
    async with Responder(lambda request: "ok") as responder:
        await ask(responder, Job("/x.php"), Job("/x.php"))
    with pytest.raises(
        AssertionError, match=r"^one request for /x.php was expected, and 2 of the 2 that came are that"
    ):
        responder.assert_asked_once("/x.php")
    with pytest.raises(AssertionError, match=r"(?s)^no request for x.php was expected.* 1\. GET /x.php <- as expected"):
        responder.assert_not_asked("x.php")


def test_nothing_was_asked() -> None:
    """The message says so."""
    with pytest.raises(AssertionError) as failed:
        Responder().assert_asked()
    assert str(failed.value) == "at least one request for any script was expected, and nothing was asked at all"


def test_a_misspelt_fact() -> None:
    """It is no expectation that is always met."""
    misspelt: Any = {"jsn": 1}
    with pytest.raises(TypeError, match="'jsn' is nothing that is asked for; write one of method, uri, query, json"):
        Responder().assert_not_asked("/x.php", **misspelt)


@pytest.mark.parametrize(
    ("answer", "hint"),
    [(404, r"not 404; write Reply\(404\)"), ({"id": 7}, r"write Reply\(json="), (Drip(), "not Drip"), (Reply, None)],
)
def test_what_is_no_answer(answer: Any, hint: str | None) -> None:
    """It is refused where it is written, with what to write; a class is a function."""
    route = Responder().on("/x.php")
    if hint is None:
        route.reply(answer)
        return
    with pytest.raises(TypeError, match=hint):
        route.reply(answer)


def test_answers_or_arguments() -> None:
    """Not both: it would not be said which answer they are for."""
    with pytest.raises(TypeError, match="takes answers, or the arguments of one Reply"):
        Responder().on().reply("ok", status=404)


def test_a_handler_that_is_no_function() -> None:
    """The error says how a fixed answer is written."""
    wrong: Any = "ok"
    with pytest.raises(ConfigurationError, match=r"responder\.on\(\)\.reply"):
        Responder(wrong)


async def test_close_after_a_part() -> None:
    """A fault strikes in the answer that follows it in the handler's place."""
    async with Responder() as responder:
        responder.on().reply(Close(after=10))
        client = await connected(responder.address)
        with client.sock:
            await client.send(request())
            with pytest.raises(EOFError):
                await client.answer()


def test_another_loop() -> None:
    """What only the responder's own loop can do is refused elsewhere, with the way out."""
    responder = Responder()
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(responder):
        for act in (responder.reload, responder.stop_listening):
            with pytest.raises(ConfigurationError, match="fcgi_responder_factory"):
                act()
        portal.call(responder.reload)
        assert threading.current_thread() is threading.main_thread()

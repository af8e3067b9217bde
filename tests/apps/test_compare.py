"""That what differs is seen, and what may differ is not."""

from __future__ import annotations

from datetime import date

import httpx
import pytest

from tests.apps.application import Application
from tests.apps.compare import Answer, differences
from tests.apps.conftest import APPLICATIONS
from tests.apps.crawl import fields
from tests.apps.noise import Noise
from tests.apps.one_day import on_one_day

NGINX = b"<html>\r\n<head><title>404 Not Found</title></head>\r\n<body>\r\n<hr><center>nginx</center>\r\n</body>\r\n"


def answer(body: bytes = b"a page", status: int = 200, **headers: str) -> Answer:
    """An answer to a request."""
    pairs = [(name.replace("_", "-"), value) for name, value in headers.items()]
    response = httpx.Response(status, headers=pairs, content=body, request=httpx.Request("GET", "http://a.test/b"))
    return Answer.of(response)


@pytest.mark.parametrize(
    "other",
    [
        answer(b"another page"),
        answer(b"a page\n"),
        answer(status=201),
        answer(x_more="1"),
        answer(etag='"1"', x_page="other"),
    ],
)
def test_a_difference_is_shown(other: Answer) -> None:
    """In the body, its end, the status, and in a header."""
    assert differences(answer(), other, ()).startswith("GET /b\n")


def test_the_order_of_cookies_counts() -> None:
    """A browser takes the last one of a name; the order of other headers does not matter."""
    one = Answer("", 200, (("set-cookie", "a=1"), ("set-cookie", "a=2")), b"")
    other = Answer("", 200, (("set-cookie", "a=2"), ("set-cookie", "a=1")), b"")
    assert differences(one, other, ()) != ""
    assert differences(answer(a="1", b="2"), answer(b="2", a="1"), ()) == ""


def test_what_belongs_to_the_server_is_not_compared() -> None:
    """Its name, the time, how a body ends, and the page it has for an error of its own."""
    assert differences(answer(date="now", server="a"), answer(date="then", transfer_encoding="chunked"), ()) == ""
    own = answer(b"404 Not Found\n", 404, content_type="text/plain; charset=utf-8")
    assert differences(answer(NGINX, 404, content_type="text/html"), own, ()) == ""
    assert differences(answer(NGINX, 404, content_type="text/html"), answer(b"403 Forbidden\n", 403), ()) != ""


def test_noise_is_what_its_group_finds() -> None:
    """And what stands beside it is compared."""
    noise = Noise("random", r"token=(\d+)")
    assert differences(answer(b"token=1"), answer(b"token=23"), [noise]) == ""
    assert differences(answer(b"token=1"), answer(b"tokem=1"), [noise]) != ""


@pytest.mark.parametrize("kind", APPLICATIONS, ids=lambda kind: kind.name)
def test_noise_leaves_a_page_what_it_is(kind: type[Application]) -> None:
    """What is left out of every application's pages is no ordinary text, nor a header that says how to treat a page."""
    text = (
        "status 200\naccept-ranges: bytes\n"
        "cache-control: no-cache\ncontent-type: text/html\nlocation: /a/b?c=d&page=12\nvary: Cookie\n"
        'etag: "6afb6108-43e"\nlast-modified: Mon, 16 Nov 2026 20:01:12 GMT\n\n'
        '<a href="/index.php?id=77&title=Page_1">Page 1</a> <p class="x">Something to read, 1234 times.</p>\n'
    )
    still = text
    for noise in kind.noise:
        still = noise.still(still)
    assert still == text


def test_fields_of_a_form() -> None:
    """Those of the form that is meant, with their values."""
    page = '<form id="a"><input name="x" value="1"></form><form id="b"><input name="y" value="2"><input type="submit">'
    assert fields(page, 'id="b"') == {"y": "2"}
    assert fields(page) == {"x": "1", "y": "2"}


@pytest.mark.parametrize(("second_day", "asked"), [(1, 1), (2, 2)])
def test_midnight_between_two_answers(second_day: int, asked: int) -> None:
    """What was asked for on two days is asked for once more."""
    days = iter([date(2026, 1, 1), date(2026, 1, second_day)])
    times: list[int] = []
    on_one_day(lambda: times.append(1), lambda: next(days))
    assert len(times) == asked

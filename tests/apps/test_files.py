"""Files are sent as nginx sends them: whole, in part, not at all if the client has them, and only their head."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from fcgi_async import LocalFPM
from tests.apps.compare import Answer, differences
from tests.apps.database import Database
from tests.apps.fronts import nginx, ours
from tests.apps.raw_targets import Decisions
from tests.apps.visitor import Visitor, visitor

_MODIFIED = 1_700_000_000
_DATE = "Tue, 14 Nov 2023 22:13:20 GMT"
_LATER, _EARLIER = "Wed, 15 Nov 2023 22:13:20 GMT", "Mon, 13 Nov 2023 22:13:20 GMT"
# of ten thousand bytes
_TAG = f'"{_MODIFIED:x}-2710"'

Visitors = tuple[Visitor, Visitor]


@pytest.fixture(scope="module")
def visitors(apps_fpm: LocalFPM, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Visitors]:
    """One of nginx and one of ours, before the same files."""
    folder = tmp_path_factory.mktemp("files")
    site = Decisions(folder, Database(folder))
    site.prepare()
    for name, size in (("a.css", 10_000), ("empty.txt", 0), ("large.bin", 3_000_000), ("a.svg", 100), ("b.JPG", 9)):
        (site.root / name).write_bytes(bytes(n % 251 for n in range(size)))
    for path in site.root.rglob("*"):
        # a file that was changed this second has a weak tag, since it may change again
        os.utime(path, (_MODIFIED, _MODIFIED))
    with ExitStack() as stack:
        fronts = [
            stack.enter_context(make(site, apps_fpm.address, tmp_path_factory.mktemp("front")))
            for make in (nginx, ours)
        ]
        one, other = (stack.enter_context(visitor(site.url, front.port)) for front in fronts)
        yield one, other


CONDITIONS = {
    "none": {},
    "its tag": {"If-None-Match": _TAG},
    "its tag, weak": {"If-None-Match": f"W/{_TAG}"},
    "one of several tags": {"If-None-Match": f'"x", {_TAG}'},
    "any tag": {"If-None-Match": "*"},
    "another tag": {"If-None-Match": '"x"'},
    "another tag, and its date": {"If-None-Match": '"x"', "If-Modified-Since": _DATE},
    "its date": {"If-Modified-Since": _DATE},
    "nonsense for a date": {"If-Modified-Since": "yesterday"},
    "to have its tag": {"If-Match": _TAG},
    "to have another tag": {"If-Match": '"x"'},
    "to have any": {"If-Match": "*"},
    "unchanged": {"If-Unmodified-Since": _DATE},
    "unchanged since later": {"If-Unmodified-Since": _LATER},
    "unchanged since before": {"If-Unmodified-Since": _EARLIER},
}
RANGES = {
    "the first ten": {"Range": "bytes=0-9"},
    "from the middle": {"Range": "bytes=5000-"},
    "the last five": {"Range": "bytes=-5"},
    "more than there is": {"Range": "bytes=-20000"},
    "beyond the end": {"Range": "bytes=9990-20000"},
    "after the end": {"Range": "bytes=10000-"},
    "nothing": {"Range": "bytes=-0"},
    "another unit": {"Range": "pages=1-2"},
    "if it is the same": {"Range": "bytes=0-9", "If-Range": _TAG},
    "if it is another": {"Range": "bytes=0-9", "If-Range": '"x"'},
    "if it has its date": {"Range": "bytes=0-9", "If-Range": _DATE},
    "if it has another date": {"Range": "bytes=0-9", "If-Range": _EARLIER},
    "and has it": {"Range": "bytes=0-9", "If-None-Match": _TAG},
}


# a set of ranges that is none is ignored (RFC 9110, 14.2), and nginx answers it with 416
INVALID = {"the wrong way round": {"Range": "bytes=9-5"}, "nonsense": {"Range": "bytes=x-y"}}


def seen(client: Visitor, method: str, headers: dict[str, str]) -> Answer:
    """What comes for the file; 412 and 416 have a page of nginx, and here no body; 206 says no more than it has to."""
    response = client.request(method, "/a.css", headers=headers)
    if response.status_code in (412, 416):
        return Answer("", response.status_code, (("content-range", response.headers.get("content-range", "")),), b"")
    return Answer.of(response, leave_out=("accept-ranges",) if response.status_code == 206 else ())


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("headers", CONDITIONS.values(), ids=CONDITIONS)
def test_conditions(visitors: Visitors, headers: dict[str, str], method: str) -> None:
    """Each has the same status, headers and bytes."""
    one, other = (seen(client, method, headers) for client in visitors)
    assert differences(one, other, ()) == ""
    assert one.status in (200, 304, 412)


@pytest.mark.parametrize("headers", RANGES.values(), ids=RANGES)
def test_ranges(visitors: Visitors, headers: dict[str, str]) -> None:
    """Likewise."""
    one, other = (seen(client, "GET", headers) for client in visitors)
    assert differences(one, other, ()) == ""


@pytest.mark.parametrize("headers", INVALID.values(), ids=INVALID)
def test_invalid_ranges(visitors: Visitors, headers: dict[str, str]) -> None:
    """The file is sent whole."""
    assert [seen(client, "GET", headers).status for client in visitors] == [416, 200]


def test_ranges_of_a_head(visitors: Visitors) -> None:
    """There are none: only GET has ranges (RFC 9110, 14.2)."""
    assert [seen(client, "HEAD", {"Range": "bytes=0-9"}).status for client in visitors] == [206, 200]


@pytest.mark.parametrize("name", ["empty.txt", "large.bin", "a.svg", "b.JPG", "style.css", "sub/", "sub"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_kinds_of_files(visitors: Visitors, name: str, method: str) -> None:
    """So have files of any size and kind, and folders; the lengths are told."""
    one, other = (client.request(method, f"/{name}") for client in visitors)
    # what a redirect says to people has no type without a body
    left_out = ("content-type",) if (method, one.status_code) == ("HEAD", 301) else ()
    assert differences(Answer.of(one, leave_out=left_out), Answer.of(other, leave_out=left_out), ()) == ""
    if one.status_code == 200:
        assert one.headers["content-length"] == other.headers["content-length"]


def test_several_ranges(visitors: Visitors) -> None:
    """nginx sends them as parts of one body; here the file is sent whole, which RFC 9110, 14.2 leaves to a server."""
    one, other = (client.get("/a.css", headers={"Range": "bytes=0-9,20-29"}) for client in visitors)
    assert (one.status_code, other.status_code, len(other.content)) == (206, 200, 10_000)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_other_methods(visitors: Visitors, method: str) -> None:
    """A file is not written, nor deleted."""
    one, other = (client.request(method, "/a.css", content=b"x") for client in visitors)
    assert (one.status_code, other.status_code) == (405, 405)

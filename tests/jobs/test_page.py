"""The page of durable jobs, as ASGI has it."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from urllib.parse import urlencode

import attrs
import pytest

from fcgi_async import ConfigurationError
from fcgi_async.jobs import Jobs
from fcgi_async.jobs.page import JobsPage
from fcgi_async.jobs.page_html import LONGEST
from fcgi_async.jobs.record import Query, Record, Settlement, State
from tests.jobs.conftest import OpenJobs
from tests.jobs.records import job
from tests.jobs.test_store_conformance import lane
from tests.jobs.test_worker import task

pytestmark = pytest.mark.anyio

EVIL = "<script>alert('x')</script>\"'&"
DEAD: list[State] = ["dead"] * 60
MAIL = task("mail", queue="post")


@attrs.define
class Answer:
    """What the page answered."""

    status: int
    headers: dict[str, str]
    text: str


async def ask(
    page: JobsPage,
    query: str = "",
    *,
    method: str = "GET",
    form: Mapping[str, object] | bytes | None = None,
    **headers: str,
) -> Answer:
    """Send a request."""
    body = form if isinstance(form, bytes) else urlencode(form or {}, doseq=True).encode()
    chunks = [body[: len(body) // 2], body[len(body) // 2 :]]
    sent: list[dict[str, object]] = []

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": chunks.pop(0), "more_body": bool(chunks)}

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    given = {"host": "localhost:8788"} | {name.replace("_", "-"): value for name, value in headers.items()}
    scope = {
        "type": "http",
        "method": method,
        "path": "/jobs/",
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in given.items()],
    }
    await page(scope, receive, send)  # type: ignore[arg-type]
    start, end = sent
    pairs = start["headers"]
    assert isinstance(pairs, list)
    found = {name.decode(): value.decode() for name, value in pairs}
    content = end["body"]
    assert isinstance(content, bytes)
    return Answer(int(str(start["status"])), found, content.decode())


async def post(page: JobsPage, form: Mapping[str, object], **headers: str) -> Answer:
    """Send a form of the page, as its own."""
    return await ask(page, method="POST", form={"csrf": page._csrf(), **form}, **headers)


async def stuck(jobs: Jobs, *states: State, error: str = "") -> list[str]:
    """Put jobs that have ended so."""
    await jobs.store.register("w", [lane("mail", queue="post")])
    ids = [(await jobs.enqueue(MAIL)).id for _ in states]
    claimed = (await jobs.store.claim("w", [lane("mail", queue="post")], len(states), durable=False)).jobs
    for each, state in zip(claimed, states, strict=True):
        settlement = Settlement(
            number=each.number, id=each.id, attempt=1, state=state, error=error, stderr=f"log {error}"
        )
        await jobs.store.settle("w", [settlement])
    return ids


async def test_it_shows_counts_and_queues(open_jobs: OpenJobs) -> None:
    """Counts, queues with their age, running jobs by host, and those that are stuck, with their errors."""
    jobs = await open_jobs()
    dead, doubtful = await stuck(jobs, "dead", "in_doubt", error="PHP answered with status 500")
    await jobs.enqueue(MAIL)
    await jobs.store.put([job("nobody's", delay=60)])
    await jobs.enqueue(MAIL, priority=9)
    [running] = (await jobs.store.claim("w", [lane("mail", queue="post")], 1, durable=False)).jobs
    await jobs.pause("post")
    text = (await ask(jobs.page())).text
    for shown in ("PHP answered with status 500", "[log PHP answered", dead, doubtful, running.id, "post (paused)"):
        assert shown in text, shown
    [worker] = (await jobs.counts()).workers
    assert f"{worker.host} <span" in text
    assert f"process {worker.pid}" in text
    assert "of tasks that no worker has" in text
    assert '<a class="tile dead some" href="?state=dead"><b>1</b>' in text
    assert "<button" not in text
    assert "<form" not in text


async def test_a_list_and_a_job(open_jobs: OpenJobs) -> None:
    jobs = await open_jobs()
    ids = await stuck(jobs, *DEAD, error="why")
    first = (await ask(jobs.page(), "state=dead")).text
    following = re.search(r'href="\?(state=dead&amp;after=\d+)"', first)
    assert following
    second = (await ask(jobs.page(), following[1].replace("&amp;", "&"))).text
    assert all((id in first) != (id in second) for id in ids)
    assert "more</a>" not in second
    assert "There are none" in (await ask(jobs.page(), "state=done")).text
    one = (await ask(jobs.page(), f"id={ids[0]}")).text
    for shown in ("why", "log why", "1 claimed, 0 failed", "queue post", ids[0]):
        assert shown in one
    assert (await ask(jobs.page(), "id=none")).status == 404
    assert (await ask(jobs.page(), "state=nowhere")).status == 404
    assert (await ask(jobs.page(), "state=dead&after=x")).status == 200


async def test_a_job_with_much_data_is_read_in_part(open_jobs: OpenJobs) -> None:
    """The page says how long the data is in whole."""
    jobs = await open_jobs()
    handle = await jobs.enqueue(MAIL, "x" * 500_000)
    read: list[Query] = []
    find = jobs.store.find

    async def noted(query: Query) -> list[Record]:
        read.append(query)
        return await find(query)

    jobs.store.find = noted  # type: ignore[method-assign]
    text = (await ask(jobs.page(), f"id={handle.id}")).text
    assert [query.most for query in read] == [LONGEST]
    assert f"{'x' * (LONGEST - 1)} … (500,002 characters in all)" in text
    assert len(text) < LONGEST + 10_000


async def test_everything_is_escaped(open_jobs: OpenJobs) -> None:
    """Whoever may INSERT, and whatever PHP says, writes no HTML."""
    jobs = await open_jobs()
    await stuck(jobs, "dead", "in_doubt", error=EVIL)
    evil = job(EVIL, id=EVIL, data=EVIL, unique=EVIL, batch=EVIL, chain=EVIL, trace=EVIL)
    await jobs.store.put([evil])
    await jobs.store.register(f"w-{1}", [lane(EVIL, queue=EVIL)])
    await jobs.store.claim("w-1", [lane(EVIL, queue=EVIL)], 1, durable=False)
    await jobs.store.pause(EVIL, paused=True)
    page = jobs.page(actions=True)
    queries = ["", "state=running", "state=dead", urlencode({"id": EVIL}), urlencode({"id": EVIL + "x"})]
    for query in queries:
        answer = await ask(page, query)
        assert "&lt;script&gt;" in answer.text or query == "state=dead"
        assert "<script" not in answer.text
        assert "'x')" not in answer.text
    assert (await ask(page, urlencode({"id": EVIL}))).status == 200


async def test_it_can_be_read_only(open_jobs: OpenJobs) -> None:
    jobs = await open_jobs()
    [dead] = await stuck(jobs, "dead")
    form = {"action": "retry", "id": dead, "csrf": jobs.page(actions=True)._csrf()}
    answer = await ask(jobs.page(), method="POST", form=form)
    assert (answer.status, (await jobs.get(dead)).state) == (403, "dead")


async def test_a_person_decides(open_jobs: OpenJobs) -> None:
    """Retry and cancel, one job or several, pause and resume; then back to where it was done."""
    jobs = await open_jobs()
    dead, other, doubtful = await stuck(jobs, "dead", "dead", "in_doubt")
    page = jobs.page(actions=True)
    shown = (await ask(page, "state=dead")).text
    assert f'name="csrf" value="{page._csrf()}"' in shown
    assert shown.count('type="checkbox"') == 2
    answer = await post(page, {"action": "retry", "id": [dead, other], "back": "dead"})
    assert (answer.status, answer.headers["location"]) == (303, "?state=dead")
    assert {record.id for record in await jobs.find(states=["ready"])} == {dead, other}
    assert (
        (await post(page, {"action": "cancel", "id": doubtful, "back": "job"})).headers["location"].startswith("?id=")
    )
    assert (await jobs.get(doubtful)).state == "cancelled"
    assert (await post(page, {"action": "pause", "queue": "post"})).headers["location"] == "?"
    assert (await jobs.counts()).paused == ("post",)
    await post(page, {"action": "resume", "queue": "post"})
    assert (await jobs.counts()).paused == ()
    for form in ({"action": "drop"}, {"action": "retry"}, {"action": "pause", "queue": "a b"}):
        assert (await post(page, form)).status == 400


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"sec_fetch_site": "same-origin"}, 303),
        ({"sec_fetch_site": "cross-site"}, 403),
        ({"sec_fetch_site": "same-site"}, 403),
        ({"sec_fetch_site": "none"}, 403),
        ({"origin": "http://localhost:8788"}, 303),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({}, 303),
    ],
)
async def test_a_form_of_another_site_is_refused_by_the_page(
    open_jobs: OpenJobs, headers: dict[str, str], status: int
) -> None:
    jobs = await open_jobs()
    [dead] = await stuck(jobs, "dead")
    page = jobs.page(actions=True)
    assert (await post(page, {"action": "retry", "id": dead}, **headers)).status == status
    assert (await jobs.get(dead)).state == ("ready" if status == 303 else "dead")


async def test_a_form_needs_the_pages_own_mark(open_jobs: OpenJobs) -> None:
    jobs = await open_jobs()
    [dead] = await stuck(jobs, "dead")
    page = jobs.page(actions=True)
    for csrf in ("", "x", "é", jobs.page(actions=True)._csrf()):
        answer = await ask(page, method="POST", form={"action": "retry", "id": dead, "csrf": csrf})
        assert (answer.status, (await jobs.get(dead)).state) == (403, "dead")
    # pages with one token share it: any process of a service takes the form of any other
    assert jobs.page(token="t")._csrf() == jobs.page(token="t")._csrf() != jobs.page(token="u")._csrf()


async def test_the_page_needs_its_token(open_jobs: OpenJobs) -> None:
    jobs = await open_jobs()
    page = jobs.page(token="sécret:1")

    def basic(text: str) -> str:
        return f"Basic {base64.b64encode(text.encode()).decode()}"

    refused = await ask(page)
    assert (refused.status, refused.headers["www-authenticate"]) == (401, 'Basic realm="jobs", charset="UTF-8"')
    for wrong in ("Bearer x", "Bearer ", basic("sécret:1"), basic("me:x"), "Basic ???", "Digest x", basic("")):
        assert (await ask(page, authorization=wrong)).status == 401
    assert (await ask(page, authorization=basic("me:sécret:1"))).status == 200
    assert (await ask(jobs.page(token="abc"), authorization="bearer abc")).status == 200
    with pytest.raises(ConfigurationError, match="token"):
        jobs.page(token="")


@pytest.mark.parametrize(
    ("host", "status"),
    [("localhost", 200), ("LOCALHOST:80", 200), ("[::1]:80", 200), ("[::1]", 200), ("evil.example:80", 421), ("", 421)],
)
async def test_only_its_names_are_served(open_jobs: OpenJobs, host: str, status: int) -> None:
    """A name that somebody made point here gets nothing."""
    page = (await open_jobs()).page(hosts=("localhost", "[::1]"))
    assert (await ask(page, host=host)).status == status


async def test_the_headers_for_a_browser(open_jobs: OpenJobs) -> None:
    answer = await ask((await open_jobs()).page())
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'; style-src 'sha256-" in policy
    assert "frame-ancestors 'none'" in policy
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["content-length"] == str(len(answer.text.encode()))
    assert (await ask((await open_jobs()).page(), method="HEAD")).text == ""
    assert (await ask((await open_jobs()).page(), method="PUT")).status == 405


async def test_an_unreadable_request_is_refused(open_jobs: OpenJobs) -> None:
    page = (await open_jobs()).page(actions=True)
    assert (await ask(page, method="POST", form=b"x" * (65 << 10))).status == 413
    assert (await ask(page, method="POST", form=b"\xff")).status == 400
    assert (await ask(page, "&".join(f"a{number}=1" for number in range(999)))).status == 400


async def test_an_unreachable_database_is_reported(open_jobs: OpenJobs) -> None:
    jobs = await open_jobs()
    page = jobs.page()
    await jobs.store.aclose()
    answer = await ask(page)
    assert answer.status == 503
    assert "the database is closed" in answer.text


async def test_lifespan_and_websockets(open_jobs: OpenJobs) -> None:
    page = (await open_jobs()).page()
    messages = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    sent: list[object] = []

    async def receive() -> dict[str, str]:
        return messages.pop(0)

    async def send(message: dict[str, object]) -> None:
        sent.append(message["type"])

    await page({"type": "lifespan"}, receive, send)  # type: ignore[arg-type]
    await page({"type": "websocket"}, receive, send)  # type: ignore[arg-type]
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete", "websocket.close"]

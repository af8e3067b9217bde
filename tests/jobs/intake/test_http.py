"""Jobs that are put over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from fcgi_async import ConfigurationError
from fcgi_async.jobs import Jobs, Task

pytestmark = pytest.mark.anyio

MAIL = Task("mail", "/mail.php")
TOKEN = {"Authorization": "Bearer secret"}


@pytest.fixture
async def jobs(anyio_backend: tuple[str, dict[str, Any]], tmp_path: Path) -> AsyncIterator[Jobs]:
    """An empty database."""
    async with Jobs(f"sqlite://{tmp_path / 'jobs.db'}", payload_limit=1000) as jobs:
        yield jobs


@pytest.fixture
async def client(jobs: Jobs) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the intake, which gives its token."""
    transport = httpx.ASGITransport(app=jobs.intake(tasks=[MAIL], token="secret"))
    async with httpx.AsyncClient(transport=transport, base_url="http://test", headers=TOKEN) as client:
        yield client


async def test_a_job_is_put(client: httpx.AsyncClient, jobs: Jobs) -> None:
    """The answer has its id when it is on disk."""
    answer = await client.post("/", json={"task": "mail", "data": {"to": "a"}, "priority": 5})
    assert answer.status_code == 202
    record = await jobs.get(answer.json()["id"])
    assert (record.task, record.data, record.priority) == ("mail", '{"to":"a"}', 5)


async def test_a_request_with_an_id_can_be_repeated(client: httpx.AsyncClient, jobs: Jobs) -> None:
    """A request with the same Idempotency-Key puts one job."""
    for _ in range(2):
        answer = await client.post("/", json={"task": "mail"}, headers={"Idempotency-Key": "order-7"})
        assert (answer.status_code, answer.json()) == (202, {"id": "order-7"})
    assert (await jobs.counts()).states["ready"] == 1


async def test_many_at_once(client: httpx.AsyncClient, jobs: Jobs) -> None:
    """A list is put whole; a job whose unique key is held is told by the id of the holder."""
    first = await client.post("/", json=[{"task": "mail", "unique": "k", "id": "a"}, {"task": "mail", "id": "b"}])
    assert first.json() == [{"id": "a"}, {"id": "b"}]
    second = await client.post("/", json=[{"task": "mail", "unique": "k", "id": "c"}])
    assert second.json() == [{"id": "a", "duplicate": True}]
    assert (await jobs.counts()).states["ready"] == 2


async def test_one_bad_job_among_many(client: httpx.AsyncClient, jobs: Jobs) -> None:
    """Nothing is put of a list in which one can never become a job."""
    answer = await client.post("/", json=[{"task": "mail"}, {"task": "other"}])
    assert answer.status_code == 400
    assert "other" in answer.json()["error"]
    assert (await jobs.counts()).states["ready"] == 0


async def test_a_unique_key_that_is_held(client: httpx.AsyncClient) -> None:
    """One job answers 409, with the holder."""
    await client.post("/", json={"task": "mail", "unique": "k", "id": "a"})
    answer = await client.post("/", json={"task": "mail", "unique": "k"})
    assert (answer.status_code, answer.json()["id"]) == (409, "a")


@pytest.mark.parametrize(
    ("method", "settings", "status"),
    [
        ("GET", {}, 405),
        ("POST", {"content": b"{", "headers": {"Content-Type": "application/json"}}, 400),
        ("POST", {"json": {"task": "other"}}, 400),
        ("POST", {"json": []}, 400),
        ("POST", {"json": {"task": "mail"}, "headers": {"Authorization": "Bearer wrong"}}, 401),
        ("POST", {"json": {"task": "mail"}, "headers": {"Authorization": "Basic c2VjcmV0"}}, 401),
        ("POST", {"json": {"task": "mail"}, "headers": {"Idempotency-Key": "a b"}}, 400),
        ("POST", {"data": {"task": "mail"}}, 415),
        ("POST", {"content": b'{"task": "mail"}'}, 415),
        ("POST", {"json": {"task": "mail", "data": "x" * 1000}}, 413),
        ("POST", {"json": {"task": "mail", "data": "x" * 10_000}}, 413),
    ],
)
@pytest.mark.filterwarnings("ignore:Async generator 'httpx")  # it does not end what nobody reads
async def test_invalid_requests_are_refused(
    client: httpx.AsyncClient, method: str, settings: dict[str, Any], status: int
) -> None:
    """Each refusal has a status of its own, and says why."""
    answer = await client.request(method, "/", **settings)
    assert answer.status_code == status
    assert answer.json()["error"]


async def test_an_unreachable_database(jobs: Jobs, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """503, and when to come again."""
    await jobs.store.aclose()
    answer = await client.post("/", json={"task": "mail"})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    await jobs.store.open()


@pytest.mark.parametrize("anyio_backend", [("asyncio", {})], ids=["asyncio"])
@pytest.mark.parametrize("encoded_url", ["LATIN1"], indirect=True)
async def test_a_job_that_the_database_rejects(encoded_url: str) -> None:
    """It is the request's fault: sending it again would not help."""
    async with Jobs(encoded_url) as jobs:
        transport = httpx.ASGITransport(app=jobs.intake(tasks=[MAIL]))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            answer = await client.post("/", json={"task": "mail", "unique": "→"})
    assert answer.status_code == 400


def test_without_a_task_or_with_an_empty_token() -> None:
    """Neither can be meant."""
    jobs = Jobs("sqlite:///nowhere")
    with pytest.raises(ConfigurationError, match="name the tasks"):
        jobs.intake(tasks=[])
    with pytest.raises(ConfigurationError, match="token"):
        jobs.intake(tasks=[MAIL], token="")

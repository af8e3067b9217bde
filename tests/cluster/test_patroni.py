"""PostgreSQL under Patroni: its leader is killed, frozen, cut off and switched while jobs are put and run."""

from __future__ import annotations

import signal
import time as clock
from collections.abc import Callable, Iterator
from pathlib import Path

import anyio
import anyio.to_thread
import psycopg
import pytest

from tests.cluster.load import MOST_IN_HAND, Load, Seen, seconds_until, tell, workers
from tests.cluster.patroni import Cluster, Node
from tests.jobs.servers import perform

pytestmark = [pytest.mark.cluster, pytest.mark.anyio, pytest.mark.timeout(600)]

# of each run; ten of them have 10,000
JOBS = 1000

# what happens to the leader, and what makes it well again
Fault = tuple[Callable[[Cluster, Node], None], Callable[[Cluster, Node], None]]


def _switch(cluster: Cluster, leader: Node) -> None:
    assert leader.ask("switchover", {"leader": leader.host.name}, within=60) is not None, cluster.logs()


FAULTS: dict[str, Fault] = {
    "kill": (lambda cluster, leader: leader.kill(), lambda cluster, leader: leader.start()),
    "freeze": (
        lambda cluster, leader: leader.signal(signal.SIGSTOP),
        lambda cluster, leader: leader.signal(signal.SIGCONT),
    ),
    "cut off": (lambda cluster, leader: leader.host.cut(), lambda cluster, leader: leader.host.mend()),
    "switch": (_switch, lambda cluster, leader: None),
}
SEEN: dict[str, list[Seen]] = {}


@pytest.fixture
def anyio_backend() -> str:
    """The workers are processes; what this process runs on does not matter."""
    return "asyncio"


@pytest.fixture(scope="module")
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """A cluster for all tests; and a table of what they saw, in build/cluster."""
    SEEN.clear()
    with Cluster(synchronous=request.param) as cluster:
        yield cluster
    kind = "synchronous" if request.param else "asynchronous"
    folder = Path(__file__).parent.parent.parent / "build" / "cluster"
    folder.mkdir(parents=True, exist_ok=True)
    rows = [tell(what, seen) for what, seen in SEEN.items()]
    (folder / f"patroni-{kind}.md").write_text("\n".join(rows) + "\n")


@pytest.mark.parametrize("cluster", [True], ids=["synchronous"], indirect=True)
@pytest.mark.parametrize("fault", FAULTS)
async def test_nothing_is_lost_with_a_leader(cluster: Cluster, fault: str, time: int, tmp_path: Path) -> None:
    """With synchronous replication; and workers go on with the next leader by themselves."""
    seen = await _run(cluster, fault, tmp_path / "marks", idempotent=time % 2 == 0)
    assert seen.acknowledged == JOBS
    assert seen.lost == seen.gone == seen.left == 0
    assert seen.twice <= MOST_IN_HAND


@pytest.mark.parametrize("cluster", [False], ids=["asynchronous"], indirect=True)
@pytest.mark.parametrize("fault", ["kill", "cut off"])
async def test_workers_go_on_without_what_was_lost(cluster: Cluster, fault: str, time: int, tmp_path: Path) -> None:
    """Without synchronous replication; how much that is stands in the table."""
    seen = await _run(cluster, fault, tmp_path / "marks", idempotent=time % 2 == 0)
    assert seen.acknowledged == JOBS


async def _run(cluster: Cluster, fault: str, marks: Path, *, idempotent: bool) -> Seen:
    make, mend = FAULTS[fault]
    load = Load(cluster.url, marks, idempotent)
    leader = cluster.leader()
    others = [node.connect() for node in cluster.nodes if node is not leader]
    async with workers(cluster.url, idempotent=idempotent):
        async with anyio.create_task_group() as group:
            group.start_soon(load.put, JOBS)
            await seconds_until(lambda: load.runs > JOBS // 3, clock.monotonic())
            since = clock.monotonic()
            await anyio.to_thread.run_sync(make, cluster, leader)
            taken_over = await seconds_until(lambda: any(map(_takes_writes, others)), since)
            before = load.runs
            resumed = await seconds_until(lambda: load.runs > before + MOST_IN_HAND, since)
        seen = await load.end(taken_over, resumed)
    for other in others:
        other.close()
    await anyio.to_thread.run_sync(mend, cluster, leader)
    await anyio.to_thread.run_sync(cluster.mend)
    SEEN.setdefault(f"{fault}, {'' if idempotent else 'not '}idempotent", []).append(seen)
    perform(cluster.url, "DELETE FROM fcgi_jobs")
    return seen


def _takes_writes(connection: psycopg.Connection[tuple[object, ...]]) -> bool:
    return connection.execute("SELECT pg_is_in_recovery()").fetchall() == [(False,)]

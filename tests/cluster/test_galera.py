"""Workers on three Galera nodes; one node is killed, stopped, cut off or shut down, again and again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from fcgi_async import LocalFPM
from fcgi_async.jobs import Jobs, StoreUnavailable
from tests.cluster.galera import DATABASE, Cluster, Node
from tests.cluster.galera_probe import Probe
from tests.cluster.marks import Marks
from tests.cluster.namespaces import Network
from tests.cluster.tables import write
from tests.eventually import eventually
from tests.jobs.conftest import ROOT
from tests.jobs.polling import until
from tests.jobs.records import job

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.anyio,
    pytest.mark.parametrize("anyio_backend", ["asyncio"]),
    pytest.mark.timeout(900),
]

SCRIPT = Path(__file__).parent / "scripts" / "job.php"
LEASE = 15.0
# of each worker
SHARE = 4
AHEAD = 1
MILLISECONDS = 320
# jobs for each fault at least
JOBS = 500
# seconds beside the cluster's own fail-over, within which workers go on
GO_ON = 5.0
MOST_IN_HAND = 3 * (SHARE + AHEAD + 2 * SHARE + AHEAD)


FAULTS: dict[str, tuple[Callable[[Node], None], Callable[[Node], None]]] = {
    "killed": (Node.kill, Node.start),
    "stopped": (Node.freeze, Node.thaw),
    "cut off": (lambda node: node.host.cut(), lambda node: node.host.mend()),
    "left": (Node.leave, Node.start),
}


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    """Three hosts; the tests run beside the switch."""
    with Network(3) as network, network.entered():
        yield network


@pytest.fixture(scope="module")
def cluster(network: Network) -> Iterator[Cluster]:
    """A node on each host."""
    with Cluster(network) as cluster:
        yield cluster


@pytest.fixture
def database(cluster: Cluster) -> Cluster:
    """The cluster, with an empty database."""
    first = cluster.nodes[0]
    first.execute(f"CREATE OR REPLACE DATABASE {DATABASE}")
    first.execute(f"CREATE TABLE {DATABASE}.probes (number bigint AUTO_INCREMENT PRIMARY KEY, name varchar(20))")
    return cluster


class Worker:
    """A worker as a process, with a PHP-FPM of its own."""

    def __init__(self, name: str, url: str, fpm: LocalFPM) -> None:
        arguments = [url, str(LEASE), fpm.address, str(SHARE), str(AHEAD), str(SCRIPT)]
        self.name = name
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.cluster.worker_process", *arguments],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )


@pytest.fixture
async def workers(anyio_backend: tuple[str, dict[str, Any]], database: Cluster) -> AsyncIterator[list[Worker]]:
    """A worker for each node, connected to it at first."""
    async with AsyncExitStack() as stack:
        workers: list[Worker] = []
        for index in range(len(database.nodes)):
            fpm = LocalFPM(max_children=SHARE, system_ini=False, pool={"env[WORKER]": str(index)})
            await stack.enter_async_context(fpm)
            workers.append(Worker(str(index), database.url(index), fpm))
        try:
            yield workers
        finally:
            for worker in workers:
                worker.process.kill()
                worker.process.wait()


@pytest.mark.parametrize("fault", FAULTS)
async def test_workers_go_on_with_the_other_nodes(
    database: Cluster, workers: list[Worker], tmp_path: Path, fault: str, pytestconfig: pytest.Config
) -> None:
    """Nothing is lost, nothing runs twice, and no worker is restarted."""
    marks, times = Marks(tmp_path / "marks"), int(pytestconfig.getoption("--times", 1))
    data = json.dumps({"marks": str(marks.path), "milliseconds": MILLISECONDS})
    put: list[str] = []
    outages, pauses = [], []
    async with Jobs(database.url(1), lease=LEASE) as jobs, anyio.create_task_group() as group:
        feeding = anyio.CancelScope()
        group.start_soon(_feed, jobs, data, put, marks, feeding)
        for time_ in range(times):
            await eventually(lambda: all(len(marks.times(worker.name)) > 10 for worker in workers), within=60)
            outage, pause = await _break(database, database.nodes[time_ % 3], fault, workers, marks)
            outages.append(outage)
            pauses.append(pause)
            await _have_begun(marks, (time_ + 1) * JOBS)
        feeding.cancel()
    await _finish(database, len(put))
    counts = marks.counts()
    lost, twice = set(put) - counts.keys(), sum(count > 1 for count in counts.values())
    cells = [fault, times, f"{len(put):,}", len(lost), twice, _range(outages), _range(pauses)]
    write(f"galera {fault}", [f"| {' | '.join(map(str, cells))} |"])
    assert not lost
    assert counts.keys() == set(put)
    assert twice <= times * MOST_IN_HAND
    assert all(worker.process.poll() is None for worker in workers)
    assert all(pause <= outage + GO_ON for outage, pause in zip(outages, pauses, strict=True))


async def _feed(jobs: Jobs, data: str, put: list[str], marks: Marks, scope: anyio.CancelScope) -> None:
    """Keep jobs waiting; put jobs again that may not have been stored."""
    with scope:
        while True:
            if len(put) - len(marks.counts()) < 750:
                some = [job("job", data=data) for _ in range(250)]
                put.extend(each.id for each in some)
                stored = False
                with anyio.CancelScope(shield=True):
                    while not stored:
                        with suppress(StoreUnavailable):
                            await jobs.store.put(some)
                            stored = True
            await anyio.sleep(0.5)


async def _break(cluster: Cluster, node: Node, fault: str, workers: list[Worker], marks: Marks) -> tuple[float, float]:
    """Cause a fault and end it; return the seconds without writes, and those in which workers paused."""
    make, mend = FAULTS[fault]
    began = time.time()
    probe = Probe([each for each in cluster.nodes if each is not node])
    await anyio.to_thread.run_sync(make, node)
    outage = await anyio.to_thread.run_sync(probe.wait)
    well = began + outage
    await eventually(lambda: all(marks.since(worker.name, well) > 3 * SHARE for worker in workers), within=60)
    pause = max(_pause(marks.times(worker.name), began, well) for worker in workers)
    await anyio.to_thread.run_sync(mend, node)
    await anyio.to_thread.run_sync(cluster.wait)
    return outage, pause


def _pause(times: list[float], began: float, well: float) -> float:
    """Return the seconds from a fault to the end of the longest time in which no job began."""
    last = [at for at in times if at < began][-1:]
    after = last + [at for at in times if at >= began]
    gap, end = max((later - earlier, later) for earlier, later in pairwise(after))
    return end - began if gap > 1.0 else 0.0


async def _have_begun(marks: Marks, count: int) -> None:
    await eventually(lambda: len(marks.counts()) >= count, within=120)


async def _finish(cluster: Cluster, count: int) -> None:
    """Wait until all jobs are done."""
    async with Jobs(cluster.url(), lease=LEASE) as jobs:

        async def done() -> bool:
            return (await jobs.counts()).states["done"] == count

        await until(done, within=300)


def _range(seconds: list[float]) -> str:
    return f"{min(seconds):.1f} to {max(seconds):.1f}"

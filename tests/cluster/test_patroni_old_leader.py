"""PostgreSQL under Patroni with synchronous replication: nothing is lost with a leader that still answers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.load import MOST_IN_HAND
from tests.cluster.patroni import Cluster
from tests.cluster.patroni_trials import JOBS, Trials

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.anyio,
    # workers are processes; what this process runs on does not matter
    pytest.mark.parametrize("anyio_backend", ["asyncio"]),
    pytest.mark.timeout(600),
]


@pytest.fixture(scope="module")
def trials() -> Iterator[Trials]:
    """With one cluster for all faults."""
    with Cluster(synchronous=True) as cluster:
        yield Trials(cluster)


async def test_nothing_is_lost_when_the_leader_is_switched(trials: Trials, time: int, tmp_path: Path) -> None:
    """And workers go on with the next leader by themselves."""
    seen = await trials.run("switched", tmp_path / "marks", idempotent=time % 2 == 0)
    assert seen.acknowledged >= JOBS
    assert seen.lost == seen.gone == seen.left == 0
    assert seen.twice <= MOST_IN_HAND


async def test_nothing_is_lost_with_a_leader_that_only_clients_reach(trials: Trials, time: int, tmp_path: Path) -> None:
    """Claims and ends of idempotent jobs are not waited for: what it forgets of these runs twice."""
    idempotent = time % 2 == 0
    seen = await trials.run("parted from the others", tmp_path / "marks", idempotent=idempotent)
    assert seen.acknowledged >= JOBS
    assert seen.lost == seen.gone == seen.left == 0
    assert idempotent or seen.twice <= MOST_IN_HAND

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


@pytest.mark.parametrize("fault", ["switched", "parted from the others"])
async def test_nothing_is_lost_with_an_old_leader(trials: Trials, fault: str, time: int, tmp_path: Path) -> None:
    """One that is switched over, or that only clients reach; workers go on with the next leader by themselves."""
    idempotent = time % 2 == 0
    seen = await trials.run(fault, tmp_path / "marks", idempotent=idempotent)
    assert seen.acknowledged >= JOBS
    assert seen.lost == seen.gone == seen.left == 0
    # claims and ends of idempotent jobs are not waited for: what a parted leader forgets of them runs twice
    if fault == "switched" or not idempotent:
        assert seen.twice <= MOST_IN_HAND

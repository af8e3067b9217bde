"""PostgreSQL under Patroni with synchronous replication: nothing is lost with a leader that is away."""

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


@pytest.mark.parametrize("fault", ["killed", "frozen", "cut off"])
async def test_nothing_is_lost_with_a_leader(trials: Trials, fault: str, time: int, tmp_path: Path) -> None:
    """And workers go on with the next leader by themselves."""
    seen = await trials.run(fault, tmp_path / "marks", idempotent=time % 2 == 0)
    assert seen.acknowledged >= JOBS
    assert seen.lost == seen.gone == seen.left == 0
    assert seen.twice <= MOST_IN_HAND

"""PostgreSQL under Patroni without synchronous replication: workers go on without what was lost, which is counted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.patroni import Cluster
from tests.cluster.patroni_trials import JOBS, Trials

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.anyio,
    pytest.mark.parametrize("anyio_backend", ["asyncio"]),
    pytest.mark.timeout(600),
]


@pytest.fixture(scope="module")
def trials() -> Iterator[Trials]:
    """With one cluster for all faults."""
    with Cluster(synchronous=False) as cluster:
        yield Trials(cluster)


@pytest.mark.parametrize("fault", ["killed", "cut off", "parted from the others"])
async def test_workers_go_on_without_what_was_lost(trials: Trials, fault: str, time: int, tmp_path: Path) -> None:
    """How much that is stands in the table."""
    seen = await trials.run(fault, tmp_path / "marks", idempotent=time % 2 == 0)
    assert seen.acknowledged >= JOBS

"""Faults of the leader of a PostgreSQL under Patroni while jobs are put and run, and what became of these."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

import anyio
import anyio.to_thread

from tests.cluster.load import MOST_IN_HAND, Load, Seen, seconds_until, tell, workers
from tests.cluster.marks import Marks
from tests.cluster.patroni import Cluster, Node, wait_until
from tests.cluster.tables import write
from tests.jobs.servers import perform

# of each time at least
JOBS = 400

# what happens to the leader, and what makes it well again
Fault = tuple[Callable[[Cluster, Node], None], Callable[[Cluster, Node], None]]


def _reset(cluster: Cluster, leader: Node) -> None:
    leader.kill()
    leader.start()


def _switch(cluster: Cluster, leader: Node) -> None:
    def is_asked() -> bool:
        # on a busy machine Patroni may switch, and say that it could not
        return (
            leader.ask("switchover", {"leader": leader.host.name}, within=60) is not None or not leader.takes_writes()
        )

    wait_until(is_asked, "the leader is switched", cluster.logs)


def _part(cluster: Cluster, leader: Node) -> None:
    for other in cluster.hosts:
        if other is not leader.host:
            leader.host.refuse(other)


def _join(cluster: Cluster, leader: Node) -> None:
    for other in cluster.hosts:
        if other is not leader.host:
            leader.host.accept(other)


FAULTS: dict[str, Fault] = {
    "killed": (lambda cluster, leader: leader.kill(), lambda cluster, leader: leader.start()),
    # made anew as a watchdog would: Patroni 3.0 may take the lock from the next leader if it goes on
    "frozen": (lambda cluster, leader: leader.signal(signal.SIGSTOP), _reset),
    "cut off": (lambda cluster, leader: leader.host.cut(), lambda cluster, leader: leader.host.mend()),
    # workers and those who put still reach it
    "parted from the others": (_part, _join),
    "switched": (_switch, lambda cluster, leader: None),
}


class Trials:
    """What was seen of a cluster's faults, also as a table in build/cluster."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._seen: dict[str, dict[bool, list[Seen]]] = {}

    async def run(self, fault: str, path: Path, *, idempotent: bool) -> Seen:
        """Make a fault and mend it while jobs are put and run; return what became of them.

        Args:
            fault: its name.
            path: of a file of marks.
            idempotent: whether the jobs are.
        """
        cluster = self._cluster
        # a test that has failed may have left it otherwise
        await anyio.to_thread.run_sync(cluster.mend)
        leader = cluster.leader()
        load = Load(cluster.url, Marks(path), idempotent, JOBS)
        async with workers(cluster.url, idempotent=idempotent):
            async with anyio.create_task_group() as group:
                group.start_soon(load.put)
                await seconds_until(lambda: load.marks.runs() > JOBS // 3, time.monotonic())
                try:
                    taken_over, resumed = await _break(cluster, leader, fault, load)
                finally:
                    # the next fault finds it well whatever was seen of this one
                    FAULTS[fault][1](cluster, leader)
                load.enough = True
                await anyio.to_thread.run_sync(cluster.mend)
            seen = await load.end(taken_over, resumed)
        self._seen.setdefault(f"{cluster.kind}, {fault}", {}).setdefault(idempotent, []).append(seen)
        for what, kinds in self._seen.items():
            names = {False: what, True: f"{what}, idempotent"}
            write(f"patroni {what}", [tell(names[each], kinds[each]) for each in sorted(kinds)])
        perform(cluster.url, "DELETE FROM fcgi_jobs")
        # those that were ended are there until their lease is over, and would be taken for the next ones
        perform(cluster.url, "DELETE FROM fcgi_workers")
        return seen


async def _break(cluster: Cluster, leader: Node, fault: str, load: Load) -> tuple[float, float]:
    """Make a fault; return after how many seconds another node took writes, and workers began jobs again."""
    since = time.monotonic()
    async with anyio.create_task_group() as group:
        group.start_soon(anyio.to_thread.run_sync, FAULTS[fault][0], cluster, leader)
        await anyio.to_thread.run_sync(cluster.wait_for_another, leader)
        taken_over, before = time.monotonic() - since, load.marks.runs()
        resumed = await seconds_until(lambda: load.marks.runs() > before + MOST_IN_HAND, since)
    return taken_over, resumed

"""For how long a cluster takes no writes after a fault, seen by a client of a node that has none."""

from __future__ import annotations

import threading
import time
from contextlib import suppress

import pymysql

from tests.cluster.galera import DATABASE, Node

# seconds of one write that say nothing of a fault, and after which a node that takes them is well again
_USUAL = 1.5
_WELL = 3.0
_MOST = 60.0


class Probe:
    """Writes to nodes from now on, in a thread for each.

    Args:
        nodes: to which it writes: those without a fault.
    """

    def __init__(self, nodes: list[Node]) -> None:
        self._began = time.time()
        self._ends = [self._began] * len(nodes)
        self._threads = [
            threading.Thread(target=self._write, args=(index, node), daemon=True) for index, node in enumerate(nodes)
        ]
        for thread in self._threads:
            thread.start()

    def wait(self) -> float:
        """Return for how many seconds one of the nodes took no writes."""
        for thread in self._threads:
            thread.join(_MOST)
        return max(self._ends) - self._began

    def _write(self, index: int, node: Node) -> None:
        """Write until that has been quick for a while, and remember when it was slow."""
        name = f"probe_{index}"
        while time.time() - self._ends[index] < _WELL:
            began = time.time()
            with suppress(pymysql.Error, OSError):
                node.execute(f"INSERT INTO {DATABASE}.probes (name) VALUES ('{name}')")
                if time.time() - began < _USUAL:
                    time.sleep(0.05)
                    continue
            self._ends[index] = time.time()

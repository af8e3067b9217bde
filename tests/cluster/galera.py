"""A cluster of MariaDB with Galera: nodes on hosts of a network of the tests' own, which go and come back."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import pymysql

from fcgi_async.jobs.sql.mysql_address import Address
from tests.cluster.namespaces import Host, Network
from tests.jobs.guard import Guarded, make_directory
from tests.jobs.servers import is_alive

_SECONDS = 90
_POSITION = re.compile(r"Recovered position:? (\S+:-?\d+)")
_PROVIDER = "/usr/lib/galera/libgalera_smm.so"
DATABASE = "jobs"


class Node:
    """A node, which is started by its `Cluster`.

    Args:
        host: where it runs.
        addresses: of all nodes.
    """

    def __init__(self, host: Host, addresses: Sequence[str]) -> None:
        self.host = host
        self._addresses = addresses
        self._running: Guarded | None = None
        self.directory, self._lock = make_directory()
        shutil.chown(self.directory, "mysql", "mysql")

    def close(self) -> None:
        """End it, and remove its files."""
        if self._running is not None:
            self._running.end()
        shutil.rmtree(self.directory, ignore_errors=True)
        self._lock.close()

    def start(self, *more: str) -> None:
        """Start it, from where it was; it joins the others by itself."""
        command = self.host.inside([*self._command(), *self._position(), *more])
        self._running = Guarded(command, self.directory, self._lock, "KILL", {})

    def wait(self) -> None:
        """Return once it is in step with the others."""
        deadline = time.monotonic() + _SECONDS
        while self.status("local_state_comment") != "Synced":
            assert time.monotonic() < deadline, (self.directory / "log").read_text()[-5000:]
            time.sleep(0.1)

    def kill(self) -> None:
        """Kill it by SIGKILL."""
        self._end(signal.SIGKILL)

    def leave(self) -> None:
        """Shut it down, as for maintenance: it takes its leave of the others."""
        self._end(signal.SIGTERM)

    def freeze(self) -> None:
        """Stop it where it is: it keeps its connections, and says nothing on them."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        os.kill(self.pid, signal.SIGCONT)

    @property
    def pid(self) -> int:
        """Its process."""
        assert self._running is not None
        return self._running.pid

    def execute(self, statement: str) -> list[tuple[Any, ...]]:
        """Perform a statement as the administrator; return its rows."""
        url = f"mysql://root@localhost/mysql?unix_socket={quote(str(self.directory / 'socket'), safe='')}"
        with Address(url).connect() as connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return list(cursor.fetchall())

    def create(self) -> None:
        """Make its files."""
        options = ["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db", "--user=mysql"]
        self._run(["mariadb-install-db", *options, f"--datadir={self._data}", f"--tmpdir={self.directory}"])

    def copy(self, other: Node) -> None:
        """Begin with the files of another one, which is shut down."""
        leave = shutil.ignore_patterns("galera.cache", "gvwstate.dat")
        shutil.copytree(other._data, self._data, ignore=leave)
        self._run(["chown", "-R", "mysql:mysql", str(self._data)])

    @property
    def _data(self) -> Path:
        return self.directory / "data"

    def _end(self, number: int) -> None:
        running, self._running = self._running, None
        assert running is not None
        os.kill(running.pid, number)
        deadline = time.monotonic() + _SECONDS
        while is_alive(running.pid):
            assert time.monotonic() < deadline, (self.directory / "log").read_text()[-5000:]
            time.sleep(0.01)
        running.end()

    def status(self, name: str) -> str:
        """Return what it says of itself; "" if it says nothing."""
        assert is_alive(self.pid), (self.directory / "log").read_text()[-5000:]
        try:
            return str(self.execute(f"SHOW STATUS LIKE 'wsrep_{name}'")[0][1])
        except (pymysql.Error, OSError):
            return ""

    def _position(self) -> list[str]:
        """Return up to where it has all transactions, as Debian's unit for the service finds it."""
        log = self.directory / "recovered.log"
        log.unlink(missing_ok=True)
        self._run(self.host.inside([*self._command(), "--wsrep-recover", f"--log-error={log}"]))
        found = _POSITION.findall(log.read_text())
        return [f"--wsrep-start-position={found[-1]}"] if found else []

    def _run(self, command: list[str]) -> None:
        done = subprocess.run(command, cwd=self.directory, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    def _command(self) -> list[str]:
        return [
            shutil.which("mariadbd") or "/usr/sbin/mariadbd",
            "--no-defaults",
            "--user=mysql",
            f"--datadir={self._data}",
            f"--tmpdir={self.directory}",
            f"--socket={self.directory / 'socket'}",
            f"--pid-file={self.directory / 'pid'}",
            f"--bind-address={self.host.address}",
            "--skip-name-resolve",
            "--innodb-buffer-pool-size=64M",
            "--innodb-flush-log-at-trx-commit=0",
            "--innodb-autoinc-lock-mode=2",
            "--binlog-format=ROW",
            "--wsrep-on=ON",
            f"--wsrep-provider={_PROVIDER}",
            f"--wsrep-cluster-address=gcomm://{','.join(self._addresses)}",
            f"--wsrep-node-address={self.host.address}",
            "--wsrep-sst-method=rsync",
        ]


class Cluster:
    """A node on each host of a network, within a `with` block."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self.nodes: list[Node] = []

    def __enter__(self) -> Self:
        addresses = [host.address for host in self._network.hosts]
        try:
            for host in self._network.hosts:
                self.nodes.append(Node(host, addresses))
            first, *others = self.nodes
            first.create()
            first.start("--wsrep-new-cluster")
            first.wait()
            first.execute("CREATE USER jobs@'%'")
            first.execute(f"CREATE DATABASE {DATABASE}")
            first.execute(f"GRANT ALL ON {DATABASE}.* TO jobs@'%'")
            first.leave()
            for other in others:
                other.copy(first)
            first.start("--wsrep-new-cluster")
            first.wait()
            for other in others:
                other.start()
                other.wait()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        for node in self.nodes:
            node.close()
        self.nodes.clear()

    def wait(self) -> None:
        """Return once each node is in step with all others."""
        deadline = time.monotonic() + _SECONDS
        for node in self.nodes:
            while node.status("cluster_size") != str(len(self.nodes)) or node.status("ready") != "ON":
                assert time.monotonic() < deadline, (node.directory / "log").read_text()[-5000:]
                time.sleep(0.1)
            node.wait()

    def url(self, first: int = 0) -> str:
        """Return the URL of the jobs' database, with all nodes, in turn from one of them on."""
        hosts = [node.host.address for node in self.nodes[first:] + self.nodes[:first]]
        return f"mysql://jobs@{','.join(hosts)}/{DATABASE}"

"""A PostgreSQL of three hosts under Patroni, which a fourth one's etcd tells who leads."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import psycopg

from tests.cluster.namespaces import Host, Network
from tests.jobs.guard import Guarded, make_directory
from tests.jobs.servers import find_program, is_alive

# seconds: of the key that says who leads, between looks, and for which Patroni asks etcd again
TTL, LOOP, RETRY = 8, 1, 3
NODES = 3
START_SECONDS = 120
# seconds in which servers become standbys again, or do not; and between looks
PATIENCE = 20
LOOK = 0.2
USER = "postgres"
_AS_USER = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "--"]
_SETTINGS = {
    "max_connections": 60,
    "shared_buffers": "32MB",
    # processes are killed here, not machines: the kernel keeps what was written
    "fsync": "off",
    "wal_keep_size": "256MB",
    # the next leader has a place for each standby a moment after they look for it
    "wal_retrieve_retry_interval": "500ms",
    # a leader that is cut off shuts down only when it has given up its standbys
    "wal_sender_timeout": "5s",
}


class Node:
    """One host with Patroni and PostgreSQL."""

    def __init__(self, host: Host, etcd: Host, *, synchronous: bool) -> None:
        self.host = host
        self.directory, self._lock = make_directory()
        shutil.chown(self.directory, USER, USER)
        # it must not be there for initdb, whose owner is who runs
        self._configuration = self.directory / "patroni.json"
        self._configuration.write_text(json.dumps(self._configure(etcd, synchronous)))
        self._running: Guarded | None = None

    def start(self) -> None:
        """Start Patroni, and return at once."""
        if self._running is not None:
            self._running.end()
        command = self.host.inside([*_AS_USER, "/usr/bin/patroni", str(self._configuration)])
        self._running = Guarded(command, self.directory, self._lock, "TERM", {})

    def signal(self, number: int) -> None:
        """Send a signal to all that runs on the host."""
        for pid in self.host.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def kill(self) -> None:
        """Kill Patroni and PostgreSQL."""
        while self.host.processes():
            self.signal(signal.SIGKILL)
            time.sleep(0.01)

    def close(self) -> None:
        """End it, and remove its files."""
        self.signal(signal.SIGCONT)
        with suppress(OSError, ValueError, IndexError):
            postmaster = int((self.directory / "data" / "postmaster.pid").read_text().splitlines()[0])
            if self._running is not None:
                os.kill(self._running.pid, signal.SIGKILL)
            # at once, and frees shared memory
            os.kill(postmaster, signal.SIGQUIT)
            deadline = time.monotonic() + 5
            while is_alive(postmaster) and time.monotonic() < deadline:
                time.sleep(0.01)
        self.kill()
        if self._running is not None:
            self._running.end()
        shutil.rmtree(self.directory, ignore_errors=True)
        self._lock.close()

    def ask(self, path: str, data: object = None, *, within: float = 2) -> Any:
        """Ask Patroni; return what it answers, None if it says no, or nothing within so many seconds."""
        body = None if data is None else json.dumps(data).encode()
        try:
            with urllib.request.urlopen(f"http://{self.host.address}:8008/{path}", body, timeout=within) as answer:
                text = answer.read().decode()
        except (OSError, urllib.error.URLError):
            return None
        try:
            return json.loads(text)
        except ValueError:
            return text

    def connect(self) -> psycopg.Connection[tuple[object, ...]]:
        """Connect as the superuser."""
        return psycopg.connect(
            host=self.host.address, user="admin", dbname="postgres", autocommit=True, connect_timeout=2
        )

    def takes_writes(self) -> bool:
        """Whether it can be reached, and is no standby."""
        # one that was ahead of the next leader starts again to follow it
        with suppress(psycopg.Error), self.connect() as connection:
            return connection.execute("SELECT pg_is_in_recovery()").fetchall() == [(False,)]
        return False

    def _configure(self, etcd: Host, synchronous: bool) -> dict[str, Any]:
        address = self.host.address
        return {
            "scope": "jobs",
            "name": self.host.name,
            "restapi": {"listen": f"{address}:8008", "connect_address": f"{address}:8008"},
            "etcd3": {"host": f"{etcd.address}:2379"},
            "bootstrap": {
                "dcs": {
                    "ttl": TTL,
                    "loop_wait": LOOP,
                    "retry_timeout": RETRY,
                    "synchronous_mode": synchronous,
                    "postgresql": {"use_pg_rewind": True, "use_slots": True, "parameters": _SETTINGS},
                },
                "initdb": [{"encoding": "UTF8"}, {"locale": "C"}, "data-checksums", "no-sync"],
            },
            "postgresql": {
                "listen": f"{address}:5432",
                "connect_address": f"{address}:5432",
                "data_dir": str(self.directory / "data"),
                "bin_dir": str(Path(find_program("postgres")).parent),
                # a copy that begins with a checkpoint spread over minutes comes too late
                "basebackup": [{"checkpoint": "fast"}, "no-sync"],
                "pgpass": str(self.directory / "pgpass"),
                "pg_hba": ["local all all trust", "host all all all trust", "host replication all all trust"],
                "parameters": {"unix_socket_directories": str(self.directory), "dynamic_shared_memory_type": "mmap"},
                "authentication": {
                    "superuser": {"username": "admin", "password": "none"},
                    "replication": {"username": "copier", "password": "none"},
                },
                "remove_data_directory_on_rewind_failure": True,
                "remove_data_directory_on_diverged_timelines": True,
            },
        }


class Cluster:
    """Three nodes and an etcd, within a `with` block, whose thread is beside their switch.

    Args:
        synchronous: whether a commit waits until a standby has it.
    """

    def __init__(self, *, synchronous: bool) -> None:
        self.synchronous = synchronous
        self.nodes: list[Node] = []
        self._etcd: Guarded | None = None

    def __enter__(self) -> Self:
        self._network = Network(NODES + 1).__enter__()
        self._entered = self._network.entered()
        self._entered.__enter__()
        self._directory, self._lock = make_directory()
        try:
            *hosts, etcd = self._network.hosts
            self._start_etcd(etcd)
            for host in hosts:
                self.nodes.append(Node(host, etcd, synchronous=self.synchronous))
            for node in self.nodes:
                node.start()
            wait_until(self.is_whole, "the cluster starts", self.logs)
            with self.leader().connect() as connection:
                connection.execute("CREATE ROLE jobs LOGIN")
                connection.execute("CREATE DATABASE jobs OWNER jobs")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        for node in self.nodes:
            node.close()
        if self._etcd is not None:
            self._etcd.end()
        shutil.rmtree(self._directory, ignore_errors=True)
        self._lock.close()
        self._entered.__exit__(None, None, None)
        self._network.__exit__()

    @property
    def kind(self) -> str:
        """Whether a commit waits, in a word."""
        return "synchronous" if self.synchronous else "asynchronous"

    @property
    def hosts(self) -> list[Host]:
        """Those of the nodes, and etcd's."""
        return self._network.hosts

    @property
    def url(self) -> str:
        """Of the database for jobs."""
        hosts = ",".join(f"{node.host.address}:5432" for node in self.nodes)
        return f"postgresql://jobs@{hosts}/jobs?target_session_attrs=read-write"

    def leader(self) -> Node:
        """Return the node that leads."""
        [found] = [node for node in self.nodes if node.ask("primary") is not None]
        return found

    def wait_for_another(self, leader: Node) -> None:
        """Return once another node than one that has led takes writes."""
        others = [node for node in self.nodes if node is not leader]
        wait_until(lambda: any(node.takes_writes() for node in others), "another node takes writes", self.logs)

    def is_whole(self) -> bool:
        """Whether one leads and the others follow it, one of them synchronously if that is wanted."""
        for node in self.nodes:
            seen = node.ask("cluster")
            if seen is None:
                continue
            members = seen["members"]
            roles = sorted(member["role"] for member in members)
            wanted = ["leader", "replica", "sync_standby" if self.synchronous else "replica"]
            return roles == wanted and self._streams()
        return False

    def mend(self) -> None:
        """Return once it is whole again; a server that does not follow by itself is made anew."""
        give_up = time.monotonic() + START_SECONDS
        while True:
            deadline = time.monotonic() + PATIENCE
            while time.monotonic() < deadline:
                if self.is_whole():
                    return
                time.sleep(LOOK)
            assert time.monotonic() < give_up, f"not whole within {START_SECONDS} s\n{self.logs()}"
            # refused while Patroni does something else with the server
            self._copy_again()

    def _copy_again(self) -> None:
        with suppress(ValueError, psycopg.Error), self.leader().connect() as connection:
            found = connection.execute("SELECT application_name FROM pg_stat_replication WHERE state = 'streaming'")
            following = {name for (name,) in found}
            for node in self.nodes:
                if node.ask("primary") is None and node.host.name not in following:
                    # not by force, which ends a copy that is on its way
                    node.ask("reinitialize", {}, within=30)

    def _streams(self) -> bool:
        with suppress(ValueError, psycopg.Error):
            for node in self.nodes:
                # one that is being copied streams as well
                with node.connect() as connection:
                    connection.execute("SELECT 1")
            with self.leader().connect() as connection:
                found = connection.execute("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'")
                return found.fetchall() == [(len(self.nodes) - 1,)]
        return False

    def logs(self) -> str:
        """What the nodes have said last."""
        return "\n".join((node.directory / "log").read_text()[-3000:] for node in self.nodes)

    def _start_etcd(self, host: Host) -> None:
        shutil.chown(self._directory, USER, USER)
        client, peer = f"http://{host.address}:2379", f"http://{host.address}:2380"
        options = {
            "name": "etcd",
            "data-dir": str(self._directory / "etcd"),
            "listen-client-urls": client,
            "advertise-client-urls": client,
            "listen-peer-urls": peer,
            "initial-advertise-peer-urls": peer,
            "initial-cluster": f"etcd={peer}",
        }
        command = ["/usr/bin/etcd", *(f"--{name}={value}" for name, value in options.items())]
        self._etcd = Guarded(host.inside([*_AS_USER, *command]), self._directory, self._lock, "KILL", {})

        def answers() -> bool:
            with suppress(OSError), urllib.request.urlopen(f"{client}/health", timeout=2) as answer:
                return bool(json.load(answer)["health"] == "true")
            return False

        wait_until(answers, "etcd starts", lambda: (self._directory / "log").read_text())


def wait_until(condition: Callable[[], object], what: str, logs: Callable[[], str]) -> None:
    """Return as soon as the condition holds."""
    deadline = time.monotonic() + START_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {START_SECONDS} s\n{logs()}"
        time.sleep(0.1)

"""Database servers of the tests' own, in temporary directories, run by a user without rights."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import time
from abc import ABC, abstractmethod
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import psycopg
import pymysql

from fcgi_async.jobs.sql.mysql_address import Address
from tests.eventually import soon
from tests.jobs.guard import Guarded, make_directory

START_SECONDS = 60


class Server(ABC):
    """A server on a unix socket, within a `with` block.

    Args:
        durable: whether what is committed has to be on disk, as it has where a server is killed.
    """

    # whom it runs as if we are root, and what ends it without leaving anything
    user: str
    ending = "KILL"

    def __init__(self, *, durable: bool = False) -> None:
        self.durable = durable
        self._running: Guarded | None = None

    def __enter__(self) -> Self:
        self.directory, self._lock = make_directory()
        if os.geteuid() == 0:
            shutil.chown(self.directory, self.user, self.user)
        try:
            self._run(self._creation())
            self.start()
            self._prepare()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        if self._running is not None:
            self._running.end()
        shutil.rmtree(self.directory, ignore_errors=True)
        self._lock.close()

    @property
    def pid(self) -> int:
        """The process that answers."""
        assert self._running is not None
        return self._running.pid

    @property
    def running(self) -> bool:
        """Whether it was started, and neither killed nor stopped."""
        return self._running is not None

    def start(self) -> None:
        """Start it, and return once it answers; it ends with this process at the latest."""
        self._running = Guarded(self._command(), self.directory, self._lock, self.ending, self._as_user())
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            assert is_alive(self.pid), (self.directory / "log").read_text()
            assert time.monotonic() < deadline, (self.directory / "log").read_text()
            time.sleep(0.02)

    def kill(self) -> None:
        """Kill it and all its processes by SIGKILL; what was not on disk is gone."""
        running, self._running = self._running, None
        if running is not None:
            processes = [running.pid, *_children(running.pid)]
            for pid in processes:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            running.end()
            while any(map(is_alive, processes)):
                time.sleep(0.005)

    def freeze(self) -> None:
        """Stop it and all its processes where they are: it keeps its connections, and says nothing on them."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        # whoever starts processes first, so that there are no new ones
        os.kill(self.pid, number)
        for pid in _children(self.pid):
            # one whose client has left may end meanwhile
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    @abstractmethod
    def empty(self, name: str) -> str:
        """Return the URL of an empty place for tables of that name."""

    @abstractmethod
    def drop(self, name: str) -> None:
        """Remove such a place."""

    @abstractmethod
    def _creation(self) -> list[str]: ...

    @abstractmethod
    def _command(self) -> list[str]: ...

    @abstractmethod
    def _answers(self) -> bool: ...

    @abstractmethod
    def _prepare(self) -> None: ...

    def _run(self, command: list[str]) -> None:
        done = subprocess.run(
            command, cwd=self.directory, capture_output=True, text=True, check=False, **self._as_user()
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def _as_user(self) -> dict[str, Any]:
        return {"user": self.user, "group": self.user, "extra_groups": []} if os.geteuid() == 0 else {}


class Postgres(Server):
    """PostgreSQL; places are schemas of the database `jobs`, whose owner has no other rights."""

    user = "postgres"
    # at once, and frees shared memory
    ending = "QUIT"

    def empty(self, name: str) -> str:
        self.execute(f"CREATE SCHEMA {name} AUTHORIZATION jobs")
        return self.url(name)

    def url(self, name: str, host: str | None = None) -> str:
        """Return the URL of a schema."""
        where = quote(str(self.directory) if host is None else host, safe="")
        return f"postgresql://jobs@{where}/jobs?options=-csearch_path%3D{name}"

    def drop(self, name: str) -> None:
        self.execute(f"DROP SCHEMA {name} CASCADE")

    def execute(self, statement: str) -> list[tuple[object, ...]]:
        """Perform a statement as the superuser; return its rows."""
        with psycopg.connect(host=str(self.directory), user="admin", dbname="jobs", autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def stop(self) -> None:
        """Shut it down as one does: its standbys have all of it then."""
        running, self._running = self._running, None
        assert running is not None
        # without waiting for clients
        os.kill(running.pid, signal.SIGINT)
        while is_alive(running.pid):
            time.sleep(0.005)
        running.end()

    def _creation(self) -> list[str]:
        options = ["--auth=trust", "--username=admin", "--encoding=UTF8", "--locale=C", "--no-sync"]
        return [find_program("initdb"), "-D", str(self.directory / "data"), *options]

    def _command(self) -> list[str]:
        settings = {
            "unix_socket_directories": str(self.directory),
            "listen_addresses": "",
            "max_connections": "100",
            "dynamic_shared_memory_type": "mmap",
            "shared_buffers": "32MB",
            "fsync": "on" if self.durable else "off",
            "full_page_writes": "on" if self.durable else "off",
            "log_min_messages": "fatal",
            "autovacuum_naptime": "5s",
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return [find_program("postgres"), "-D", str(self.directory / "data"), *options]

    def _answers(self) -> bool:
        try:
            psycopg.connect(host=str(self.directory), user="admin", dbname="postgres", connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True

    def _prepare(self) -> None:
        with psycopg.connect(host=str(self.directory), user="admin", dbname="postgres", autocommit=True) as connection:
            connection.execute("CREATE ROLE jobs LOGIN")
            connection.execute("CREATE DATABASE jobs OWNER jobs")


class Standby(Postgres):
    """A hot standby of another PostgreSQL; it has the other's places.

    Args:
        primary: whose copy it is.
    """

    def __init__(self, primary: Postgres) -> None:
        super().__init__(durable=primary.durable)
        self._primary = primary

    def promote(self) -> None:
        """Have it take writes, and return when it does."""
        # a statement that waits for it is cancelled if the primary still sends changes
        self.execute("SELECT pg_promote(false)")
        soon(lambda: self.execute("SELECT pg_is_in_recovery()") == [(False,)])

    def _creation(self) -> list[str]:
        options = ["--checkpoint=fast", "--no-sync", "--write-recovery-conf"]
        where = ["-h", str(self._primary.directory), "-U", "admin", "-D", str(self.directory / "data")]
        return [find_program("pg_basebackup"), *where, *options]

    def _prepare(self) -> None:
        """Do nothing: the primary has done it."""


class MariaDB(Server):
    """MariaDB; places are databases of their own."""

    user = "mysql"

    def empty(self, name: str) -> str:
        self.execute(f"CREATE DATABASE {name}")
        self.execute(f"GRANT ALL ON {name}.* TO jobs@localhost")
        return f"mysql://jobs@localhost/{name}?unix_socket={quote(str(self.socket), safe='')}"

    def drop(self, name: str) -> None:
        self.execute(f"DROP DATABASE IF EXISTS {name}")

    @property
    def socket(self) -> Path:
        """Where it listens."""
        return self.directory / "socket"

    def execute(self, statement: str) -> None:
        """Perform a statement as the administrator."""
        with self._connect() as connection:
            connection.cursor().execute(statement)

    def _connect(self) -> pymysql.Connection[Any]:
        return Address(f"mysql://root@localhost/mysql?unix_socket={quote(str(self.socket), safe='')}").connect()

    def _creation(self) -> list[str]:
        options = ["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"]
        return ["mariadb-install-db", *options, *self._folders()]

    def _folders(self) -> list[str]:
        # one that starts removes what it takes for left from others in its folder for temporary tables
        return [f"--datadir={self.directory / 'data'}", f"--tmpdir={self.directory}"]

    def _command(self) -> list[str]:
        return [
            shutil.which("mariadbd") or "/usr/sbin/mariadbd",
            "--no-defaults",
            *self._folders(),
            f"--socket={self.socket}",
            f"--pid-file={self.directory / 'pid'}",
            "--skip-networking",
            "--innodb-buffer-pool-size=64M",
            f"--innodb-flush-log-at-trx-commit={1 if self.durable else 0}",
            f"--innodb-doublewrite={'ON' if self.durable else 'OFF'}",
        ]

    def _answers(self) -> bool:
        try:
            self._connect().close()
        except (pymysql.Error, OSError):
            return False
        return True

    def _prepare(self) -> None:
        self.execute("CREATE USER jobs@localhost")


class Galera(MariaDB):
    """MariaDB as the only node of a cluster."""

    def leave(self) -> None:
        """Shut it down as one does."""
        running, self._running = self._running, None
        assert running is not None
        os.kill(running.pid, signal.SIGTERM)
        while is_alive(running.pid):
            time.sleep(0.005)
        running.end()

    def _command(self) -> list[str]:
        # it listens for other nodes, at a port that the kernel chooses
        options = f"gmcast.listen_addr=tcp://127.0.0.1:0;gcache.dir={self.directory};gcache.size=16M"
        return [
            *super()._command(),
            "--wsrep-on=ON",
            "--wsrep-provider=/usr/lib/galera/libgalera_smm.so",
            "--wsrep-cluster-address=gcomm://",
            "--wsrep-node-address=127.0.0.1",
            f"--wsrep-provider-options={options}",
            "--binlog-format=ROW",
            "--innodb-autoinc-lock-mode=2",
        ]


def perform(url: str, statement: str) -> list[tuple[object, ...]]:
    """Perform a statement in the database of a URL, and commit; return its rows."""
    if url.startswith("sqlite:"):
        with closing(sqlite3.connect(url.removeprefix("sqlite://"))) as sqlite, sqlite:
            return sqlite.execute(statement).fetchall()
    if url.startswith("mysql:"):
        with Address(url).connect() as mysql, mysql.cursor() as cursor:
            cursor.execute(statement)
            return list(cursor.fetchall())
    with psycopg.connect(url) as connection:
        done = connection.execute(statement.encode())
        return done.fetchall() if done.description else []


def find_program(program: str) -> str:
    """Return the path of one of PostgreSQL's programs."""
    versions = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{program}"), key=lambda path: float(path.parts[4]))
    found = str(versions[-1]) if versions else shutil.which(program)
    assert found is not None, f"{program} is missing: run .ci/setup-others"
    return found


def _children(pid: int) -> list[int]:
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    return [int(word) for word in found.stdout.split()]


def is_alive(pid: int) -> bool:
    """Whether there is such a process, and it has not ended."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"

"""A MariaDB for the applications: in a temporary directory, on a unix socket, as an unprivileged user."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs

from tests.eventually import soon

_UNPRIVILEGED = "nobody"
USER = PASSWORD = "app"
# durability is of no use here, and room for a few small applications is enough
_SETTINGS = (
    "--skip-networking",
    "--skip-name-resolve",
    "--innodb-flush-log-at-trx-commit=0",
    "--innodb-buffer-pool-size=64M",
    "--innodb-log-file-size=16M",
)


@attrs.frozen
class Database:
    """A server that runs.

    Attributes:
        socket: where it listens; `USER` with `PASSWORD` may do anything.
    """

    socket: Path

    def execute(self, sql: str, *, database: str = "") -> str:
        """Run statements; return the rows they give, with tabs between columns."""
        done = self._run("mariadb", "--batch", "--skip-column-names", *([database] if database else []), feed=sql)
        return done.decode()

    def create(self, name: str) -> None:
        """Make an empty database."""
        self.execute(f"DROP DATABASE IF EXISTS `{name}`; CREATE DATABASE `{name}` CHARACTER SET utf8mb4")

    def dump(self, name: str) -> bytes:
        """Return all of a database, as statements that make it again."""
        return self._run("mariadb-dump", "--add-drop-table", name)

    def load(self, name: str, dump: bytes) -> None:
        """Have a database be as it was when it was dumped."""
        self.create(name)
        self._run("mariadb", name, feed=dump)

    def _run(self, program: str, *arguments: str, feed: bytes | str = b"") -> bytes:
        command = [program, "--no-defaults", f"--socket={self.socket}", "--user=root", *arguments]
        fed = feed.encode() if isinstance(feed, str) else feed
        done = subprocess.run(command, input=fed, capture_output=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout


@contextmanager
def running() -> Iterator[Database]:
    """Run a server until the block is left."""
    # pytest's own directories are too long for a socket's path
    directory = Path(tempfile.mkdtemp(prefix="apps-db-"))
    as_user: dict[str, int | list[int]] = {}
    if os.geteuid() == 0:
        user = pwd.getpwnam(_UNPRIVILEGED)
        as_user = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        os.chown(directory, user.pw_uid, user.pw_gid)
    directory.chmod(0o711)
    try:
        with _server(directory, as_user) as database:
            yield database
    finally:
        shutil.rmtree(directory)


@contextmanager
def _server(directory: Path, as_user: dict[str, int | list[int]]) -> Iterator[Database]:
    data, socket = f"--datadir={directory}/data", directory / "db.sock"
    install = ["mariadb-install-db", "--no-defaults", data, "--auth-root-authentication-method=normal"]
    done = subprocess.run(install, capture_output=True, timeout=120, check=False, cwd=directory, **as_user)  # type: ignore[call-overload]
    assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()
    log = (directory / "log").open("wb")
    command = ["/usr/sbin/mariadbd", "--no-defaults", data, f"--socket={socket}", f"--pid-file={directory}/pid"]
    process = subprocess.Popen(
        [*command, *_SETTINGS],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        cwd=directory,
        **as_user,  # type: ignore[call-overload]
    )
    log.close()
    try:
        soon(lambda: process.poll() is not None or _answers(socket), within=60)
        assert process.poll() is None, (directory / "log").read_text()
        database = Database(socket)
        database.execute(
            f"CREATE USER '{USER}'@'localhost' IDENTIFIED BY '{PASSWORD}';"
            f"GRANT ALL ON *.* TO '{USER}'@'localhost' WITH GRANT OPTION"
        )
        yield database
    finally:
        process.terminate()
        process.wait(60)


def _answers(socket: Path) -> bool:
    command = ["mariadb", "--no-defaults", f"--socket={socket}", "--user=root", "--execute=SELECT 1"]
    return subprocess.run(command, capture_output=True, timeout=60, check=False).returncode == 0

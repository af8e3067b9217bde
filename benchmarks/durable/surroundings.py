"""Databases of the benchmark's own, a PHP-FPM, and where its scripts are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex
from tempfile import TemporaryDirectory

from fcgi_async import LocalFPM
from fcgi_async.jobs import Task
from tests.jobs.servers import MariaDB, Postgres

# makes an empty database, and returns its URL
Database = Callable[[], str]

STORES = ("sqlite", "postgres", "mariadb")
WORKERS = 4
SCRIPTS = {
    "empty": "echo 'ok';",
    "short": "usleep(10000);",
    "when": "echo microtime(true);",
}


@contextmanager
def database(kind: str) -> Iterator[Database]:
    """Yield what makes empty databases of a kind, on a server whose commits are on disk."""
    if kind == "sqlite":
        with TemporaryDirectory(prefix="jobs-") as folder:
            yield lambda: f"sqlite://{folder}/{token_hex(4)}.db"
        return
    with Postgres(durable=True) if kind == "postgres" else MariaDB(durable=True) as server:
        yield lambda: server.empty(f"bench_{token_hex(4)}")


def write_scripts(fpm: LocalFPM) -> dict[str, Path]:
    """Write the scripts beside a PHP-FPM; return them by name."""
    scripts = {name: fpm.directory / f"{name}.php" for name in SCRIPTS}
    for name, path in scripts.items():
        path.write_text(f"<?php {SCRIPTS[name]}")
    return scripts


def task(scripts: dict[str, Path], name: str) -> Task:
    """Return the task of a script, as one would write it whose jobs do no harm twice."""
    return Task(name, str(scripts[name]), idempotent=True, keep_result=60 if name == "when" else None)

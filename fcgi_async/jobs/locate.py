"""Find the store for a URL."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote

from fcgi_async.errors import ConfigurationError
from fcgi_async.jobs.checks import check_number
from fcgi_async.jobs.sql.sqlite_store import SQLiteStore
from fcgi_async.jobs.store import Store

__all__ = ("LEASE", "find_store")

# seconds
LEASE = 15.0
_KINDS = "sqlite:///var/lib/app/jobs.db, postgresql://user@host/database or mysql://user@host/database"


def find_store(url: str | Path, *, lease: float = LEASE) -> Store:
    """Return the store; it is not open yet.

    Args:
        url: "sqlite:///var/lib/app/jobs.db", the file's path, "postgresql://user@host/database", or
            "mysql://user@host/database".
        lease: seconds without a sign after which a worker on a server counts as lost.

    Raises:
        ConfigurationError: the kind of store is unknown, or the lease is shorter than half a second.
        ImportError: the extra for that kind of store is not installed.
    """
    check_number("Jobs(lease)", lease, least=0.5)
    if isinstance(url, Path):
        return SQLiteStore(url)
    if not isinstance(url, str):
        raise ConfigurationError(f"Jobs(url) must be {_KINDS}, or a Path; not {type(url).__name__}")
    scheme, colon, _ = url.partition(":")
    if scheme == "sqlite":
        # not split: a path may have a ? or a #
        path = unquote(url.removeprefix("sqlite:").removeprefix("//"))
        if path.strip("/") in ("", ":memory:"):
            raise ConfigurationError(f"{url!r} names no file: write sqlite:///var/lib/app/jobs.db")
        return SQLiteStore(Path(path))
    if scheme in ("postgresql", "postgres"):
        # its driver is an extra
        from fcgi_async.jobs.sql.postgres_store import PostgresStore

        return PostgresStore(url, lease)
    if scheme in ("mysql", "mariadb"):
        from fcgi_async.jobs.sql.mysql_store import MySQLStore

        return MySQLStore(url, lease)
    # the rest may be a password
    named = f"{scheme}:" if colon and scheme.isalnum() else "this"
    raise ConfigurationError(f"{named} is not a store of jobs: write {_KINDS}, or give a Path")

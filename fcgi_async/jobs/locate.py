"""Which store a URL means."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from fcgi_async.errors import ConfigurationError
from fcgi_async.jobs.sql.sqlite_store import SQLiteStore
from fcgi_async.jobs.store import Store

__all__ = ("find_store",)


def find_store(url: str | Path) -> Store:
    """Return the store, not open yet.

    Args:
        url: "sqlite:///var/lib/app/jobs.db", or the file's path.

    Raises:
        ConfigurationError: there is no such kind of store.
    """
    if isinstance(url, Path):
        return SQLiteStore(url)
    if not isinstance(url, str):
        raise ConfigurationError(f"Jobs(url) must be a URL or a Path, not {type(url).__name__}")
    scheme = urlsplit(url).scheme
    if scheme == "sqlite":
        # not split: a path may have a ? or a #
        path = unquote(url.removeprefix("sqlite:").removeprefix("//"))
        if not path.strip("/") or path == ":memory:":
            raise ConfigurationError(f"{url!r} names no file: write sqlite:///var/lib/app/jobs.db")
        return SQLiteStore(Path(path))
    raise ConfigurationError(f"{url!r} is not a store of jobs: write sqlite:///var/lib/app/jobs.db, or give a Path")

"""How PHP names the tests' databases."""

from __future__ import annotations

from typing import TypedDict, cast

from psycopg.conninfo import conninfo_to_dict

from fcgi_async.jobs.sql.mysql_address import Address


class Place(TypedDict):
    """What PDO takes."""

    dsn: str
    user: str | None


def pdo_place(url: str) -> Place:
    """Return what PDO takes for the database of a URL."""
    if url.startswith("sqlite:"):
        return {"dsn": f"sqlite:{url.removeprefix('sqlite://')}", "user": None}
    if url.startswith("mysql:"):
        settings = Address(url).settings
        dsn = f"mysql:unix_socket={settings['unix_socket']};dbname={settings['database']};charset=utf8mb4"
        return {"dsn": dsn, "user": settings["user"]}
    given = conninfo_to_dict(url)
    dsn = ";".join(f"{name}={given[name]}" for name in ("host", "dbname", "options"))
    return {"dsn": f"pgsql:{dsn}", "user": cast("str", given["user"])}

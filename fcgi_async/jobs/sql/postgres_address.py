"""The address of a PostgreSQL database; its password is never shown."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Final

import attrs
import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from fcgi_async.errors import ConfigurationError
from fcgi_async.jobs.sql.postgres_connection import Connection

__all__ = ("Address",)

# unless the URL has other values: a server that is gone is noticed within half a minute
_DEFAULTS: Final = {
    "connect_timeout": "10",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "25000",
    "application_name": "fcgi_async.jobs",
}
# with several hosts: a frozen or unreachable one must not keep us from the others, and standbys are of no use
_SEVERAL: Final = _DEFAULTS | {"connect_timeout": "3", "target_session_attrs": "read-write"}
# settings with one value for each host
_PLACED: Final = ("host", "hostaddr", "port")

_Place = Mapping[str, str]


@attrs.frozen(str=False)
class Address:
    """The address of a database; it may have several hosts, one of which accepts writes at a time.

    Args:
        url: postgresql://user:password@host:port,host:port/database?setting=value, with the settings of libpq.

    Raises:
        ConfigurationError: it is no such URL.
    """

    _url: str = attrs.field(repr=False)
    _conninfo: str = attrs.field(init=False, repr=False)
    _shown: str = attrs.field(init=False)
    # in the order in which to try them: the last one that worked first, those that failed last
    _places: list[_Place] = attrs.field(init=False, repr=False, eq=False)

    def __attrs_post_init__(self) -> None:
        try:
            given = {name: str(value) for name, value in conninfo_to_dict(self._url).items()}
            places = _split(given)
        except psycopg.ProgrammingError:
            # its message may quote the password
            raise ConfigurationError(
                "PostgreSQL's library cannot read the URL of the jobs' database; write postgresql://user@host/database"
            ) from None
        host = given.get("host") or given.get("hostaddr") or "the local server"
        defaults = _SEVERAL if len(places) > 1 else _DEFAULTS
        object.__setattr__(self, "_conninfo", make_conninfo("", **defaults | given))
        object.__setattr__(self, "_shown", f"PostgreSQL's database {given.get('dbname') or 'of this user'!r} on {host}")
        object.__setattr__(self, "_places", places)

    def __str__(self) -> str:
        return self._shown

    def connect(self) -> Connection:
        """Connect to the first host that accepts us; each statement is committed by itself unless it says BEGIN.

        If the server is replaced while the connection waits for an answer, the connection is closed.

        Raises:
            psycopg.Error: no host can be reached, or all refuse.
        """
        connection, place = self._connect(tuple(self._places))
        if len(self._places) > 1 or _is_elsewhere(connection):
            try:
                identity = connection.identity()
            except BaseException:
                connection.close()
                raise
            connection.is_replaced = partial(self._is_replaced, place, identity)
        else:
            connection.is_replaced = None
        return connection

    def _connect(self, places: tuple[_Place, ...]) -> tuple[Connection, _Place]:
        failed: list[_Place] = []
        errors: list[psycopg.OperationalError] = []
        for place in places:
            try:
                connection = Connection.connect(make_conninfo(self._conninfo, **place), autocommit=True)
            except psycopg.OperationalError as error:
                failed.append(place)
                errors.append(error)
            else:
                # do not wait for a server that freezes before it is identified
                connection.is_replaced = lambda: True
                self._reorder([place], failed)
                return connection, place
        self._reorder([], failed)
        if len(errors) == 1:
            raise errors[0]
        said = "; ".join(f"{_name(place)}: {error}" for place, error in zip(failed, errors, strict=True))
        raise psycopg.OperationalError(f"no host accepts a connection: {said}")

    def _reorder(self, first: list[_Place], last: list[_Place]) -> None:
        # another thread may connect meanwhile; it sees the old order or the new one
        self._places[:] = sorted(self._places, key=lambda each: (each not in first, each in last))

    def _is_replaced(self, place: _Place, identity: object) -> bool:
        """Whether another server than that of `identity` accepts a connection."""
        others = tuple(each for each in self._places if each != place) or (place,)
        try:
            found, _ = self._connect(others)
            try:
                return found.identity() != identity
            finally:
                found.close()
        except psycopg.Error:
            return False


def _split(given: Mapping[str, str]) -> list[_Place]:
    """Return the settings that name each host.

    Raises:
        psycopg.ProgrammingError: there are not as many ports, or addresses, as hosts.
    """
    lists = {name: given[name].split(",") for name in _PLACED if name in given}
    count = max((len(values) for name, values in lists.items() if name != "port"), default=1)
    if count == 1:
        return [{}]
    if len(lists.get("port", ())) == 1:
        lists["port"] *= count
    if any(len(values) != count for values in lists.values()):
        raise psycopg.ProgrammingError("the numbers of hosts, addresses and ports differ")
    return [{name: values[at] for name, values in lists.items()} for at in range(count)]


def _name(place: _Place) -> str:
    host = place.get("host") or place.get("hostaddr") or "the local server"
    port = place.get("port")
    return f"{host}:{port}" if port else host


def _is_elsewhere(connection: Connection) -> bool:
    """Whether the name of a host, or a proxy, may lead to another server the next time."""
    return not connection.info.host.startswith("/")

"""Where a PostgreSQL database is, without its password in anything that is shown."""

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

# unless the URL says otherwise: a server that is gone is known to be within half a minute
_DEFAULTS: Final = {
    "connect_timeout": "10",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "25000",
    "application_name": "fcgi_async.jobs",
}
# one of several that is frozen or cut off must not keep us from the others, and standbys are of no use
_SEVERAL: Final = _DEFAULTS | {"connect_timeout": "3", "target_session_attrs": "read-write"}
# what has one value for each host
_PLACED: Final = ("host", "hostaddr", "port")

_Place = Mapping[str, str]


@attrs.frozen(str=False)
class Address:
    """Where a database is: on one of several hosts, if it moves from one to another.

    Args:
        url: postgresql://user:password@host:port,host:port/database?setting=value, with the settings of libpq.

    Raises:
        ConfigurationError: it is no such URL.
    """

    _url: str = attrs.field(repr=False)
    _conninfo: str = attrs.field(init=False, repr=False)
    _shown: str = attrs.field(init=False)
    # in the order in which they are tried: first where it was last, and last where it was not
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
        """Connect to the first host that takes us; each statement is committed by itself unless it says BEGIN.

        Such a connection is given up while it waits for an answer, if its server was replaced.

        Raises:
            psycopg.Error: none can be reached, or all refuse.
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
                # there is nothing to wait for if it freezes before it is known
                connection.is_replaced = lambda: True
                self._reorder([place], failed)
                return connection, place
        self._reorder([], failed)
        if len(errors) == 1:
            raise errors[0]
        said = "; ".join(f"{_name(place)}: {error}" for place, error in zip(failed, errors, strict=True))
        raise psycopg.OperationalError(f"no host takes us: {said}")

    def _reorder(self, first: list[_Place], last: list[_Place]) -> None:
        # another thread may connect meanwhile, and sees the one order or the other
        self._places[:] = sorted(self._places, key=lambda each: (each not in first, each in last))

    def _is_replaced(self, place: _Place, identity: object) -> bool:
        """Whether another server than that of `identity` is to be had."""
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
    """Return what names each host.

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
        raise psycopg.ProgrammingError("hosts, addresses and ports are not as many")
    return [{name: values[at] for name, values in lists.items()} for at in range(count)]


def _name(place: _Place) -> str:
    host = place.get("host") or place.get("hostaddr") or "the local server"
    port = place.get("port")
    return f"{host}:{port}" if port else host


def _is_elsewhere(connection: Connection) -> bool:
    """Whether a name, or what is in between, may lead to another server the next time."""
    return not connection.info.host.startswith("/")

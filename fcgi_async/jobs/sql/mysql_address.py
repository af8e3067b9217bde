"""The address of a MariaDB or MySQL database; its password is never shown."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

import attrs
import pymysql
from pymysql.cursors import Cursor

from fcgi_async.errors import ConfigurationError

__all__ = ("Address",)

# seconds to connect and to wait for an answer: with a single host, then with several
_CONNECT: Final = 10
_ANSWER: Final = 30
_CONNECT_ONE: Final = 3
_ANSWER_ONE: Final = 8
_KNOWN: Final = {"unix_socket", "ssl_ca", "ssl_cert", "ssl_key"}


@attrs.frozen(str=False)
class Address:
    """The address of a database.

    Args:
        url: mysql://user:password@host:port/database?unix_socket=PATH, with several hosts if they are nodes of one
            cluster: mysql://user@host,host:port/database; also ssl_ca, ssl_cert and ssl_key.

    Attributes:
        settings: the arguments for PyMySQL.
        hosts: the hosts with their ports, at least one.
        answer: seconds to wait for an answer of the server.

    Raises:
        ConfigurationError: it is no such URL.
    """

    _url: str = attrs.field(repr=False)
    settings: dict[str, Any] = attrs.field(init=False, repr=False)
    hosts: Sequence[tuple[str, int]] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        try:
            parts = urlsplit(self._url)
            options = dict(parse_qsl(parts.query, strict_parsing=bool(parts.query)))
            hosts = tuple(_host(each) for each in parts.netloc.rpartition("@")[2].split(","))
        except ValueError:
            # its message may quote the password
            raise ConfigurationError(
                "the URL of the jobs' database cannot be read; write mysql://user:password@host/database"
            ) from None
        unknown = sorted(options.keys() - _KNOWN)
        if unknown:
            raise ConfigurationError(
                f"the URL of the jobs' database has {', '.join(unknown)}; it may have {', '.join(sorted(_KNOWN))}"
            )
        database = unquote(parts.path.removeprefix("/"))
        if not database:
            raise ConfigurationError(
                "the URL of the jobs' database names no database: write mysql://user@host/database"
            )
        settings: dict[str, Any] = {"database": database, **options}
        for name, value in (("user", parts.username), ("password", parts.password)):
            if value is not None:
                settings[name] = unquote(value)
        object.__setattr__(self, "settings", settings)
        object.__setattr__(self, "hosts", hosts)

    @property
    def answer(self) -> int:
        """Seconds to wait for an answer: only a few if another host may give it."""
        return _ANSWER if len(self.hosts) == 1 else _ANSWER_ONE

    def connect(self, place: int = 0, *, client_flag: int = 0) -> pymysql.Connection[Cursor]:
        """Connect to one of the hosts; each statement is committed by itself unless it begins a transaction.

        Raises:
            OSError: there is no server.
            pymysql.Error: it cannot be reached, or refuses.
        """
        host, port = self.hosts[place]
        connection = pymysql.connect(
            **self.settings,
            host=host,
            port=port,
            charset="utf8mb4",
            autocommit=True,
            client_flag=client_flag,
            connect_timeout=_CONNECT if len(self.hosts) == 1 else _CONNECT_ONE,
            read_timeout=self.answer,
            write_timeout=self.answer,
            defer_connect=True,
        )
        path = self.settings.get("unix_socket")
        # PyMySQL does not close its own socket if nothing listens there
        own = None if path is None else socket.socket(socket.AF_UNIX)
        try:
            if own is not None and path is not None:
                own.settimeout(_CONNECT)
                own.connect(path)
                # as PyMySQL does with its own unix socket: nobody can listen in
                vars(connection)["_secure"] = True
            connection.connect(own)
        except BaseException:
            if own is not None:
                own.close()
            raise
        return connection

    def __str__(self) -> str:
        where = self.settings.get("unix_socket") or ", ".join(host for host, _ in self.hosts)
        return f"the MySQL database {self.settings['database']!r} on {where}"


def _host(text: str) -> tuple[str, int]:
    """Return a host and its port.

    Raises:
        ValueError: that is not a number.
    """
    parts = urlsplit(f"//{text}")
    # as PyMySQL does
    return unquote(parts.hostname or "localhost"), parts.port or 0

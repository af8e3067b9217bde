"""Addresses of FastCGI peers: a unix path, an abstract unix name, or TCP."""

from __future__ import annotations

import re
from enum import StrEnum
from urllib.parse import urlsplit

import attrs

from fcgi_async.errors import ConfigurationError

__all__ = ("Address", "AddressFamily")

_EXAMPLES = "unix:///run/php/php-fpm.sock, unix://@abstract or tcp://127.0.0.1:9000"
# sizeof(sockaddr_un.sun_path) minus the final NUL
_MAX_UNIX_PATH = 107
# the forms of FPM's `listen` and nginx's fastcgi_pass: a path, unix:/path, and host:port
_BARE_PATH = re.compile(r"(?:unix:)?(/(?!/).*)", re.DOTALL)
_BARE_TCP = re.compile(r"(?:\[[^\[\]]+\]|[^\s:/@\[\]?#]+):\d+")


class AddressFamily(StrEnum):
    """How a peer is reached."""

    UNIX = "unix"
    ABSTRACT = "abstract"
    TCP = "tcp"


@attrs.frozen
class Address:
    """A parsed address; `str()` returns it with its scheme, `unix://` or `tcp://`.

    Attributes:
        family: how the peer is reached.
        path: the socket's path, or its abstract name without the `@`; empty for TCP.
        host: a name or an address, IPv6 without brackets; empty for unix.
        port: 1 to 65535; 0 for unix.
    """

    text: str
    family: AddressFamily
    path: str = ""
    host: str = ""
    port: int = 0

    @classmethod
    def parse(cls, text: str) -> Address:
        """Parse `unix:///path`, `unix://@name` or `tcp://host:port`; also a bare `/path`, `unix:/path` or `host:port`.

        Raises:
            ConfigurationError: the text is not an address.
        """
        if not isinstance(text, str):
            raise ConfigurationError(f"an address must be a string such as {_EXAMPLES}, not {type(text).__name__}")
        if text.startswith("unix://"):
            return cls._parse_unix(text, text.removeprefix("unix://"))
        if text.startswith("tcp://"):
            return cls._parse_tcp(text)
        if bare := _BARE_PATH.fullmatch(text):
            return cls._parse_unix(f"unix://{bare[1]}", bare[1])
        if _BARE_TCP.fullmatch(text):
            return cls._parse_tcp(f"tcp://{text}")
        raise ConfigurationError(f"{text!r} is not an address; write {_EXAMPLES}")

    @classmethod
    def _parse_unix(cls, text: str, path: str) -> Address:
        if "\0" in path:
            raise ConfigurationError(f"{text!r} has a NUL in its path; remove it")
        if len(path.encode()) > _MAX_UNIX_PATH:
            raise ConfigurationError(
                f"the path of {text!r} is longer than the {_MAX_UNIX_PATH} bytes a unix socket can have; "
                "shorten `listen` in FPM's pool"
            )
        if path.startswith("@") and len(path) > 1:
            return cls(text, AddressFamily.ABSTRACT, path=path[1:])
        if path.startswith("/"):
            return cls(text, AddressFamily.UNIX, path=path)
        raise ConfigurationError(f"{text!r} names neither an absolute path nor @name; write {_EXAMPLES}")

    @classmethod
    def _parse_tcp(cls, text: str) -> Address:
        try:
            parts = urlsplit(text)
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise ConfigurationError(f"{text!r} is not an address: {error}; write {_EXAMPLES}") from error
        if not host or not port or parts.path or parts.query or parts.fragment or parts.username is not None:
            raise ConfigurationError(f"{text!r} does not name a host and a port; write {_EXAMPLES}")
        return cls(text, AddressFamily.TCP, host=host, port=port)

    @property
    def is_unix(self) -> bool:
        """Whether it is a unix socket."""
        return self.family is not AddressFamily.TCP

    def __str__(self) -> str:
        return self.text

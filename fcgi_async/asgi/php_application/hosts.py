"""The host that a request is for, and the hosts that are served."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

import attrs

from fcgi_async.asgi.php_application.refusal import Refusal
from fcgi_async.errors import ConfigurationError

__all__ = ("Host", "HostRules", "parse_host")

_HOST = re.compile(r"([A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*\.?|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5})?)?")
_MAX_PORT: Final = 65535
# a name of 255 characters (RFC 1035, 2.3.4), and a port
_MAX_LENGTH: Final = 261


@attrs.frozen
class Host:
    """A host as a client names it.

    Attributes:
        text: unchanged, for HTTP_HOST.
        name: without the port.
        port: the port, or None.
    """

    text: str
    name: str
    port: str | None


@lru_cache(256)
def parse_host(value: str) -> Host:
    """Return the host that a Host header or a target names.

    Raises:
        Refusal: 400: it is not a host.
    """
    found = _HOST.fullmatch(value) if len(value) <= _MAX_LENGTH else None
    if found is None or (found[2] and int(found[2]) > _MAX_PORT):
        raise Refusal(400, "the Host is not a host name with or without a port")
    port = found[2]
    return Host(value, found[1], port or None)


class HostRules:
    """Which hosts are served.

    Args:
        names: host names without ports; `*.example.org` means every name below example.org. None for any.

    Raises:
        ConfigurationError: a name is not a host name.
    """

    def __init__(self, names: Iterable[str] | None) -> None:
        self._any = names is None
        self._exact: set[str] = set()
        self._below: list[str] = []
        for name in _strings(names):
            host = name.removeprefix("*.")
            found = _HOST.fullmatch(host)
            if found is None or found[2] is not None:
                raise ConfigurationError(
                    f"hosts has {name!r}, which is not a host name; give names without ports, or *.example.org"
                )
            if name.startswith("*."):
                self._below.append("." + host.lower())
            else:
                self._exact.add(host.lower())

    def check(self, host: Host | None) -> None:
        """Raise Refusal if a request's host is not served.

        Raises:
            Refusal: 421 for another host, 400 for none.
        """
        if self._any:
            return
        if host is None:
            raise Refusal(400, "the request names no host, and hosts= allows only those that it lists")
        name = host.name.lower().removesuffix(".")
        if name not in self._exact and not any(name.endswith(end) for end in self._below):
            raise Refusal(421, f"the host {host.name[:200]!r} is not in hosts=")


def _strings(names: object) -> list[str]:
    if names is None:
        return []
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise ConfigurationError(f"hosts={names!r} is not a list of names, such as [{names!r}]")
    found = []
    for name in names:
        if not isinstance(name, str):
            raise ConfigurationError(f"hosts has {name!r}, which is not a string")
        found.append(name)
    return found

"""Make `Endpoint`s from the argument `endpoints=`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from ipaddress import ip_address

import attrs

from fcgi_async.errors import ConfigurationError
from fcgi_async.job.numbers import is_whole
from fcgi_async.net.address import Address, AddressFamily
from fcgi_async.pool.endpoint import Endpoint

__all__ = ("Endpoints", "parse_endpoints")

Endpoints = str | Endpoint | Sequence[str | Endpoint]


def parse_endpoints(endpoints: Endpoints, max_children: int | None, reserve: int) -> tuple[Endpoint, ...]:
    """Return the endpoints of a dispatcher; `max_children` and `reserve` are shorthand for a single endpoint.

    Raises:
        ConfigurationError: there is no endpoint, one is not an endpoint, or two have the same address.
    """
    given: list[object] = [endpoints]
    if isinstance(endpoints, Sequence) and not isinstance(endpoints, str | bytes):
        given = [*endpoints]
    if not given:
        raise ConfigurationError("no endpoint was given; name the address of an FPM pool")
    found = [_endpoint(one) for one in given]
    _check_distinct(found)
    if len(found) > 1 and (max_children is not None or reserve):
        raise ConfigurationError("max_children and reserve are for one endpoint; give each Endpoint its own")
    if not is_whole(reserve):
        raise ConfigurationError(f"reserve must be a whole number of workers, not {reserve!r}")
    if max_children is not None:
        found[0] = attrs.evolve(found[0], max_children=max_children)
    if reserve:
        found[0] = attrs.evolve(found[0], reserve=reserve)
    return tuple(found)


def _endpoint(given: object) -> Endpoint:
    if isinstance(given, Endpoint):
        return given
    if isinstance(given, str):
        return Endpoint(given)
    example = f"unix://{os.fspath(given)}" if isinstance(given, os.PathLike) else "unix:///run/php/php-fpm.sock"
    raise ConfigurationError(
        f"an endpoint must be an Endpoint, or an address such as {example!r} or 'tcp://127.0.0.1:9000'; "
        f"not {type(given).__name__}"
    )


def _check_distinct(endpoints: Sequence[Endpoint]) -> None:
    seen: dict[tuple[str, str, int], Address] = {}
    for address in (endpoint.address for endpoint in endpoints):
        place = _place(address)
        first = seen.get(place)
        seen[place] = address
        if first is not None:
            raise ConfigurationError(
                f"the endpoints {first} and {address} are the same address, and each would use its share of "
                "the same workers; merge them into one Endpoint",
                endpoint=str(address),
            )


def _place(address: Address) -> tuple[str, str, int]:
    """Return a key that is the same for all spellings of a socket's address."""
    if address.family is AddressFamily.UNIX:
        return address.family, os.path.realpath(address.path), 0
    if address.family is AddressFamily.ABSTRACT:
        return address.family, address.path, 0
    try:
        host = str(ip_address(address.host))
    except ValueError:
        host = address.host.lower().rstrip(".")
    return address.family, host, address.port

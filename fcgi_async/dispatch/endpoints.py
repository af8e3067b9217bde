"""What may be given as `endpoints=`, made into `Endpoint`s."""

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
    """Return the endpoints of a dispatcher; `max_children` and `reserve` are shortcuts for one.

    Raises:
        ConfigurationError: there is none, one is no endpoint, or two have one address.
    """
    if not isinstance(endpoints, str | Endpoint | Sequence):
        raise ConfigurationError(f"an endpoint is an address or an Endpoint, not {type(endpoints).__name__}")
    given = [endpoints] if isinstance(endpoints, str | Endpoint) else list(endpoints)
    if not given:
        raise ConfigurationError("no endpoint was given; name the address of an FPM pool")
    if len(given) > 1 and (max_children is not None or reserve):
        raise ConfigurationError("max_children and reserve are shortcuts for one endpoint; give each Endpoint its own")
    found = [endpoint if isinstance(endpoint, Endpoint) else Endpoint(endpoint) for endpoint in given]
    _check_distinct(found)
    if not is_whole(reserve):
        raise ConfigurationError(f"reserve={reserve!r} is not a whole number of workers")
    if max_children is not None:
        found[0] = attrs.evolve(found[0], max_children=max_children)
    if reserve:
        found[0] = attrs.evolve(found[0], reserve=reserve)
    return tuple(found)


def _check_distinct(endpoints: Sequence[Endpoint]) -> None:
    seen: dict[tuple[str, str, int], Address] = {}
    for address in (endpoint.address for endpoint in endpoints):
        place = _place(address)
        first = seen.get(place)
        seen[place] = address
        if first is not None:
            raise ConfigurationError(
                f"the endpoints {first} and {address} are one address, and each would take its share of the same "
                "workers; merge them into one Endpoint",
                endpoint=str(address),
            )


def _place(address: Address) -> tuple[str, str, int]:
    """Return what two addresses of one socket have in common, however they are written."""
    if address.family is AddressFamily.UNIX:
        return address.family, os.path.realpath(address.path), 0
    if address.family is AddressFamily.ABSTRACT:
        return address.family, address.path, 0
    try:
        host = str(ip_address(address.host))
    except ValueError:
        host = address.host.lower().rstrip(".")
    return address.family, host, address.port

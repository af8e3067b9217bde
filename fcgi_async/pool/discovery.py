"""How many workers a pool has, where nobody gave a number: what its status page tells."""

from __future__ import annotations

import attrs

from fcgi_async.errors import ConfigurationError, StatusUnavailable
from fcgi_async.fpm.status import fetch_status
from fcgi_async.pool.endpoint import Endpoint

__all__ = ("discover",)

_STATIC = "static"


async def discover(endpoint: Endpoint) -> Endpoint:
    """Return an endpoint with `max_children` from its status page, or as it is where it has a number or no page.

    With `pm = static` there are always as many workers as there may be; with the others the page does not tell.

    Raises:
        StatusUnavailable: the page did not answer.
        ConfigurationError: it does not tell, or nothing is left of the workers.
    """
    page = endpoint.status
    if endpoint.max_children is not None or page is None:
        return endpoint
    name = str(endpoint.address)
    try:
        status = await fetch_status(page)
    except StatusUnavailable as error:
        raise StatusUnavailable(
            f"endpoint {name}: max_children is not given, and what should tell it does not: {error.message}",
            endpoint=name,
        ) from error
    if status.process_manager != _STATIC:
        raise ConfigurationError(
            f"endpoint {name}: max_children is not known: the status page of pool {status.pool!r} says "
            f"pm = {status.process_manager}, and tells it only for pm = static; give pm.max_children of that pool "
            "(in FPM's configuration, often /etc/php/*/fpm/pool.d/www.conf)",
            endpoint=name,
        )
    return attrs.evolve(endpoint, max_children=status.total)

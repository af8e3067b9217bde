"""Find out how many workers a pool has if no number was given: from its status page, or from the peer itself."""

from __future__ import annotations

import anyio
import attrs

from fcgi_async.errors import ConfigurationError, FastCGIError, StatusUnavailable
from fcgi_async.fpm.status import fetch_status
from fcgi_async.net.values import ask_values, requests_at_once
from fcgi_async.pool.endpoint import Endpoint
from fcgi_async.wire.spec import FCGI_MPXS_CONNS

__all__ = ("discover",)

_STATIC = "static"
# request ids on a connection to a multiplexing peer that does not report how many it serves
_REQUESTS_AT_ONCE = 100
_ANSWER_SECONDS = 5.0


async def discover(endpoint: Endpoint) -> Endpoint:
    """Return an endpoint with `max_children`; unchanged if it has that already.

    A peer that multiplexes has FCGI_MAX_REQS, or 100 if it does not report that. For PHP-FPM, the status page tells it
    only with `pm = static`, because then all workers always exist.

    Raises:
        StatusUnavailable: the page did not answer.
        ConfigurationError: the page does not tell it, or no worker is left.
    """
    page = endpoint.status
    if endpoint.max_children is not None:
        return endpoint
    if page is None:
        return attrs.evolve(endpoint, max_children=await _ask_peer(endpoint))
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


async def _ask_peer(endpoint: Endpoint) -> int | None:
    if endpoint.multiplex != "auto" or not endpoint.handshake:
        return None
    values: dict[bytes, bytes] = {}
    with anyio.move_on_after(_ANSWER_SECONDS):
        try:
            values = await ask_values(endpoint.address, connect_timeout=endpoint.connect_timeout)
        except (OSError, FastCGIError) as error:
            raise ConfigurationError(
                f"endpoint {endpoint.address}: max_children is not known, and the peer cannot be asked whether it "
                f"multiplexes ({error}); give pm.max_children of that pool, or use Endpoint.from_fpm_config()",
                endpoint=str(endpoint.address),
            ) from error
    if values.get(FCGI_MPXS_CONNS) != b"1":
        return None
    return requests_at_once(values) or _REQUESTS_AT_ONCE

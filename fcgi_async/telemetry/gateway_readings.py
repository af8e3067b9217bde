"""The metrics of gateways, under the names that each system expects."""

from __future__ import annotations

from contextlib import suppress
from threading import Lock
from typing import TYPE_CHECKING, Final

import attrs

from fcgi_async.errors import ConfigurationError
from fcgi_async.telemetry.readings import Reading

if TYPE_CHECKING:
    from fcgi_async.gateway.gateway import Gateway, GatewayStatistics

__all__ = ("GATEWAY_READINGS", "Gateways")


GATEWAY_READINGS: Final[tuple[Reading[GatewayStatistics], ...]] = (
    Reading(
        "fcgi.gateway.connection.count",
        "fcgi_gateway_connections",
        False,
        "{connection}",
        "Connections of clients that are open.",
        lambda now: {"": now.connections},
    ),
    Reading(
        "fcgi.gateway.request.count",
        "fcgi_gateway_requests",
        False,
        "{request}",
        "Requests that were begun and have no end yet, those whose bodies are still coming included.",
        lambda now: {"": now.requests},
    ),
    Reading(
        "fcgi.gateway.request.ended",
        "fcgi_gateway_requests_ended",
        True,
        "{request}",
        "Requests that are over: answered by PHP (passed), without a whole response of PHP's (failed), told to come "
        "again later (refused), or left by their clients (left).",
        lambda now: {"passed": now.passed, "failed": now.failed, "refused": now.refused, "left": now.left},
        "fcgi.gateway.outcome",
        "outcome",
    ),
)


@attrs.define(eq=False)
class Gateways:
    """The gateways whose statistics are read, by name."""

    _gateways: list[tuple[Gateway, str]] = attrs.field(factory=list, init=False)
    # readings may come from any thread
    _lock: Lock = attrs.field(factory=Lock, init=False)

    def add(self, gateway: Gateway, name: str | None) -> None:
        """Read a gateway from now on; its name is "gateway" unless given."""
        with self._lock:
            self._gateways.append((gateway, "gateway" if name is None else name))

    def statistics(self) -> list[tuple[str, GatewayStatistics]]:
        """Return what each of them does and has done; those that were not entered yet are left out."""
        found = []
        with self._lock:
            for gateway, name in self._gateways:
                with suppress(ConfigurationError):
                    found.append((name, gateway.statistics()))
        return found

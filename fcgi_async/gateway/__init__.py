"""A gateway for several processes on one FPM pool: FastCGI on both sides, and one queue in between."""

from fcgi_async.gateway.gateway import Gateway, GatewayStatistics

__all__ = ("Gateway", "GatewayStatistics")

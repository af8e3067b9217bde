"""A Starlette service whose processes serve their metrics at a port each."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from fcgi_async import Dispatcher, Job
from fcgi_async.telemetry.metrics_server import MetricsServer
from fcgi_async.telemetry.prometheus import PrometheusCollector
from tests.asgi.services.endpoint import make

PORTS = [int(port) for port in os.environ["METRICS_PORTS"].split(",")]


@asynccontextmanager
async def lifespan(application: Starlette) -> AsyncIterator[dict[str, Dispatcher]]:
    """Open a dispatcher, and serve its metrics."""
    registry = CollectorRegistry()
    php = PrometheusCollector(registry).instrument(make(), name="measured")
    with MetricsServer(PORTS, registry=registry):
        async with php:
            yield {"php": php}


async def run(request: Request) -> Response:
    """Run the script of the path, and tell which process has done it."""
    response = await request.state.php.run(Job(request.path_params["script"], query=dict(request.query_params)))
    return PlainTextResponse(str(os.getpid()), response.status)


app = Starlette(routes=[Route("/run/{script}", run)], lifespan=lifespan)

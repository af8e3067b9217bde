"""A Starlette handler that fans out: the prices of many articles at once, whichever of them can be had.

FPM=unix:///run/php/php8.2-fpm.sock MAX_CHILDREN=8 uvicorn starlette_fan_out:app
curl 'http://127.0.0.1:8000/prices?id=1&id=2&id=13'
"""

from __future__ import annotations

import os
from pathlib import Path

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from fcgi_async import Dispatcher, Endpoint, Job, Timeouts
from fcgi_async.asgi import CancelOnDisconnect, ErrorResponses, lifespan


def make() -> Dispatcher:
    """Return the dispatcher of this process: no visitor waits longer than two seconds for a worker."""
    endpoint = Endpoint(
        os.environ["FPM"],
        max_children=int(os.environ.get("MAX_CHILDREN", "8")),
        reserve=int(os.environ.get("RESERVE", "0")),
        processes=int(os.environ.get("WEB_CONCURRENCY", "1")),
        root=os.environ.get("SCRIPTS", str(Path(__file__).parent / "php")),
    )
    return Dispatcher(endpoint, timeouts=Timeouts(queue=2, run=10))


async def prices(request: Request) -> JSONResponse:
    """Answer with the price of each article, and null for those that PHP had none for."""
    articles = request.query_params.getlist("id")
    async with request.state.php.group(on_error="collect") as group:
        handles = {article: await group.submit(Job("price.php", query={"id": article})) for article in articles}
    # collect: a job that failed is no exception here, but what its handle says
    return JSONResponse(
        {
            article: handle.result().json() if handle.exception() is None and handle.result().ok else None
            for article, handle in handles.items()
        }
    )


app = Starlette(
    routes=[Route("/prices", prices)],
    middleware=[Middleware(CancelOnDisconnect), Middleware(ErrorResponses)],
    lifespan=lifespan(make),
)

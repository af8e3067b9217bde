"""A Starlette service: one job, twenty jobs, a submitted one, and what the dispatcher is doing."""

from __future__ import annotations

import os

import attrs
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from fcgi_async import Job
from fcgi_async.asgi import CancelOnDisconnect, ErrorResponses, lifespan
from tests.asgi.services.endpoint import make


async def run(request: Request) -> Response:
    """Run the script of the path with the query of the request."""
    response = await request.state.php.run(Job(request.path_params["script"], query=dict(request.query_params)))
    return PlainTextResponse(response.content, response.status, {"X-Process": str(os.getpid())})


async def fan_out(request: Request) -> Response:
    """Run it as often as the query says, at once."""
    query = dict(request.query_params)
    jobs = (Job(request.path_params["script"], query=query | {"n": str(n)}) for n in range(int(query["jobs"])))
    return JSONResponse([response.text for response in await request.state.php.run_all(jobs)])


async def submit(request: Request) -> Response:
    """Hand it in, and do not wait."""
    await request.state.php.submit(Job(request.path_params["script"], query=dict(request.query_params)))
    return PlainTextResponse("accepted", 202)


async def statistics(request: Request) -> Response:
    """Tell what the dispatcher of this process is doing."""
    return JSONResponse(attrs.asdict(request.state.php.statistics()))


app = Starlette(
    routes=[
        Route("/run/{script}", run, methods=["GET", "POST"]),
        Route("/fan-out/{script}", fan_out),
        Route("/submit/{script}", submit),
        Route("/statistics", statistics),
    ],
    middleware=[Middleware(CancelOnDisconnect), Middleware(ErrorResponses)],
    lifespan=lifespan(make, close_within=float(os.environ.get("CLOSE_WITHIN", "20"))),
)

"""The same service in Litestar."""

from __future__ import annotations

import os
from typing import Any, NoReturn

import attrs
from litestar import Litestar, Request, Response, get, route

from fcgi_async import Dispatcher, FastCGIError, Job
from fcgi_async.asgi import CancelOnDisconnect, ErrorResponses, lifespan
from tests.asgi.services.endpoint import make

AnyRequest = Request[Any, Any, Any]


def php(request: AnyRequest) -> Dispatcher:
    """Return the dispatcher of this process."""
    dispatcher: Dispatcher = request.app.state.php
    return dispatcher


@route("/run/{script:str}", http_method=["GET", "POST"])
async def run(request: AnyRequest) -> Response[bytes]:
    """Run the script of the path with the query of the request."""
    response = await php(request).run(Job(request.path_params["script"], query=dict(request.query_params)))
    return Response(response.content, status_code=response.status, headers={"X-Process": str(os.getpid())})


@get("/fan-out/{script:str}")
async def fan_out(request: AnyRequest) -> list[str]:
    """Run it as often as the query says, at once."""
    query = dict(request.query_params)
    responses = await php(request).run_all(
        Job(request.path_params["script"], query=query | {"n": str(n)}) for n in range(int(query["jobs"]))
    )
    return [response.text for response in responses]


@get("/submit/{script:str}", status_code=202)
async def submit(request: AnyRequest) -> str:
    """Hand it in, and do not wait."""
    await php(request).submit(Job(request.path_params["script"], query=dict(request.query_params)))
    return "accepted"


@get("/statistics")
async def statistics(request: AnyRequest) -> dict[str, int]:
    """Tell what the dispatcher of this process is doing."""
    return attrs.asdict(php(request).statistics())


def pass_on(request: AnyRequest, error: FastCGIError) -> NoReturn:
    """Let an error of a job reach the middleware."""
    raise error


app = Litestar(
    [run, fan_out, submit, statistics],
    lifespan=[lifespan(make, close_within=float(os.environ.get("CLOSE_WITHIN", "20")))],
    middleware=[CancelOnDisconnect, ErrorResponses],  # type: ignore[list-item]  # the shapes of ASGI are its own there
    exception_handlers={FastCGIError: pass_on},
    # its own writes from a thread, which may not have written all when the process ends
    logging_config=None,
    openapi_config=None,
)

"""The same service in FastAPI."""

from __future__ import annotations

import os

import attrs
from fastapi import FastAPI, Request, Response

from fcgi_async import Job
from fcgi_async.asgi import CancelOnDisconnect, ErrorResponses, lifespan
from tests.asgi.services.endpoint import make

app = FastAPI(lifespan=lifespan(make, close_within=float(os.environ.get("CLOSE_WITHIN", "20"))))
app.add_middleware(ErrorResponses)
app.add_middleware(CancelOnDisconnect)


@app.api_route("/run/{script}", methods=["GET", "POST"])
async def run(script: str, request: Request) -> Response:
    """Run the script of the path with the query of the request."""
    response = await request.state.php.run(Job(script, query=dict(request.query_params)))
    return Response(response.content, response.status, {"X-Process": str(os.getpid())})


@app.get("/fan-out/{script}")
async def fan_out(script: str, jobs: int, request: Request) -> list[str]:
    """Run it as often as the query says, at once."""
    query = dict(request.query_params)
    responses = await request.state.php.run_all(Job(script, query=query | {"n": str(n)}) for n in range(jobs))
    return [response.text for response in responses]


@app.get("/submit/{script}", status_code=202)
async def submit(script: str, request: Request) -> str:
    """Hand it in, and do not wait."""
    await request.state.php.submit(Job(script, query=dict(request.query_params)))
    return "accepted"


@app.get("/statistics")
async def statistics(request: Request) -> dict[str, int]:
    """Tell what the dispatcher of this process is doing."""
    return attrs.asdict(request.state.php.statistics())

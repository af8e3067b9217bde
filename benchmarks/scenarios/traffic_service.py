"""The service under traffic: each request fans out to twenty jobs, and the jobs that PHP did not start are noted.

That is what their errors promise, so that the scripts' own log can be held against it.
"""

from __future__ import annotations

import asyncio
import os
import random
from pathlib import Path

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from fcgi_async import Dispatcher, Endpoint, Job, JobHandle
from fcgi_async.asgi import CancelOnDisconnect, ErrorResponses, lifespan

JOBS = 20


def make() -> Dispatcher:
    """Return the dispatcher: a queue with room for 45 requests, who comes then is sent away."""
    children, reserve = int(os.environ["MAX_CHILDREN"]), int(os.environ["RESERVE"])
    folder, status = str(Path(__file__).parent), os.environ["FPM_STATUS"]
    endpoint = Endpoint(os.environ["FPM"], max_children=children, reserve=reserve, root=folder, status=status)
    return Dispatcher(endpoint, max_queued=45 * JOBS, overflow="reject")


async def fan_out(request: Request) -> JSONResponse:
    """Run twenty jobs of 10 to 30 ms and answer with what they said."""
    name = request.query_params["name"]
    handles: list[JobHandle] = []
    try:
        async with request.state.php.group() as group:
            for n in range(JOBS):
                query = {"log": os.environ["JOB_LOG"], "key": f"{name}-{n}", "ms": str(random.randint(10, 30))}
                handles.append(await group.submit(Job("traffic_job.php", query=query, tag=query["key"])))
    finally:
        note_promises(handles)
    return JSONResponse([handle.result().text for handle in handles])


def note_promises(handles: list[JobHandle]) -> None:
    """Write down which jobs PHP has not started, by what their errors say."""
    errors = {handle.job.tag: handle.exception() for handle in handles}
    withdrawn = [f"{tag}\n" for tag, error in errors.items() if error is not None and not error.may_have_run]
    with Path(os.environ["PROMISE_LOG"]).open("a") as promises:
        promises.writelines(withdrawn)


async def figures(request: Request) -> JSONResponse:
    """Tell what the process has at this moment, this request included."""
    return JSONResponse({"tasks": len(asyncio.all_tasks()), "descriptors": len(os.listdir("/proc/self/fd"))})


app = Starlette(
    routes=[Route("/fan-out", fan_out), Route("/figures", figures)],
    middleware=[Middleware(CancelOnDisconnect), Middleware(ErrorResponses)],
    lifespan=lifespan(make),
)

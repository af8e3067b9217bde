"""Twenty PHP jobs for each visitor, and their progress in the browser while they run.

    FPM=unix:///run/php/php8.2-fpm.sock MAX_CHILDREN=8 RESERVE=2 uvicorn service:app

Then look at http://127.0.0.1:8000/. Each job paints a tile of a picture, and streams it row by row; a visitor who
leaves, or presses Cancel, takes the jobs along: those that were queued never run. Where FPM_STATUS is the address of
FPM's `pm.status_listen`, the workers of those that ran are free again as soon as they have noticed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated

import anyio
from anyio.streams.memory import MemoryObjectSendStream
from fastapi import FastAPI, Query, Request
from fastapi.responses import FileResponse, Response
from starlette.types import Receive, Scope, Send

from fcgi_async import Dispatcher, Endpoint, FastCGIError, Job, Timeouts
from fcgi_async.asgi import CancelOnDisconnect, ErrorResponses, HealthRoutes, lifespan

HERE = Path(__file__).parent
COLUMNS, WIDTH, HEIGHT = 5, 96, 72

Events = MemoryObjectSendStream[dict[str, object]]


def make() -> Dispatcher:
    """Return the dispatcher of this process."""
    endpoint = Endpoint(
        os.environ.get("FPM", "unix:///run/php/php8.2-fpm.sock"),
        max_children=int(os.environ.get("MAX_CHILDREN", "8")),
        reserve=int(os.environ.get("RESERVE", "2")),
        processes=int(os.environ.get("WEB_CONCURRENCY", "1")),
        root=os.environ.get("SCRIPTS", str(HERE)),
        status=os.environ.get("FPM_STATUS"),
    )
    return Dispatcher(endpoint, timeouts=Timeouts(queue=60, run=60))


class EventStream(Response):
    """Server-sent events that a task produces: it ends with the response, and no generator is left behind."""

    media_type = "text/event-stream"

    def __init__(self, produce: Callable[[Events], Awaitable[None]]) -> None:
        # nginx must not collect what is to arrive now
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._produce = produce

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events as they come."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async with anyio.create_task_group() as tasks:
            # room for a moment's inattention: a browser that reads no more holds up the workers, and cancels nothing
            events, coming = anyio.create_memory_object_stream[dict[str, object]](256)
            tasks.start_soon(self._run, events)
            with coming:
                async for event in coming:
                    body = f"data: {json.dumps(event)}\n\n".encode()
                    await send({"type": "http.response.body", "body": body, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async def _run(self, events: Events) -> None:
        with events:
            await self._produce(events)


app = FastAPI(lifespan=lifespan(make))
app.add_middleware(ErrorResponses)
app.add_middleware(CancelOnDisconnect)
app.add_middleware(HealthRoutes, ready="/healthz")


@app.get("/")
async def page() -> FileResponse:
    """The page."""
    return FileResponse(HERE / "page.html", headers={"Cache-Control": "no-cache"})


@app.get("/events")
async def events(
    request: Request,
    jobs: Annotated[int, Query(ge=1, le=100)] = 20,
    pace: Annotated[int, Query(ge=0, le=1000, description="milliseconds of rest behind each row")] = 8,
) -> EventStream:
    """Run the jobs and stream what they say, each event with the number of its job."""
    php: Dispatcher = request.state.php

    async def produce(events: Events) -> None:
        await events.send({"jobs": jobs, "columns": COLUMNS, "width": WIDTH, "height": HEIGHT})
        async with anyio.create_task_group() as tasks:
            for number in range(jobs):
                tasks.start_soon(follow, php, tile(number, jobs, pace), events)
        await events.send({"end": True})

    return EventStream(produce)


def tile(number: int, of: int, pace: int) -> Job:
    """The job that paints one tile."""
    place = {"column": number % COLUMNS, "row": number // COLUMNS, "columns": COLUMNS, "rows": -(-of // COLUMNS)}
    data = {**place, "width": WIDTH, "height": HEIGHT, "pace": pace}
    return Job("tile.php", json=data, success_mark='{"success":true}', tag=number)


async def follow(php: Dispatcher, job: Job, events: Events) -> None:
    """Run one job, and hand on what it reports."""
    try:
        async with php.stream(job) as response:
            async for line in response.aiter_lines():
                await events.send({"job": job.tag, **json.loads(line)})
            response.raise_for_status()
    except (FastCGIError, ValueError) as error:
        # a fault of one tile, not of the picture; a line that is no JSON is PHP's complaint
        await events.send({"job": job.tag, "error": str(error)})

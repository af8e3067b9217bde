"""The same service without a framework."""

from __future__ import annotations

import json
import os
from urllib.parse import parse_qsl

import attrs

from fcgi_async import Dispatcher, Job
from fcgi_async.asgi import CancelOnDisconnect, DispatcherLifespan, ErrorResponses
from fcgi_async.asgi.protocol import Receive, Scope, Send
from tests.asgi.services.endpoint import make


async def service(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request."""
    status, body = await answer(scope["state"]["php"], scope["path"], dict(parse_qsl(scope["query_string"].decode())))
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": body})


async def answer(php: Dispatcher, path: str, query: dict[str, str]) -> tuple[int, bytes]:
    """Return the status and the body for a path."""
    _, verb, *script = path.split("/")
    if verb == "statistics":
        return 200, json.dumps(attrs.asdict(php.statistics())).encode()
    if verb == "run":
        response = await php.run(Job(script[0], query=query))
        return response.status, response.content
    if verb == "fan-out":
        jobs = (Job(script[0], query=query | {"n": str(n)}) for n in range(int(query["jobs"])))
        return 200, json.dumps([response.text for response in await php.run_all(jobs)]).encode()
    await php.submit(Job(script[0], query=query))
    return 202, b"accepted"


app = CancelOnDisconnect(
    ErrorResponses(DispatcherLifespan(service, make, close_within=float(os.environ.get("CLOSE_WITHIN", "20"))))
)

"""A folder of PHP scripts beside a few routes of Python's, as the environment says."""

from __future__ import annotations

import json
import os
from urllib.parse import parse_qsl

import attrs

from fcgi_async import Dispatcher, Endpoint, Job
from fcgi_async.asgi import DispatcherLifespan, PHPApplication
from fcgi_async.asgi.protocol import Receive, Scope, Send


def make() -> Dispatcher:
    """Return a dispatcher on the FPM of the test."""
    kept = {10: 1} if "KEPT" in os.environ else {}
    return Dispatcher(Endpoint(os.environ["FPM"], max_children=int(os.environ["MAX_CHILDREN"]), kept=kept))


site = PHPApplication(os.environ["ROOT"], **json.loads(os.environ.get("OPTIONS", "{}")))


async def service(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request."""
    if scope["type"] != "http" or not scope["path"].startswith("/-/"):
        await site(scope, receive, send)
        return
    php: Dispatcher = scope["state"]["php"]
    query = dict(parse_qsl(scope["query_string"].decode()))
    if scope["path"] == "/-/jobs":
        for _ in range(int(query["n"])):
            await php.submit(Job(f"{os.environ['ROOT']}/work.php", query=query))
    body = json.dumps(attrs.asdict(php.statistics())).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


app = DispatcherLifespan(service, make, close_within=0)

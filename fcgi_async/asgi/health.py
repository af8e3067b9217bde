"""Readiness and liveness of a service, for load balancers and supervisors."""

from __future__ import annotations

import attrs

from fcgi_async.asgi.protocol import Application, Receive, Scope, Send
from fcgi_async.dispatch.dispatcher import Dispatcher
from fcgi_async.errors import DispatcherClosed, FastCGIError, QueueTimeout

__all__ = ("HealthRoutes", "Readiness", "readiness")


@attrs.frozen
class Readiness:
    """Whether a dispatcher's jobs can run.

    Attributes:
        ready: whether they can run, now or as soon as a worker is free.
        reason: why, in a few words; it has no addresses, so it can be shown to anyone.
    """

    ready: bool
    reason: str


async def readiness(php: Dispatcher, *, timeout: float = 1.0) -> Readiness:
    """Return whether a dispatcher's jobs can run: a busy pool is ready, a pool that cannot be reached is not.

    An open connection, with a job on it or kept, is enough proof. Otherwise a worker is asked, ahead of all jobs. If
    the connection is opened but no worker answers in time, all workers are busy with other clients.

    Args:
        php: the dispatcher.
        timeout: seconds to wait for a worker's answer.

    Cancelling stops asking.
    """
    try:
        now = php.statistics()
        if not now.endpoints_away and now.busy + now.finishing + now.idle:
            return Readiness(True, f"{now.running} jobs run on {now.share} workers, {now.queued} wait")
        await php.ping(timeout)
    except DispatcherClosed as error:
        return Readiness(False, error.message)
    except QueueTimeout:
        if php.statistics().endpoints_away == len(php.endpoints):
            return Readiness(False, "PHP-FPM cannot be reached")
        return Readiness(True, "every worker is busy")
    except FastCGIError as error:
        return Readiness(False, f"PHP-FPM cannot be reached: {type(error).__name__}")
    return Readiness(True, "a worker answered")


class HealthRoutes:
    """ASGI middleware that answers two paths and passes everything else on.

    `/livez` is 200 as long as the event loop runs: it is for a supervisor that restarts processes. `/readyz` is 200 or
    503, as `readiness()` says: it is for a load balancer.

    Args:
        app: the application.
        name: the dispatcher's name in the state of a request, as in `lifespan()`.
        live: the path for liveness.
        ready: the path for readiness.
        timeout: seconds to wait for a worker's answer; fewer than the load balancer waits.
        dispatcher: the dispatcher, in place of the one in the state of a request.
    """

    def __init__(
        self,
        app: Application,
        *,
        name: str = "php",
        live: str = "/livez",
        ready: str = "/readyz",
        timeout: float = 1.0,
        dispatcher: Dispatcher | None = None,
    ) -> None:
        self._app = app
        self._dispatcher = dispatcher
        self._name = name
        self._live, self._ready = live, ready
        self._timeout = timeout

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or run the application; raises what the application raises."""
        asked = scope["type"] == "http" and scope["method"] in ("GET", "HEAD")
        if asked and scope["path"] == self._live:
            await _answer(scope, send, 200, "alive")
        elif asked and scope["path"] == self._ready:
            found = await self._readiness(scope)
            said = "ready" if found.ready else "not ready"
            await _answer(scope, send, 200 if found.ready else 503, f"{said}: {found.reason}")
        else:
            await self._app(scope, receive, send)

    async def _readiness(self, scope: Scope) -> Readiness:
        php = self._dispatcher or (scope.get("state") or {}).get(self._name)
        if not isinstance(php, Dispatcher):
            return Readiness(False, f"there is no dispatcher in the state of the request as {self._name!r}")
        return await readiness(php, timeout=self._timeout)


async def _answer(scope: Scope, send: Send, status: int, text: str) -> None:
    body = f"{text}\n".encode()
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

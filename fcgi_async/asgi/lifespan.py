"""One dispatcher per process, opened and closed with the application; closing takes a limited time."""

from __future__ import annotations

import traceback
from collections.abc import AsyncIterator, Callable, MutableMapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from fcgi_async.asgi.protocol import Application, Receive, Scope, Send
from fcgi_async.dispatch.dispatcher import Dispatcher
from fcgi_async.errors import ConfigurationError, FastCGIError

__all__ = ("DispatcherLifespan", "lifespan")

# servers and container managers often allow a process half a minute to end
_CLOSE_WITHIN = 20.0


def lifespan(
    make: Callable[[], Dispatcher], *, name: str = "php", close_within: float | None = _CLOSE_WITHIN
) -> Callable[[object], AbstractAsyncContextManager[dict[str, Dispatcher]]]:
    """Return a lifespan for Starlette, FastAPI and Litestar: `FastAPI(lifespan=lifespan(lambda: Dispatcher(...)))`.

    Handlers of Starlette and FastAPI find the dispatcher as `request.state.php`. Litestar takes a list of lifespans,
    `Litestar(lifespan=[lifespan(...)])`, and there it is `request.app.state.php`.

    Args:
        make: makes the dispatcher; called in every worker process, each time the application starts.
        name: the dispatcher's name in the state of a request, or of the application.
        close_within: seconds that closing waits for the remaining jobs, such as submitted ones; None for as long as
            they take. Jobs that are not done then are ended, and named in the log.
    """

    @asynccontextmanager
    async def opened(application: object) -> AsyncIterator[dict[str, Dispatcher]]:
        async with make() as dispatcher:
            # Litestar ignores the yielded value; its handlers share the state of the application
            state = getattr(application, "state", None)
            shared = state if isinstance(state, MutableMapping) else {}
            shared[name] = dispatcher
            try:
                yield {name: dispatcher}
            finally:
                del shared[name]
            await dispatcher.aclose(timeout=close_within)

    return opened


class DispatcherLifespan:
    """Wraps a bare ASGI application; the application finds the dispatcher as `scope["state"]["php"]`.

    It answers the server's lifespan protocol itself, in one task, as trio requires; the application does not see the
    protocol. An application with a lifespan of its own enters the dispatcher there instead. An error while the
    dispatcher is made, opened or closed fails the server's startup or shutdown.

    Args:
        app: the application.
        make: makes the dispatcher; called in every worker process, each time the application starts.
        name: the dispatcher's name in the state of a request.
        close_within: seconds that closing waits for the remaining jobs; None for as long as they take. Jobs that are
            not done then are ended, and named in the log.
    """

    def __init__(
        self,
        app: Application,
        make: Callable[[], Dispatcher],
        *,
        name: str = "php",
        close_within: float | None = _CLOSE_WITHIN,
    ) -> None:
        self._app = app
        self._name = name
        self._opened = lifespan(make, name=name, close_within=close_within)
        self._state: dict[str, Dispatcher] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Open and close the dispatcher, or pass a request on.

        Raises:
            ConfigurationError: the server does not use the lifespan protocol, so no dispatcher is open.
        """
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        if self._state is None:
            raise ConfigurationError(
                "no dispatcher is open: the server has not run the application's lifespan; turn it on (uvicorn: "
                "--lifespan on), and do not mount this application inside another one"
            )
        scope.setdefault("state", {}).update(self._state)
        await self._app(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        stage = "startup"
        try:
            async with self._opened(self._app) as self._state:
                stage = "shutdown"
                await send({"type": "lifespan.startup.complete"})
                await receive()
        except Exception as error:
            # if this raised, servers would assume that the application has no lifespan, and go on
            message = str(error) if isinstance(error, FastCGIError) else traceback.format_exc()
            await send({"type": f"lifespan.{stage}.failed", "message": message})
            return
        finally:
            self._state = None
        await send({"type": "lifespan.shutdown.complete"})

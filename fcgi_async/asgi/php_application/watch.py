"""The client of a request: send to it, and watch for its disconnect."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

import anyio

from fcgi_async.asgi.beside import Beside, start_beside
from fcgi_async.asgi.protocol import Message, Receive, Send

__all__ = ("Client",)

logger = logging.getLogger("fcgi_async.asgi")

# most requests have ended by then, and need no task; an earlier disconnect is noticed then
_WATCH_AFTER_SECONDS = 0.05
# as nginx does: seconds for the rest of a body in total, and between two pieces
_DISCARD_SECONDS: Final = 30.0
_DISCARD_PAUSE_SECONDS: Final = 5.0


class Client:
    """Sends to the client, and watches for its disconnect after its request has been read.

    Args:
        receive: the server's `receive`.
        send: the server's `send`.

    Attributes:
        begun: whether an answer has begun.
        gone: whether the client has disconnected.
        all_read: whether the body of the request has been read to its end by `receive()`.
    """

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive, self._send = receive, send
        self.begun = self.gone = self.all_read = False
        self._watch: Beside | None = None
        self._on_left: Callable[[], None] | None = None

    def watch(self, on_left: Callable[[], None]) -> None:
        """Call `on_left` if the client disconnects from now on; the request's body must have been read to its end."""
        self._on_left = on_left
        self._watch = start_beside(self._listen, after=_WATCH_AFTER_SECONDS)

    def stop(self) -> None:
        """Stop watching."""
        if self._watch is not None:
            self._watch.stop()
            # break the reference cycle with the callback, so that neither waits for the garbage collector
            self._watch = self._on_left = None

    async def receive(self) -> Message:
        """Return the server's next message about the body of the request."""
        message = await self._receive()
        self.all_read = not message.get("more_body", False)
        return message

    async def discard(self) -> None:
        """Take what still comes of the request's body, for a limited time.

        A connection that is closed before is reset, and its client may lose the answer (RFC 9112, 9.6).
        """
        with anyio.move_on_after(_DISCARD_SECONDS):
            while not self.all_read:
                with anyio.move_on_after(_DISCARD_PAUSE_SECONDS) as pause:
                    await self.receive()
                if pause.cancelled_caught:
                    return

    async def whole(self, status: int, headers: list[tuple[bytes, bytes]], data: bytes) -> None:
        """Send a complete answer."""
        self.begun = True
        if self.gone:
            return
        try:
            await self._send({"type": "http.response.start", "status": status, "headers": headers})
            await self._send({"type": "http.response.body", "body": data})
        except OSError:
            self._left()

    async def start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """Send the head of the answer."""
        self.begun = True
        await self.send({"type": "http.response.start", "status": status, "headers": headers})

    async def body(self, data: bytes, *, more: bool = False) -> None:
        """Send a part of the body; the last one unless `more`."""
        await self.send({"type": "http.response.body", "body": data, "more_body": more})

    async def send(self, message: Message) -> None:
        """Send a message, unless the client has disconnected."""
        if self.gone:
            return
        try:
            await self._send(message)
        except OSError:
            # ASGI 2.4: the client has disconnected
            self._left()

    async def _listen(self) -> None:
        try:
            while (await self._receive())["type"] != "http.disconnect":
                pass
        except Exception as error:
            logger.debug("the client is assumed to have disconnected: %r", error)
        self._left()

    def _left(self) -> None:
        self.gone = True
        if self._on_left is not None:
            self._on_left()

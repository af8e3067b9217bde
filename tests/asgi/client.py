"""One request as an ASGI server hands it over, and what comes back: driven by a test, without a server."""

from __future__ import annotations

from typing import Any

import anyio
import attrs

from fcgi_async.asgi.protocol import Application, Message, Scope

BODY_END = {"type": "http.request", "body": b"", "more_body": False}
DISCONNECT = {"type": "http.disconnect"}


@attrs.define(eq=False)
class Client:
    """Sends messages to an application, by default the end of an empty body, and keeps what it sends.

    Attributes:
        sent: the messages of the application.
        asked: how often the application's side has asked for a message.
    """

    sent: list[Message] = attrs.field(factory=list, init=False)
    asked: int = attrs.field(default=0, init=False)
    _messages: list[Message] = attrs.field(factory=lambda: [BODY_END])
    _more: anyio.Event = attrs.field(factory=anyio.Event, init=False)

    def say(self, *messages: Message) -> None:
        """Let the server have these next."""
        self._messages += messages
        self._more.set()

    def disconnect(self) -> None:
        """Go."""
        self.say(DISCONNECT)

    async def request(self, app: Application, **scope: Any) -> None:
        """Run the application; raises what it raises."""
        complete: Scope = {"type": "http", "method": "GET", "path": "/", "headers": [], "query_string": b"", **scope}
        await app(complete, self._receive, self._send)

    async def _receive(self) -> Message:
        self.asked += 1
        while not self._messages:
            self._more = anyio.Event()
            await self._more.wait()
        return self._messages[0] if self._messages[0] is DISCONNECT else self._messages.pop(0)

    async def _send(self, message: Message) -> None:
        self.sent.append(message)
        await anyio.lowlevel.checkpoint()

    @property
    def status(self) -> int:
        """The status that the application answered with."""
        return int(self.sent[0]["status"])

    @property
    def headers(self) -> dict[bytes, bytes]:
        """The headers that it answered with."""
        return dict(self.sent[0]["headers"])

"""The types of ASGI, as in its specification, and functions that all applications here share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, cast

__all__ = ("Application", "Message", "Receive", "Scope", "Send", "acknowledge_lifespan", "read_headers")

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]


def read_headers(scope: Scope) -> dict[str, str]:
    """Return the headers of a request by their lower-case names; for a repeated name, the last one."""
    pairs = cast("list[tuple[bytes, bytes]]", scope.get("headers", []))
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in pairs}


async def acknowledge_lifespan(receive: Receive, send: Send) -> None:
    """Answer the events of a lifespan without starting or ending anything."""
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return

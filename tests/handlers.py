"""What the responders of tests answer."""

from __future__ import annotations

import anyio
import attrs

from fcgi_async.testing import Request

HEAD = b"Content-type: text/plain\r\n\r\n"


async def echo(request: Request) -> None:
    """Answer with the body."""
    await request.write_stdout(HEAD + await request.body())


async def ok(request: Request) -> None:
    """Answer "ok"."""
    await request.body()
    await request.write_stdout(HEAD + b"ok")


@attrs.define(eq=False)
class Held:
    """A handler that answers when it is told to.

    Attributes:
        running: the requests that wait, in the order in which they came.
    """

    running: list[Request] = attrs.field(factory=list, init=False)
    _released: anyio.Event = attrs.field(factory=anyio.Event, init=False)

    def release(self) -> None:
        """Let those that run, and all that come, answer."""
        self._released.set()

    async def __call__(self, request: Request) -> None:
        await request.body()
        self.running.append(request)
        await self._released.wait()
        await request.write_stdout(HEAD + request.script.encode())

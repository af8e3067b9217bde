"""Fifty clients that ask again and again, a tenth of them leaving before they are answered."""

from __future__ import annotations

import asyncio
import random
import time
from itertools import count

import attrs

# the part of the requests whose client leaves midway
LEAVING = 0.1


@attrs.frozen
class Visit:
    """One request.

    Attributes:
        name: of the request; its jobs' keys begin with it.
        began: when it was sent, in seconds of the wall clock, which the scripts use too.
        ended: when the answer was there, or the client left.
        outcome: the status, "left", or what went wrong.
    """

    name: str
    began: float
    ended: float
    outcome: int | str

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.ended - self.began


@attrs.define(eq=False)
class Visitors:
    """The clients of one run.

    Attributes:
        port: of the service.
        visits: those that are over.
    """

    port: int
    visits: list[Visit] = attrs.field(factory=list, init=False)
    _names: count[int] = attrs.field(factory=count, init=False)
    # about how long an answer takes, so that those who leave do so midway
    _usual: float = attrs.field(default=0.2, init=False)

    async def come(self, clients: int, until: float) -> None:
        """Let so many clients come at once until `time.time()` is past, and those that then wait be answered."""
        async with asyncio.TaskGroup() as tasks:
            for _ in range(clients):
                tasks.create_task(self._client(until))

    async def _client(self, until: float) -> None:
        await asyncio.sleep(random.random() * self._usual)
        while time.time() < until:
            visit = await self.visit(leave=random.random() < LEAVING)
            self.visits.append(visit)
            if visit.outcome == 200:
                self._usual += 0.05 * (visit.seconds - self._usual)
            elif visit.outcome == 503:
                # Retry-After is 1; not all at once
                await asyncio.sleep(random.uniform(0.5, 1.5))

    async def visit(self, *, leave: bool) -> Visit:
        """Ask once, and leave at any time before the usual end, or stay."""
        name = f"v{next(self._names)}"
        began = time.time()
        outcome: int | str
        try:
            if leave:
                try:
                    async with asyncio.timeout(random.random() * self._usual):
                        outcome = await ask(self.port, name)
                except TimeoutError:
                    outcome = "left"
            else:
                outcome = await ask(self.port, name)
        except OSError as error:
            outcome = repr(error)
        return Visit(name, began, time.time(), outcome)


async def ask(port: int, name: str) -> int | str:
    """Send one request on a connection of its own; return its status, or what is wrong with the answer.

    Cancelling closes the connection.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(f"GET /fan-out?name={name} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n".encode())
        answer = await reader.read(-1)
    finally:
        writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 "):
        return f"no answer: {answer[:100]!r}"
    status = int(head.split()[1])
    if status == 200 and body.count(f'"{name}-'.encode()) != 20:
        return f"a wrong answer: {body[:100]!r}"
    return status

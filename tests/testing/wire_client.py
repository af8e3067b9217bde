"""A FastCGI client that says what it is told to, on the library's sans-I/O half, and keeps what came."""

from __future__ import annotations

import socket

import anyio
import attrs

from fcgi_async.net.address import Address
from fcgi_async.net.dial import dial
from tests.wire import frames

END, STDOUT, VALUES, UNKNOWN = 3, 6, 10, 11


@attrs.define(eq=False)
class WireClient:
    """One connection; each record that comes is (type, request id, content)."""

    sock: socket.socket

    async def send(self, *records: bytes) -> None:
        await anyio.wait_writable(self.sock)
        data = b"".join(records)
        assert self.sock.send(data) == len(data)

    async def receive(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            await anyio.wait_readable(self.sock)
            part = self.sock.recv(size - len(data))
            if not part:
                raise EOFError
            data += part
        return data

    async def record(self) -> tuple[int, int, bytes]:
        header = await self.receive(8)
        content = await self.receive(int.from_bytes(header[4:6], "big"))
        return header[1], int.from_bytes(header[2:4], "big"), content

    async def answer(self, request_id: int = 1) -> tuple[bytes, bytes]:
        """STDOUT of one request up to END_REQUEST, and the content of that."""
        output = b""
        while True:
            kind, received_id, content = await self.record()
            assert received_id == request_id
            if kind == END:
                return output, content[:5]
            assert kind == STDOUT
            output += content


async def connected(address: str | None) -> WireClient:
    assert address is not None
    return WireClient(await dial(Address.parse(address), connect_timeout=10))


def request(request_id: int = 1, *, params: bytes = b"\x01\x01AB", body: bytes = b"", flags: int = 1) -> bytes:
    """A whole Responder request."""
    return b"".join(
        (
            frames.begin(request_id, flags=flags),
            frames.params(request_id, params),
            frames.params(request_id),
            frames.stdin(request_id, body) if body else b"",
            frames.stdin(request_id),
        )
    )

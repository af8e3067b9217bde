"""A FastCGI client that says what it is told to, on the library's sans-I/O half, and keeps what came."""

from __future__ import annotations

import socket

import anyio
import attrs

from fcgi_async.net.address import Address
from fcgi_async.net.dial import dial
from fcgi_async.testing import Role
from tests.wire.frames import record

BEGIN, ABORT, END, PARAMS, STDIN, STDOUT, STDERR, DATA, GET_VALUES, VALUES, UNKNOWN = range(1, 12)
KEEP = 1


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


def begin(request_id: int = 1, role: int = Role.RESPONDER, flags: int = KEEP) -> bytes:
    return record(BEGIN, request_id, bytes((0, role, flags, 0, 0, 0, 0, 0)))


def request(request_id: int = 1, *, params: bytes = b"\x01\x01AB", body: bytes = b"", flags: int = KEEP) -> bytes:
    """A whole Responder request."""
    return b"".join(
        (
            begin(request_id, flags=flags),
            record(PARAMS, request_id, params),
            record(PARAMS, request_id),
            record(STDIN, request_id, body) if body else b"",
            record(STDIN, request_id),
        )
    )


def get_values(*names: bytes) -> bytes:
    return record(GET_VALUES, 0, b"".join(bytes((len(name), 0)) + name for name in names))

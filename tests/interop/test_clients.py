"""Clients that others wrote, before our own server half."""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from fcgi_async.testing import Reply, Request, Responder
from tests.nginx import fetch, nginx

pytestmark = pytest.mark.anyio

SIZES = (0, 1, 70_000, 1_000_000)


async def echo(request: Request) -> Reply:
    """Answer what was asked, the body's checksum, and as much as the query says."""
    body = await request.body()
    head = f"{request.params['REQUEST_METHOD']} {len(body)} {hashlib.md5(body).hexdigest()} ".encode()
    return Reply(404, body=head + b"x" * int(request.params.get("QUERY_STRING") or 0))


def expected(method: str, body: bytes, size: int) -> bytes:
    return f"{method} {len(body)} {hashlib.md5(body).hexdigest()} ".encode() + b"x" * size


@pytest.fixture
async def responder(anyio_backend: object) -> AsyncIterator[Responder]:
    """What the clients ask."""
    async with Responder(echo) as responder:
        yield responder


async def test_nginx(responder: Responder, tmp_path: Path) -> None:
    """nginx gets right answers to requests with bodies of any size, over connections that it keeps."""
    async with nginx(tmp_path, responder.address) as path:
        for size in SIZES:
            body = b"b" * size
            status, content = await fetch(path, "POST", str(size), body)
            assert (status.split()[1], content) == (b"404", expected("POST", body, size))
        assert [len(connection.requests) for connection in responder.connections] == [len(SIZES)]
    assert not responder.errors


async def test_nginx_whose_client_goes_away(responder: Responder, tmp_path: Path) -> None:
    """A client of nginx that leaves in the middle costs the responder nothing: the next request is answered."""
    async with nginx(tmp_path, responder.address) as path:
        for _ in range(5):
            async with await anyio.connect_unix(path) as stream:
                await stream.send(b"GET /?5000000 HTTP/1.0\r\n\r\n")
                await stream.receive()
        assert (await fetch(path, "GET", "3", b""))[1] == expected("GET", b"", 3)


@pytest.mark.parametrize("size", SIZES)
async def test_cgi_fcgi(responder: Responder, size: int) -> None:
    """libfcgi's `cgi-fcgi` gets the right answer, whatever the sizes."""
    body = b"b" * size
    environment = {
        "REQUEST_METHOD": "POST",
        "CONTENT_LENGTH": str(size),
        "QUERY_STRING": str(size),
        "PATH": os.environ["PATH"],
    }
    with anyio.fail_after(30):
        done = await anyio.run_process(
            ["cgi-fcgi", "-bind", "-connect", responder.address.removeprefix("unix://")], input=body, env=environment
        )
    head, _, content = done.stdout.partition(b"\r\n\r\n")
    assert b"404" in head.split(b"\r\n")[0]
    assert content == expected("POST", body, size)

"""Clients that others wrote, before our own server half."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest

from fcgi_async.testing import Reply, Request, Responder
from tests.eventually import eventually

pytestmark = pytest.mark.anyio

SIZES = (0, 1, 70_000, 1_000_000)
NGINX = """\
daemon off; master_process off; pid {directory}/pid; error_log {directory}/error.log info;
events {{ }}
http {{
    access_log off; client_max_body_size 0;
    client_body_temp_path {directory}/body; fastcgi_temp_path {directory}/fastcgi; proxy_temp_path {directory}/proxy;
    uwsgi_temp_path {directory}/uwsgi; scgi_temp_path {directory}/scgi;
    upstream responder {{ server unix:{responder}; keepalive 4; }}
    server {{
        listen unix:{directory}/http.sock;
        location / {{
            fastcgi_param REQUEST_METHOD $request_method; fastcgi_param REQUEST_URI $request_uri;
            fastcgi_param CONTENT_LENGTH $content_length; fastcgi_param QUERY_STRING $query_string;
            fastcgi_pass responder; fastcgi_keep_conn on;
        }}
    }}
}}
"""


async def echo(request: Request) -> Reply:
    """Answer what was asked, the body's checksum, and as much as the query says."""
    body = await request.body()
    head = f"{request.params['REQUEST_METHOD']} {len(body)} {hashlib.md5(body).hexdigest()} ".encode()
    return Reply(404, body=head + b"x" * int(request.params.get("QUERY_STRING") or 0))


def expected(method: str, body: bytes, size: int) -> bytes:
    return f"{method} {len(body)} {hashlib.md5(body).hexdigest()} ".encode() + b"x" * size


@contextmanager
def nginx(directory: Path, responder: str) -> Iterator[Path]:
    """Run nginx before a responder, and yield its socket."""
    configuration = directory / "nginx.conf"
    configuration.write_text(NGINX.format(directory=directory, responder=responder.removeprefix("unix://")))
    command = ["nginx", "-p", str(directory), "-c", str(configuration), "-e", str(directory / "early.log")]
    with subprocess.Popen(command, env=os.environ | {"PATH": f"{os.environ['PATH']}:/usr/sbin"}) as process:
        try:
            yield directory / "http.sock"
        finally:
            process.terminate()


async def fetch(path: Path, method: str, size: int, body: bytes) -> tuple[bytes, bytes]:
    """Return the status line and the content of what nginx answers."""
    async with await anyio.connect_unix(path) as stream:
        head = f"{method} /?{size} HTTP/1.0\r\nHost: test\r\nContent-Length: {len(body)}\r\n\r\n"
        await stream.send(head.encode() + body)
        answer = b"".join([part async for part in stream])
    head_part, _, content = answer.partition(b"\r\n\r\n")
    return head_part.split(b"\r\n")[0], content


@pytest.fixture
async def responder(anyio_backend: object) -> AsyncIterator[Responder]:
    """What the clients ask."""
    async with Responder(echo) as responder:
        yield responder


async def test_nginx(responder: Responder, tmp_path: Path) -> None:
    """nginx gets right answers to requests with bodies of any size, over connections that it keeps."""
    with nginx(tmp_path, responder.address) as path:
        await eventually(path.exists)
        for size in SIZES:
            body = b"b" * size
            status, content = await fetch(path, "POST", size, body)
            assert (status.split()[1], content) == (b"404", expected("POST", body, size))
        assert [len(connection.requests) for connection in responder.connections] == [len(SIZES)]
    assert not responder.errors


async def test_nginx_whose_client_goes_away(responder: Responder, tmp_path: Path) -> None:
    """A client of nginx that leaves in the middle costs the responder nothing: the next request is answered."""
    with nginx(tmp_path, responder.address) as path:
        await eventually(path.exists)
        for _ in range(5):
            async with await anyio.connect_unix(path) as stream:
                await stream.send(b"GET /?5000000 HTTP/1.0\r\n\r\n")
                await stream.receive()
        assert (await fetch(path, "GET", 3, b""))[1] == expected("GET", b"", 3)


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

"""nginx before something that speaks FastCGI on a unix socket."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import anyio

from tests.eventually import eventually

__all__ = ("fetch", "nginx")

CONFIGURATION = """\
daemon off; master_process off; pid {directory}/pid; error_log {directory}/error.log info;
events {{ }}
http {{
    access_log off; client_max_body_size 0;
    client_body_temp_path {directory}/body; fastcgi_temp_path {directory}/fastcgi; proxy_temp_path {directory}/proxy;
    uwsgi_temp_path {directory}/uwsgi; scgi_temp_path {directory}/scgi;
    upstream peer {{ server unix:{peer}; keepalive 4; }}
    server {{
        listen unix:{directory}/http.sock;
        location / {{
            fastcgi_param REQUEST_METHOD $request_method; fastcgi_param REQUEST_URI $request_uri;
            fastcgi_param CONTENT_LENGTH $content_length; fastcgi_param CONTENT_TYPE $content_type;
            fastcgi_param QUERY_STRING $query_string;
            fastcgi_pass peer; {settings}
        }}
    }}
}}
"""


@asynccontextmanager
async def nginx(directory: Path, address: str, settings: str = "fastcgi_keep_conn on;") -> AsyncIterator[Path]:
    """Run nginx in a block, and yield its socket.

    Args:
        directory: of its own.
        address: of the peer, a unix socket.
        settings: what its configuration says besides of each request.
    """
    configuration = directory / "nginx.conf"
    peer = address.removeprefix("unix://")
    configuration.write_text(CONFIGURATION.format(directory=directory, peer=peer, settings=settings))
    command = ["nginx", "-p", str(directory), "-c", str(configuration), "-e", str(directory / "early.log")]
    with _running(command):
        # its socket is there before it listens
        await eventually(lambda: _connects(directory / "http.sock"))
        yield directory / "http.sock"


async def fetch(path: Path, method: str, query: str, body: bytes) -> tuple[bytes, bytes]:
    """Return the status line and the content of what nginx answers."""
    async with await anyio.connect_unix(path) as stream:
        head = f"{method} /?{query} HTTP/1.0\r\nHost: test\r\nContent-Length: {len(body)}\r\n\r\n"
        await stream.send(head.encode() + body)
        answer = b"".join([part async for part in stream])
    head_part, _, content = answer.partition(b"\r\n\r\n")
    return head_part.split(b"\r\n")[0], content


@contextmanager
def _running(command: list[str]) -> Iterator[None]:
    with subprocess.Popen(command, env=os.environ | {"PATH": f"{os.environ['PATH']}:/usr/sbin"}) as process:
        try:
            yield
        finally:
            process.terminate()


def _connects(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0

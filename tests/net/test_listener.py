"""Who listens on a socket, as the kernel tells."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from fcgi_async.fpm import LocalFPM
from fcgi_async.net.address import Address
from fcgi_async.net.listener import Listener, listener_of


def connect(address: Address) -> Listener:
    """Connect to an address, and tell who listens there."""
    family = socket.AF_UNIX if address.is_unix else socket.AF_INET
    target = address.path if address.is_unix else (address.host, address.port)
    with socket.socket(family) as sock:
        sock.connect(target)
        return listener_of(sock, address)


def test_php_fpm(fpm_here: LocalFPM) -> None:
    """PHP-FPM is known by the process that listens."""
    listener = connect(Address.parse(fpm_here.address))
    assert listener.is_php
    assert listener.pid > 0
    assert listener.inode > 0


def test_another_process(tmp_path: Path) -> None:
    """Any other process is not taken for PHP-FPM; a listener that binds anew is another one."""
    path = tmp_path / "s"
    seen = []
    for _ in range(2):
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path))
            server.listen()
            seen.append(connect(Address.parse(f"unix://{path}")))
            # kept, so that the next socket's file cannot get its inode
            path.rename(tmp_path / "kept")
    assert [(listener.pid, listener.is_php) for listener in seen] == [(os.getpid(), False)] * 2
    assert seen[0] != seen[1]


def test_tcp_tells_nothing() -> None:
    """On TCP nobody is known."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert connect(Address.parse(f"tcp://127.0.0.1:{port}")) == Listener(0, 0, False)

"""What the contenders talk to: private PHP-FPMs, nginx before one of its own, and Go programs; each made when needed.

Direct clients and nginx have pools of their own, of the same size: a connection that nginx keeps pins a worker, which
the others would miss.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from anyio.from_thread import start_blocking_portal

from benchmarks.contenders.setting import Setting
from benchmarks.suite.programs import build_go, find_program
from fcgi_async import Endpoint, Job, LocalFPM
from fcgi_async.dispatch.request import RequestEncoder
from fcgi_async.wire.records import decode_pairs

__all__ = ("WORKERS", "Surroundings", "sent_params", "surroundings")

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "benchmarks/scripts"
GO_CLIENT = ROOT / "benchmarks/contenders/client.go"
GO_SERVER = ROOT / "tests/interop/servers/main.go"
WORKERS = 4
WIDE = 64
# bodies are read by the script, and not by PHP before it; what PHP spools of them goes to memory where it can
INI = {
    "post_max_size": "0",
    "enable_post_data_reading": "0",
    "output_buffering": "0",
    "sys_temp_dir": "/dev/shm" if os.access("/dev/shm", os.W_OK) else tempfile.gettempdir(),
}
NGINX = """\
daemon off; master_process on; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log warn; {user}
events {{ worker_connections 1024; }}
http {{
    access_log off; client_max_body_size 0; keepalive_requests 1000000000; fastcgi_max_temp_file_size 0;
    client_body_temp_path {folder}/body; fastcgi_temp_path {folder}/fastcgi; proxy_temp_path {folder}/proxy;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    upstream php {{ server unix:{fpm}; keepalive {workers}; keepalive_requests 1000000000; }}
    server {{
        listen unix:{folder}/http.sock; listen 127.0.0.1:{port};
        location / {{ {params} fastcgi_keep_conn on; fastcgi_pass php; }}
    }}
}}
"""
NGINX_PARAMS = {
    "QUERY_STRING": "$query_string",
    "REQUEST_METHOD": "$request_method",
    "REQUEST_URI": "$request_uri",
    "CONTENT_TYPE": "$content_type",
    "CONTENT_LENGTH": "$content_length",
}


async def _no_content() -> AsyncIterator[bytes]:
    """A body of which only the length is asked."""
    for part in list[bytes]():
        yield part


def sent_params(address: str, job: Job) -> dict[str, str]:
    """Return the FastCGI parameters that fcgi_async sends for a job, so that others send the same."""
    encoded = RequestEncoder(Endpoint(address)).encode(job)
    return {name.decode(): value.decode() for part in encoded.params for name, value in decode_pairs(part)}


class Surroundings:
    """What runs beside the contenders, started when it is first asked for.

    Args:
        stack: ends what was started.
        folder: for sockets and programs; the contenders may write into it.
        checkout: of hollodotme/fast-cgi-client, None where there is none.
    """

    def __init__(self, stack: ExitStack, folder: Path, checkout: Path | None) -> None:
        self._stack, self.folder, self.checkout = stack, folder, checkout
        self._portal = stack.enter_context(start_blocking_portal())

    def _start_fpm(self, listen: str = "unix", workers: int = WORKERS) -> LocalFPM:
        fpm = LocalFPM(max_children=workers, listen=listen, system_ini=False, ini=INI)  # type: ignore[arg-type]
        return self._stack.enter_context(self._portal.wrap_async_context_manager(fpm))

    @cached_property
    def unix(self) -> LocalFPM:
        return self._start_fpm()

    @cached_property
    def tcp(self) -> LocalFPM:
        return self._start_fpm("tcp")

    @cached_property
    def wide(self) -> LocalFPM:
        return self._start_fpm(workers=WIDE)

    @cached_property
    def nginx(self) -> tuple[str, int]:
        """nginx's socket and port, before a PHP-FPM of its own."""
        folder = self.folder / "nginx"
        folder.mkdir()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
        fpm = self._start_fpm()
        params = sent_params(fpm.address, Job(str(SCRIPTS / "ok.php"))) | NGINX_PARAMS
        params |= {"SCRIPT_FILENAME": f"{SCRIPTS}$fastcgi_script_name", "SCRIPT_NAME": "$fastcgi_script_name"}
        configuration = NGINX.format(
            folder=folder,
            fpm=fpm.address.removeprefix("unix://"),
            workers=WORKERS,
            port=port,
            params=" ".join(f'fastcgi_param {name} "{value}";' for name, value in params.items()),
            user="user root;" if os.geteuid() == 0 else "",
        )
        (folder / "nginx.conf").write_text(configuration)
        command = [find_program("nginx"), "-p", folder, "-c", folder / "nginx.conf", "-e", folder / "early.log"]
        process = subprocess.Popen([str(part) for part in command])
        self._stack.callback(process.wait)
        self._stack.callback(process.terminate)
        wait_for(port)
        return str(folder / "http.sock"), port

    @cached_property
    def go_client(self) -> str:
        return self._build(GO_CLIENT, "client")

    @cached_property
    def go_server(self) -> str:
        return self._build(GO_SERVER, "server")

    def _build(self, source: Path, name: str) -> str:
        build_go(source, self.folder / name)
        return str(self.folder / name)

    def endpoints(self, count: int) -> tuple[str, ...]:
        """Return so many addresses of the wide pool: hard links to its socket, each taken for a socket of its own."""
        target = Path(self.wide.address.removeprefix("unix://"))
        paths = [self.folder / f"{count}-{number}.sock" for number in range(count)]
        for path in paths:
            if not path.exists():
                path.hardlink_to(target)
        return tuple(f"unix://{path}" for path in paths)

    def setting(self, pool: str, script: str, query: str, changes: Mapping[str, Any], *, nginx: bool) -> Setting:
        """Return the setting of a case; `nginx` says whether somebody needs it."""
        fpm: LocalFPM = getattr(self, pool)
        path = str(SCRIPTS / script)
        size = changes.get("size", 0)
        job = Job(path, query=query or None)
        if script == "count.php":
            content_type = {"Content-Type": "application/octet-stream"}
            job = Job(path, content=_no_content(), content_length=size, headers=content_type)
        http_socket, http_port = self.nginx if nginx else ("", 0)
        return Setting(
            address=fpm.address,
            script=path,
            params=sent_params(fpm.address, job),
            http_socket=http_socket,
            http_port=http_port,
            path=f"/{script}?{query}",
            folder=str(self.folder),
            workers=fpm.max_children,
            **changes,
        )

    def missing(self, needs: tuple[str, ...]) -> str | None:
        """Return what is missing of the programs that a contender needs."""
        for name in needs:
            if name == "hollodotme":
                if self.checkout is None:
                    return "no checkout was given with --hollodotme"
            elif find_program(name) is None:
                return f"{name} is not installed"
        return None

    def command(self, parts: tuple[str, ...], setting: str) -> list[str]:
        """Return a command with its places filled in."""
        command: list[str] = []
        for part in parts:
            if found := re.fullmatch(r"\{endpoints:(\d+)\}", part):
                command += self.endpoints(int(found[1]))
            else:
                command.append(self._fill(part, setting))
        return command

    def _fill(self, part: str, setting: str) -> str:
        match part:
            case "{setting}":
                return setting
            case "{go}":
                return self.go_client
            case "{server}":
                return self.go_server
            case "{checkout}":
                return str(self.checkout)
            case _:
                return part


def wait_for(port: int) -> None:
    """Wait until somebody listens."""
    deadline = monotonic() + 10
    while True:
        with socket.socket() as sock:
            if sock.connect_ex(("127.0.0.1", port)) == 0:
                return
        if monotonic() > deadline:
            raise TimeoutError("nginx did not start")
        sleep(0.01)


@contextmanager
def surroundings(checkout: Path | None) -> Iterator[Surroundings]:
    """Yield surroundings that end with the block."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        yield Surroundings(stack, folder, checkout)

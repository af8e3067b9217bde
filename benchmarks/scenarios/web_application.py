"""What a request through `PHPApplication` costs under uvicorn, beside uvicorn alone in the same run.

- `uvicorn alone`: an application that answers "ok" and does nothing else.
- `script`: a PHP script that prints "ok", through `PHPApplication`.
- `file`: a file of 1 KiB, sent by it.
- `script, nginx` and `file, nginx`: the same from nginx before the same PHP-FPM, in one process.

Eight connections that are kept ask one request after the other, from a process of their own. Each round asks all,
in turns; reported are the medians. CPU is the server's, user and system, without PHP's and the clients'.
"""

from __future__ import annotations

import argparse
import json
import os
import selectors
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from time import monotonic, perf_counter, sleep

import anyio
import anyio.to_thread

from benchmarks.scenarios import make_parser, pool, row, run
from benchmarks.suite.surroundings import find_program
from fcgi_async import Dispatcher
from fcgi_async.asgi import PHPApplication
from fcgi_async.asgi.protocol import Receive, Scope, Send

CONNECTIONS, WARM = 8, 300
CASES = {
    "uvicorn alone": ("bare", "/"),
    "script": ("site", "/ok.php"),
    "file": ("site", "/file.css"),
    "script, nginx": ("nginx", "/ok.php"),
    "file, nginx": ("nginx", "/file.css"),
}
NGINX = """\
daemon off; master_process off; pid {root}/nginx.pid; error_log {root}/nginx.log warn;
events {{ worker_connections 1024; }}
http {{
    access_log off; include /etc/nginx/mime.types; keepalive_requests 1000000000;
    client_body_temp_path {root}/body; fastcgi_temp_path {root}/fastcgi; proxy_temp_path {root}/proxy;
    uwsgi_temp_path {root}/uwsgi; scgi_temp_path {root}/scgi;
    server {{
        listen 127.0.0.1:{port}; root {root};
        location ~ \\.php$ {{
            include /etc/nginx/fastcgi_params;
            fastcgi_param SCRIPT_FILENAME $document_root$fastcgi_script_name;
            fastcgi_pass {fpm};
        }}
    }}
}}
"""
HEADERS = "Host: bench.test\r\nUser-Agent: bench\r\nAccept: */*\r\nAccept-Language: en\r\nAccept-Encoding: identity\r\n"


async def bare(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer without doing anything."""
    if scope["type"] == "http":
        headers = [(b"content-type", b"text/html"), (b"content-length", b"2")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"ok"})
        return
    for kind in ("startup", "shutdown"):
        await receive()
        await send({"type": f"lifespan.{kind}.complete"})


def site() -> PHPApplication:
    """The application under test."""
    address, workers = os.environ["FPM"], int(os.environ["MAX_CHILDREN"])
    return PHPApplication(os.environ["ROOT"], dispatcher=lambda: Dispatcher(address, max_children=workers))


def ask(port: int, path: str, requests: int) -> None:
    """Send requests over the connections until all are answered."""
    request = f"GET {path} HTTP/1.1\r\n{HEADERS}\r\n".encode()
    with ExitStack() as stack:
        ready = stack.enter_context(selectors.DefaultSelector())
        for _ in range(CONNECTIONS):
            sock = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            ready.register(sock, selectors.EVENT_READ, bytearray())
            sock.sendall(request)
        sent, answered = CONNECTIONS, 0
        while answered < requests:
            for key, _ in ready.select():
                found: socket.socket = key.fileobj  # type: ignore[assignment]
                key.data.extend(found.recv(65536))
                if is_answered(key.data):
                    key.data.clear()
                    answered += 1
                    if sent < requests:
                        found.sendall(request)
                        sent += 1


def is_answered(data: bytearray) -> bool:
    """Whether a whole response is there."""
    head, found, body = bytes(data).partition(b"\r\n\r\n")
    if not found:
        return False
    if not head.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(f"the server answered {head!r}")
    length = head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]
    return len(body) == int(length) if length else body.endswith(b"0\r\n\r\n")


def load(port: int, path: str, requests: int) -> float:
    """Ask from a process of its own, and return the seconds that it took."""
    code = f"from benchmarks.scenarios.web_application import timed; timed({port}, {path!r}, {requests})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout))


def timed(port: int, path: str, requests: int) -> None:
    """Print how long the requests took."""
    ask(port, path, WARM)
    begun = perf_counter()
    ask(port, path, requests)
    print(perf_counter() - begun)


def cpu(pid: int) -> float:
    """The seconds of CPU that a process has had; /proc/PID/stat counts in hundredths, which is not enough."""
    return sum(int(path.read_text().split()[0]) for path in Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e9


def serve(app: str, environment: dict[str, str]) -> tuple[subprocess.Popen[bytes], int]:
    """Start uvicorn or nginx, and return it with its port."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
    command = nginx(port, environment) if app == "nginx" else uvicorn(app, port)
    process = subprocess.Popen(command, env=os.environ | environment)
    deadline = monotonic() + 30
    while process.poll() is None and monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            sleep(0.02)
        else:
            return process, port
    process.kill()
    raise RuntimeError(f"{command[0]} did not start")


def uvicorn(app: str, port: int) -> list[str]:
    """Return the command that serves an application of this module."""
    factory = ["--factory"] if app == "site" else []
    command = [sys.executable, "-m", "uvicorn", f"benchmarks.scenarios.web_application:{app}", *factory]
    return [*command, "--port", str(port), "--no-access-log", "--log-level", "warning"]


def nginx(port: int, environment: dict[str, str]) -> list[str]:
    """Return the command that serves the same folder by nginx."""
    root = environment["ROOT"]
    settings = NGINX.format(root=root, port=port, fpm=environment["FPM"].replace("unix://", "unix:"))
    Path(root, "nginx.conf").write_text(settings)
    program = find_program("nginx")
    if program is None:
        raise SystemExit("nginx is not installed")
    return [program, "-p", root, "-c", f"{root}/nginx.conf", "-e", f"{root}/early.log"]


def measure(options: argparse.Namespace, environment: dict[str, str]) -> dict[str, list[tuple[float, float]]]:
    """Return the microseconds of CPU for a request, and requests a second, of each case and round."""
    servers: dict[str, tuple[subprocess.Popen[bytes], int]] = {}
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in CASES}
    try:
        for app, _ in CASES.values():
            if app not in servers:
                servers[app] = serve(app, environment)
        for _ in range(options.rounds):
            for name, (app, path) in CASES.items():
                process, port = servers[app]
                before = cpu(process.pid)
                seconds = load(port, path, options.requests)
                spent = cpu(process.pid) - before
                found[name].append((spent / (options.requests + WARM) * 1e6, options.requests / seconds))
    finally:
        for process, _ in servers.values():
            process.terminate()
            process.wait()
    return found


async def main(options: argparse.Namespace) -> None:
    """Measure, and print the table."""
    async with pool({"ok": "echo 'ok';"}, options.workers) as fpm:
        (fpm.directory / "file.css").write_bytes(b"x" * 1024)
        environment = {"FPM": fpm.address, "MAX_CHILDREN": str(options.workers), "ROOT": str(fpm.directory)}
        found = await anyio.to_thread.run_sync(measure, options, environment)
    row(("request", "us of CPU", "x uvicorn alone", "requests/s"), head=True)
    alone = [spent for spent, _ in found["uvicorn alone"]]
    for name, rounds in found.items():
        ratio = median(spent / bare for (spent, _), bare in zip(rounds, alone, strict=True))
        row(
            (name, f"{median(spent for spent, _ in rounds):.0f}", f"{ratio:.1f}", f"{median(n for _, n in rounds):.0f}")
        )


if __name__ == "__main__":
    parser = make_parser(__doc__)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--requests", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=5)
    run(main, parser.parse_args())

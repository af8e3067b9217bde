"""What compose.yaml starts, started from local packages: its configuration files, its environment, its commands.

Only the places differ: where a container has a name and a well-known port, here is a free port of 127.0.0.1.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import attrs
import httpx
import yaml

from fcgi_async.fpm.binary import find_php_fpm
from fcgi_async.fpm.local import find_free_port
from tests.asgi.server import ROOT

COMPOSE = ROOT / "compose.yaml"
DOCKER = ROOT / "docs/examples/compose"

NGINX = """\
worker_processes 1;
daemon off;
pid {directory}/nginx.pid;
error_log {directory}/nginx.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    include {directory}/default.conf;
}}
"""


def services() -> dict[str, Any]:
    """The services of compose.yaml."""
    found: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())["services"]
    return found


@attrs.frozen(eq=False)
class Topology:
    """Where everything is.

    Attributes:
        directory: for logs and what nginx needs.
        ports: the free port for each place of the containers.
    """

    directory: Path
    ports: Mapping[str, int] = attrs.field(
        factory=lambda: {place: find_free_port() for place in ("php:9000", "php:9001", "service:8000", "nginx:80")}
    )

    @property
    def fpm(self) -> str:
        """The address of the pool."""
        return self.here("tcp://php:9000")

    @property
    def status(self) -> str:
        """The address of its status page."""
        return self.here("tcp://php:9001")

    @cached_property
    def url(self) -> str:
        """Where nginx listens."""
        return f"http://127.0.0.1:{self.ports['nginx:80']}"

    def here(self, value: str) -> str:
        """A value of compose.yaml, with the places of this machine."""
        value = value.replace("/src/", f"{ROOT}/")
        for place, port in self.ports.items():
            number = place.partition(":")[2]
            if value == number:
                # what a container listens at
                return f"127.0.0.1:{port}"
            value = value.replace(place, f"127.0.0.1:{port}")
            value = value.replace(f"127.0.0.1:{number}/", f"127.0.0.1:{port}/")
        return value.replace("http://127.0.0.1/", f"{self.url}/")

    def environment(self, service: str) -> dict[str, str]:
        """The environment of a service's container."""
        given = services()[service].get("environment", {})
        return {name: self.here(str(value)) for name, value in given.items()}

    def process_environment(self, service: str) -> dict[str, str]:
        """The same, added to our own; its python and uvicorn are those that run the tests."""
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin"
        return os.environ | self.environment(service) | {"PATH": path}

    def healthy(self, service: str) -> bool:
        """Run a service's health check."""
        command = [self.here(part).replace("$$", "$") for part in services()[service]["healthcheck"]["test"][1:]]
        environment = self.process_environment(service)
        # the port alone, as the container's own check reads it
        environment["FPM_STATUS_LISTEN"] = str(self.ports["php:9001"])
        return subprocess.run(command, env=environment, capture_output=True, timeout=20, check=False).returncode == 0


@contextmanager
def running_fpm(topology: Topology) -> Iterator[None]:
    """Run PHP-FPM as the php container does."""
    command = [find_php_fpm(None), "--nodaemonize", "--fpm-config", str(DOCKER / "php-fpm.conf")]
    with _process(topology, "php", command):
        yield


@contextmanager
def running(directory: Path) -> Iterator[Topology]:
    """Run all three, each when those that it depends on are healthy."""
    topology = Topology(directory)
    with ExitStack() as stack:
        stack.enter_context(running_fpm(topology))
        (found,) = re.findall(r"^CMD (.*)$", (DOCKER / "Dockerfile").read_text(), re.MULTILINE)
        command = [part.replace("0.0.0.0", "127.0.0.1") for part in json.loads(found)]
        command[command.index("8000")] = str(topology.ports["service:8000"])
        stack.enter_context(_process(topology, "service", command, cwd=ROOT / "docs" / "examples" / "progress"))
        stack.enter_context(_process(topology, "nginx", _nginx(topology)))
        yield topology


def _nginx(topology: Topology) -> list[str]:
    """Write nginx's configuration as the image does, and return its command."""
    server = (DOCKER / "nginx.conf.template").read_text()
    for name, value in topology.environment("nginx").items():
        server = server.replace(f"${{{name}}}", value)
    directory = topology.directory
    (directory / "default.conf").write_text(server)
    (directory / "nginx.conf").write_text(NGINX.format(directory=directory))
    return ["nginx", "-p", str(directory), "-c", str(directory / "nginx.conf"), "-e", str(directory / "early.log")]


@contextmanager
def _process(topology: Topology, service: str, command: list[str], *, cwd: Path = ROOT) -> Iterator[None]:
    log = topology.directory / f"{service}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=topology.process_environment(service),
            cwd=cwd,
        )
    try:
        deadline = time.monotonic() + 30
        while not topology.healthy(service):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{service} did not become healthy: {log.read_text()}")
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(30)


def get(topology: Topology, path: str, **settings: Any) -> httpx.Response:
    """Ask nginx."""
    return httpx.get(f"{topology.url}{path}", timeout=30, **settings)

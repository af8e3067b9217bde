"""A port for the metrics of each process, so that Prometheus scrapes each process."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterable
from socketserver import ThreadingMixIn
from threading import Event, Thread
from types import TracebackType
from typing import Final
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

try:
    from prometheus_client import REGISTRY, CollectorRegistry, make_wsgi_app
except ImportError as error:
    raise ImportError(
        "metrics for Prometheus need prometheus_client: pip install 'fcgi-async[prometheus]'",
        name=error.name,
        path=error.path,
    ) from error

from fcgi_async.errors import ConfigurationError

__all__ = ("MetricsServer",)

logger = logging.getLogger("fcgi_async.telemetry")

# seconds until the ports are tried again, and until the end of the block is noticed
_PAUSE: Final = 1.0
_POLL: Final = 0.2


class MetricsServer:
    """Serves metrics over HTTP on the first free one of several ports, in a thread, while its block runs.

        with MetricsServer(range(9101, 9105)):
            ...

    Let every process of a service do this with the same ports, one port for each process. So a registry always belongs
    to one process, and a process that replaces another gets its port. If no port is free, a WARNING is logged and the
    ports are tried again every second: a service must not fail because of its metrics.

    Args:
        ports: numbers from 1 to 65535.
        host: the address to listen on; the default can be reached only from this machine.
        registry: the registry to serve.

    Attributes:
        port: the port in use; None until one was free.

    Raises:
        ConfigurationError: a port is not a port number, or there are no ports.
    """

    def __init__(
        self, ports: Iterable[int], *, host: str = "127.0.0.1", registry: CollectorRegistry = REGISTRY
    ) -> None:
        self._ports = tuple(ports)
        wrong = [port for port in self._ports if type(port) is not int or not 0 < port < 65536]
        if wrong or not self._ports:
            raise ConfigurationError(
                f"MetricsServer(ports={ports!r}) must be numbers from 1 to 65535, such as range(9101, 9105)"
            )
        self._host = host
        self._application = make_wsgi_app(registry)
        self._stopping = Event()
        self._server: _Server | None = None
        self._thread: Thread | None = None

    @property
    def port(self) -> int | None:
        return None if self._server is None else self._server.server_port

    def __enter__(self) -> MetricsServer:
        """Listen, or if no port is free, do so as soon as one is."""
        if self._thread is not None:
            raise ConfigurationError("a MetricsServer can be entered only once; make another one")
        if not self._listen():
            logger.warning("none of the ports %s is free for metrics; trying again until one is", _shown(self._ports))
        self._thread = Thread(target=self._run, name="fcgi_async metrics", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the port."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while not (self._server or self._listen()):
            if self._stopping.wait(_PAUSE):
                return
        assert self._server is not None
        with self._server as server:
            while not self._stopping.is_set():
                server.handle_request()

    def _listen(self) -> bool:
        for port in self._ports:
            try:
                self._server = _Server(self._host, port)
            except OSError as error:
                logger.debug("port %d is not free for metrics: %s", port, error)
            else:
                self._server.set_app(self._application)
                return True
        return False


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    timeout = _POLL
    # otherwise two processes would share a port, and a scrape would reach either of them
    allow_reuse_port = False

    def __init__(self, host: str, port: int) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), _Handler)


class _Handler(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""


def _shown(ports: tuple[int, ...]) -> str:
    return ", ".join(map(str, ports[:10])) + (", ..." if len(ports) > 10 else "")

"""`fcgi-async gateway`: share one pool's workers among several processes, which send their requests here."""

from __future__ import annotations

import argparse
import re
import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from importlib.util import find_spec

import anyio
import attrs

from fcgi_async.commands.errors import UsageError
from fcgi_async.commands.host_and_port import host_and_port, shown
from fcgi_async.commands.listening import listen
from fcgi_async.commands.pool_options import PoolOptions, add_pool_options, count
from fcgi_async.commands.stdio import STDERR, write
from fcgi_async.commands.stop_signals import stop_signals
from fcgi_async.dispatch.dispatcher import Dispatcher
from fcgi_async.gateway.gateway import Gateway
from fcgi_async.job.settings import Timeouts

__all__ = ("add_arguments", "backend", "execute")

_TIMEOUT = 30.0
_MAX_QUEUED = 1000
_MODE = 0o660
# what a shell reports for a program ended by SIGINT
_INTERRUPTED = 128 + 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "--listen",
        metavar="ADDRESS",
        required=True,
        help="where clients connect: unix:///run/app/gateway.sock, unix://@abstract, tcp://127.0.0.1:9000, or fd:N, an "
        "open socket such as systemd's fd:3",
    )
    parser.add_argument(
        "--mode", metavar="OCTAL", type=_mode, default=_MODE, help=f"permissions of a unix socket (default: {_MODE:o})"
    )
    parser.add_argument(
        "--max-queued",
        metavar="N",
        type=count,
        default=_MAX_QUEUED,
        help=f"most requests that may wait for a worker; more are refused (default: {_MAX_QUEUED})",
    )
    parser.add_argument(
        "--kept",
        metavar="PRIORITY=N",
        type=_kept,
        action="append",
        help="workers that only requests of a priority may use; may be given several times",
    )
    parser.add_argument(
        "--requests",
        metavar="N",
        type=count,
        help="most requests that each client is told to send at once (default: twice the workers, more for few)",
    )
    parser.add_argument(
        "--queue-timeout", metavar="SECONDS", type=float, help="how long a request may wait for a worker"
    )
    parser.add_argument("--run-timeout", metavar="SECONDS", type=float, help="how long a worker may take to answer it")
    parser.add_argument(
        "--allow-param",
        metavar="NAME",
        action="append",
        default=[],
        help="a dangerous parameter to allow, such as PHP_VALUE; may be given several times",
    )
    parser.add_argument(
        "--metrics",
        metavar="HOST:PORT",
        type=host_and_port,
        help="where to serve /metrics to Prometheus, without a password; port 0 for any free one (default: nowhere)",
    )
    parser.add_argument(
        "--shutdown-timeout",
        metavar="SECONDS",
        type=float,
        default=_TIMEOUT,
        help=f"time that requests have to end after SIGTERM or SIGINT (default: {_TIMEOUT:g})",
    )
    add_pool_options(parser)


def backend(options: argparse.Namespace) -> tuple[str, dict[str, object]]:
    """Return the event loop of the command, as anyio's options: uvloop if it is installed."""
    return "asyncio", {"use_uvloop": find_spec("uvloop") is not None}


async def execute(options: argparse.Namespace) -> int:
    """Serve until a signal; return the exit code.

    Raises:
        UsageError: the options do not go together, or `--metrics` needs what is not installed.
        ConfigurationError: the pool or the address cannot be used.
        OSError: `--metrics` cannot be listened at.
    """
    pool = PoolOptions.parse(options)
    with ExitStack() as stack:
        where: str | socket.socket = options.listen
        if options.listen.startswith("fd:"):
            where = stack.enter_context(listen(options.listen).socket)
        async with pool.fpm() as address:
            endpoint = attrs.evolve(
                pool.endpoint(address), kept=_kept_of(options), allow_params=frozenset(options.allow_param)
            )
            timeouts = Timeouts(queue=options.queue_timeout, run=options.run_timeout)
            php = Dispatcher(endpoint, max_queued=options.max_queued, timeouts=timeouts)
            gateway = Gateway(php, where, mode=options.mode, requests=options.requests)
            if options.metrics is not None:
                text = stack.enter_context(_metrics(php, gateway, *options.metrics))
                await write(STDERR, text.encode())
            async with php, gateway:
                return await _serve(gateway, address, endpoint.share, options.shutdown_timeout)


@contextmanager
def _metrics(php: Dispatcher, gateway: Gateway, host: str, port: int) -> Iterator[str]:
    """Serve metrics in a block, from a thread; yield where, in a line for people."""
    try:
        from fcgi_async.telemetry.pool_prometheus import serve_metrics
        from fcgi_async.telemetry.prometheus import PrometheusCollector
    except ImportError as error:
        raise UsageError(str(error)) from error
    collector = PrometheusCollector(registry=None)
    collector.instrument(php)
    collector.instrument_gateway(gateway)
    with serve_metrics(collector, host, port) as found:
        yield f"fcgi-async: metrics of the gateway are at http://{shown(host)}:{found}/metrics\n"


async def _serve(gateway: Gateway, address: str, share: int, shutdown_timeout: float) -> int:
    stopping = anyio.Event()
    with anyio.CancelScope() as scope, stop_signals(stopping.set, scope.cancel):
        await write(STDERR, f"fcgi-async: gateway at {gateway.address}, {share} worker(s) of {address}\n".encode())
        await stopping.wait()
        with suppress(OSError):
            await write(
                STDERR, b"fcgi-async: the gateway finishes the requests that it has; a second signal ends it at once\n"
            )
        await gateway.aclose(timeout=shutdown_timeout)
        return 0
    return _INTERRUPTED


def _mode(text: str) -> int:
    """Parse permissions, for argparse."""
    if not re.fullmatch("0*[0-7]{1,3}", text):
        raise argparse.ArgumentTypeError(f"{text} is not a mode such as 660")
    return int(text, 8)


def _kept(text: str) -> tuple[int, int]:
    """Parse a priority and its number of workers, for argparse."""
    try:
        priority, slots = map(int, text.split("="))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text} is not PRIORITY=N, such as 10=2") from None
    return priority, slots


def _kept_of(options: argparse.Namespace) -> Mapping[int, int]:
    return dict(options.kept or ())

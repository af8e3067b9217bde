"""`fcgi-async exporter`: serve a pool's status page, and doctor's checks, to Prometheus."""

from __future__ import annotations

import argparse
import time
from typing import Final

import anyio

from fcgi_async.commands.diagnosis import Case, add_diagnosis_options, diagnose
from fcgi_async.commands.errors import UsageError
from fcgi_async.commands.host_and_port import host_and_port, shown
from fcgi_async.commands.stdio import STDERR, STDOUT, write
from fcgi_async.commands.stop_signals import stop_signals
from fcgi_async.telemetry.pool_readings import PoolFacts

__all__ = ("add_arguments", "execute")

_LISTEN: Final = "127.0.0.1:9253"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_diagnosis_options(parser)
    parser.add_argument(
        "--listen",
        metavar="HOST:PORT",
        type=host_and_port,
        default=host_and_port(_LISTEN),
        help=f"where to serve /metrics, without a password; port 0 for any free port (default: {_LISTEN})",
    )
    parser.add_argument("--once", action="store_true", help="print the metrics once, and do not serve them")


async def execute(options: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT; return the exit code.

    Raises:
        UsageError: the options do not go together, no pool is known, or prometheus_client is not installed.
        ConfigurationError: the address is invalid, or the named configuration cannot be read.
        OSError: it is not possible to listen at --listen.
    """
    case = Case.parse(options)
    if case.address is None:
        raise UsageError(f"{case.why_not}; name the pool's ADDRESS, or --fpm-config FILE")
    try:
        from fcgi_async.telemetry.pool_prometheus import PoolCollector, metrics_text, serve_metrics
    except ImportError as error:
        raise UsageError(str(error)) from error
    collector = PoolCollector(str(case.address), lambda: anyio.run(_look, options))
    if options.once:
        await write(STDOUT, await anyio.to_thread.run_sync(metrics_text, collector))
        return 0
    host, port = options.listen
    stop = anyio.Event()
    with serve_metrics(collector, host, port) as found, stop_signals(stop.set, stop.set):
        text = f"fcgi-async: metrics of {case.address} are at http://{shown(host)}:{found}/metrics\n"
        await write(STDERR, text.encode())
        await stop.wait()
    return 0


async def _look(options: argparse.Namespace) -> PoolFacts:
    """Check the pool, and its configuration, which may have changed."""
    began = time.monotonic()
    found = await diagnose(Case.parse(options), options)
    checks = {check.name: str(check.state) for check in found.checks}
    return PoolFacts(found.status, checks, found.max_children, time.monotonic() - began)

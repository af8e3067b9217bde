"""Metrics of FPM pools for Prometheus: read at each scrape, served over HTTP."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

try:
    from prometheus_client import CollectorRegistry, generate_latest, start_http_server
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
    from prometheus_client.registry import Collector
except ImportError as error:
    raise ImportError(
        "metrics for Prometheus need prometheus_client: pip install 'fcgi-async[prometheus]'",
        name=error.name,
        path=error.path,
    ) from error

from fcgi_async.telemetry.pool_readings import POOL_READINGS, PoolFacts

__all__ = ("PoolCollector", "metrics_text", "serve_metrics")


class PoolCollector(Collector):
    """The metrics of one pool.

    Args:
        pool: the value of the label `pool`.
        look: returns the facts; called at each scrape, in a thread of its own.
    """

    def __init__(self, pool: str, look: Callable[[], PoolFacts]) -> None:
        self._pool = pool
        self._look = look

    def describe(self) -> Iterator[Metric]:
        """Yield nothing, so that registering does not ask the pool."""
        yield from ()

    def collect(self) -> Iterator[Metric]:
        """Yield the current metrics."""
        facts = self._look()
        for reading in POOL_READINGS:
            family = CounterMetricFamily if reading.counter else GaugeMetricFamily
            metric = family(reading.prometheus, reading.help, labels=("pool", *reading.labels))
            for labels, value in reading.read(facts).items():
                metric.add_metric([self._pool, *labels], value)
            yield metric


def metrics_text(collector: Collector) -> bytes:
    """Return the text that Prometheus would get now."""
    return generate_latest(_registry(collector))


@contextmanager
def serve_metrics(collector: Collector, host: str, port: int) -> Iterator[int]:
    """Serve metrics in threads, in a block; yield the port.

    Raises:
        OSError: the server cannot listen on the address.
    """
    server, thread = start_http_server(port, host, _registry(collector))
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _registry(collector: Collector) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(collector)
    return registry

"""The instrumentor for `opentelemetry-instrument`: traces every dispatcher of an unchanged program."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import wraps
from typing import TypeVar

try:
    from opentelemetry.instrumentation.instrumentor import BaseInstrumentor  # type: ignore[attr-defined]
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider
except ImportError as error:
    raise ImportError(
        "opentelemetry-instrument needs opentelemetry-instrumentation: pip install 'fcgi-async[otel-auto]'",
        name=error.name,
        path=error.path,
    ) from error

from fcgi_async.dispatch.dispatcher import Dispatcher
from fcgi_async.jobs.client import Jobs
from fcgi_async.jobs.worker import Worker
from fcgi_async.telemetry.otel import OpenTelemetry

__all__ = ("FastCGIInstrumentor",)

_Made = TypeVar("_Made", Dispatcher, Jobs, Worker)


class FastCGIInstrumentor(BaseInstrumentor):  # type: ignore[misc]  # its module has no types
    """Traces and measures every `Dispatcher`, `Jobs` and `Worker` that is created from now on.

        FastCGIInstrumentor().instrument()

    `opentelemetry-instrument python service.py` does this through an entry point of the group
    `opentelemetry_instrumentor`. `instrument()` takes `tracer_provider` and `meter_provider`; the defaults are the
    global ones. A dispatcher that is also passed to `OpenTelemetry.instrument()` has two spans for each job.
    """

    def instrumentation_dependencies(self) -> Collection[str]:
        """Return the packages that must be installed."""
        return ("fcgi-async",)

    def _instrument(
        self,
        *,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        **others: object,
    ) -> None:
        telemetry = OpenTelemetry(tracer_provider=tracer_provider, meter_provider=meter_provider)
        self._undo = [
            _after_making(Dispatcher, telemetry.instrument),
            _after_making(Jobs, telemetry.instrument_jobs),
            _after_making(Worker, telemetry.instrument_worker),
        ]

    def _uninstrument(self, **others: object) -> None:
        for undo in self._undo:
            undo()


def _after_making(kind: type[_Made], instrument: Callable[[_Made], object]) -> Callable[[], None]:
    """Instrument each new object of a class; return a function that undoes this."""
    make: Callable[..., None] = kind.__init__

    @wraps(make)
    def make_and_instrument(self: _Made, *args: object, **given: object) -> None:
        make(self, *args, **given)
        instrument(self)

    def undo() -> None:
        kind.__init__ = make  # type: ignore[method-assign]

    # like other instrumentors
    kind.__init__ = make_and_instrument  # type: ignore[method-assign]
    return undo

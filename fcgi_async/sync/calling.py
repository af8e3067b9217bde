"""Calling PHP functions from threads: what a dispatcher and its views have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from os import PathLike
from typing import TypeVar, overload

from fcgi_async.dispatch import calling
from fcgi_async.job.job import Job
from fcgi_async.job.response import Response
from fcgi_async.job.settings import UNSET, Timeout
from fcgi_async.job.tag import Tag
from fcgi_async.sync.php_function import PHPFunction

__all__ = ("Calling",)

_Result = TypeVar("_Result")


class Calling:
    """Calls PHP functions by way of jobs.

    Args:
        inner: makes the calls in the event loop.
    """

    def __init__(self, inner: calling.Calling) -> None:
        self._calls = inner

    @abstractmethod
    def run(self, job: Job[Tag], *, timeout: Timeout = UNSET) -> Response[Tag]:
        """Run one job."""

    def call(self, function: str, /, *args: object, **named: object) -> object:
        """Call a PHP function and return its result: `php.call("Shop\\\\Price::of", 7, currency="CHF")`.

        Args:
            function: "function" or "Class::method", as it is listed on PHP's side.
            args: positional arguments: values that JSON has, with integers of 64 bits; not bytes.
            named: named arguments, by their names in PHP.

        Raises:
            CallError: as for `fcgi_async.Dispatcher.call()`; PHPError if the function threw.
            InvalidJob: an argument cannot be sent.
            ConfigurationError: no script serves calls; or this thread runs an event loop, or this process was forked.
            FastCGIError: whatever `run()` raises.

        An interruption has the same effect as for `run()`.
        """
        return self.function(function)(*args, **named)

    @overload
    def function(
        self,
        name: str,
        *,
        returns: None = None,
        script: str | PathLike[str] | None = None,
        priority: int = 0,
        timeout: Timeout = UNSET,
        queue_timeout: Timeout = UNSET,
        run_timeout: Timeout = UNSET,
        idempotent: bool = False,
    ) -> PHPFunction[object]: ...

    @overload
    def function(
        self,
        name: str,
        *,
        returns: Callable[..., _Result],
        script: str | PathLike[str] | None = None,
        priority: int = 0,
        timeout: Timeout = UNSET,
        queue_timeout: Timeout = UNSET,
        run_timeout: Timeout = UNSET,
        idempotent: bool = False,
    ) -> PHPFunction[_Result]: ...

    def function(
        self,
        name: str,
        *,
        returns: Callable[..., _Result] | None = None,
        script: str | PathLike[str] | None = None,
        priority: int = 0,
        timeout: Timeout = UNSET,
        queue_timeout: Timeout = UNSET,
        run_timeout: Timeout = UNSET,
        idempotent: bool = False,
    ) -> PHPFunction[object] | PHPFunction[_Result]:
        """Return a PHP function that any thread can call any number of times.

        Args:
            name: "function" or "Class::method", as it is listed on PHP's side.
            returns: the type that the result must have, as for `fcgi_async.Dispatcher.function()`.
            script: the script that serves the calls, instead of the dispatcher's `call_script`.
            priority: priority of the calls, as for `Job`.
            timeout: seconds from the call to the result, as for `Job`.
            queue_timeout: seconds until a worker takes the call.
            run_timeout: seconds from that moment to the result.
            idempotent: whether calling it twice does no harm; if so, a call that may have run is retried.

        Raises:
            ConfigurationError: no script serves calls.
        """
        make: Callable[..., object] | None = returns
        inner = self._calls.function(
            name,
            returns=make,
            script=script,
            priority=priority,
            timeout=timeout,
            queue_timeout=queue_timeout,
            run_timeout=run_timeout,
            idempotent=idempotent,
        )
        return PHPFunction(inner, self.run)

"""Calling PHP functions: what a dispatcher and its views have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from os import PathLike
from typing import TypeVar, overload

from fcgi_async.dispatch.opening import Opening
from fcgi_async.dispatch.php_function import PHPFunction, call_settings
from fcgi_async.job.job import Job
from fcgi_async.job.response import Response
from fcgi_async.job.settings import UNSET, Timeout
from fcgi_async.job.tag import Tag

__all__ = ("Calling",)

_Result = TypeVar("_Result")


class Calling:
    """Calls PHP functions by way of jobs.

    Args:
        opening: the dispatcher's state; it has the script that serves calls.
    """

    def __init__(self, opening: Opening) -> None:
        self._opening = opening

    @abstractmethod
    async def run(self, job: Job[Tag], *, timeout: Timeout = UNSET) -> Response[Tag]:
        """Run one job."""

    async def call(self, function: str, /, *args: object, **named: object) -> object:
        """Call a PHP function and return its result: `await php.call("Shop\\\\Price::of", 7, currency="CHF")`.

        The dispatcher's `call_script` decides which functions may be called. Use `function()`, or a view's defaults, to
        set deadlines, a priority or a type for the result.

        Args:
            function: "function" or "Class::method", as it is listed on PHP's side.
            args: positional arguments: values that JSON has, with integers of 64 bits; not bytes.
            named: named arguments, by their names in PHP.

        Raises:
            PHPError: the function threw an exception; PHPFatalError, PHPExited: it died, or called exit().
            CallRefused: PHP's side does not allow the function, or it does not exist.
            CallError: it returned what JSON cannot express, or something other than fcgi_call.php answered.
            InvalidJob: an argument cannot be sent.
            ConfigurationError: no script serves calls.
            FastCGIError: whatever `run()` raises.

        Cancelling has the same effect as for `run()`.
        """
        return await self.function(function)(*args, **named)

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
        """Return a PHP function that can be called any number of times, with a type for its result.

        Args:
            name: "function" or "Class::method", as it is listed on PHP's side.
            returns: the type that the result must have: `bool`, `int`, `float`, `str`, `list` or `dict`. Any other type
                or function is called with the result, and the caller gets what it returns.
            script: the script that serves the calls, instead of the dispatcher's `call_script`.
            priority: priority of the calls, as for `Job`.
            timeout: seconds from the call to the result, as for `Job`.
            queue_timeout: seconds until a worker takes the call.
            run_timeout: seconds from that moment to the result.
            idempotent: whether calling it twice does no harm; if so, a call that may have run is retried.

        Raises:
            ConfigurationError: no script serves calls.
        """
        settings = call_settings(
            script,
            self._opening.call_script,
            priority=priority,
            timeout=timeout,
            queue_timeout=queue_timeout,
            run_timeout=run_timeout,
            idempotent=idempotent,
        )
        return PHPFunction(name, settings, returns, self.run)

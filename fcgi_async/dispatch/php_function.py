"""A PHP function that Python calls: the job of a call, and its result."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from os import PathLike
from typing import Generic, TypeVar

import attrs

from fcgi_async.call.answer import converted, result_of
from fcgi_async.call.arguments import check_arguments
from fcgi_async.errors import ConfigurationError
from fcgi_async.job.job import Job
from fcgi_async.job.response import Response
from fcgi_async.job.settings import Timeout

__all__ = ("CallSettings", "PHPFunction", "call_settings")

_Result = TypeVar("_Result")


@attrs.frozen
class CallSettings:
    """How the job of a call is run, as arguments of `Job`."""

    script: str | PathLike[str]
    priority: int
    timeout: Timeout
    queue_timeout: Timeout
    run_timeout: Timeout
    idempotent: bool


def call_settings(
    script: str | PathLike[str] | None,
    default: str | PathLike[str] | None,
    *,
    priority: int,
    timeout: Timeout,
    queue_timeout: Timeout,
    run_timeout: Timeout,
    idempotent: bool,
) -> CallSettings:
    """Return the settings; raise ConfigurationError if no script serves calls."""
    found = default if script is None else script
    if found is None:
        raise ConfigurationError(
            "which script serves calls? Write Dispatcher(..., call_script='/srv/app/calls.php'), a script that calls "
            "FcgiCall::serve(); `python -m fcgi_async.call FOLDER` copies fcgi_call.php, which it requires"
        )
    return CallSettings(found, priority, timeout, queue_timeout, run_timeout, idempotent)


@attrs.frozen(eq=False)
class PHPFunction(Generic[_Result]):
    """A PHP function: `price = php.function("Shop\\\\Price::of")`, then `await price(7, currency="CHF")`.

    Attributes:
        name: the function, as PHP's side allows it.
    """

    name: str
    _settings: CallSettings = attrs.field(repr=False)
    _returns: Callable[..., _Result] | None = attrs.field(repr=False)
    _run: Callable[[Job[str]], Awaitable[Response[str]]] = attrs.field(repr=False)

    async def __call__(self, *args: object, **named: object) -> _Result:
        """Call the function and return its result, as `Dispatcher.call()` does."""
        return self.result(await self._run(self.job(*args, **named)))

    def job(self, *args: object, **named: object) -> Job[str]:
        """Return a call as a job, for `run_all()`, `map()` and `submit()`; its tag is the function's name.

        Raises:
            InvalidJob: an argument cannot be sent.
        """
        check_arguments(self.name, args, named)
        settings = self._settings
        return Job(
            settings.script,
            json={"function": self.name, "args": args, "named": named},
            # a visitor of a web server cannot send this parameter
            params={"FCGI_CALL": "1"},
            priority=settings.priority,
            timeout=settings.timeout,
            queue_timeout=settings.queue_timeout,
            run_timeout=settings.run_timeout,
            idempotent=settings.idempotent,
            tag=self.name,
        )

    def result(self, response: Response) -> _Result:
        """Return the result from the response to a `job()`.

        Raises:
            CallError: it has no result; the same errors as `Dispatcher.call()`.
        """
        return converted(self.name, result_of(self.name, response), self._returns, response)

"""A PHP function that threads can call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

import attrs

from fcgi_async.dispatch import php_function
from fcgi_async.job.job import Job
from fcgi_async.job.response import Response

__all__ = ("PHPFunction",)

_Result = TypeVar("_Result")


@attrs.frozen(eq=False)
class PHPFunction(Generic[_Result]):
    """A PHP function: `price = php.function("Shop\\\\Price::of", returns=float)`, then `price(7, currency="CHF")`."""

    _function: php_function.PHPFunction[_Result]
    _run: Callable[[Job[str]], Response[str]] = attrs.field(repr=False)

    @property
    def name(self) -> str:
        """The function, as PHP's side allows it."""
        return self._function.name

    def __call__(self, *args: object, **named: object) -> _Result:
        """Call the function and return its result, as `Dispatcher.call()` does."""
        return self.result(self._run(self.job(*args, **named)))

    def job(self, *args: object, **named: object) -> Job[str]:
        """Return a call as a job, for `run_all()`, `map()` and `submit()`; its tag is the function's name.

        Raises:
            InvalidJob: an argument cannot be sent.
        """
        return self._function.job(*args, **named)

    def result(self, response: Response) -> _Result:
        """Return the result from the response to a `job()`.

        Raises:
            CallError: it has no result; the same errors as `Dispatcher.call()`.
        """
        return self._function.result(response)

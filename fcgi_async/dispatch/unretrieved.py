"""Errors of submitted jobs that were never retrieved: the event loop logs them and passes them to `on_job_error`."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable

import attrs

from fcgi_async.errors import DispatcherClosed, FastCGIError
from fcgi_async.net.backend import Backend

__all__ = ("UnretrievedErrors",)

logger = logging.getLogger("fcgi_async.dispatch")

# how many of the jobs that a closing dispatcher abandoned get a line of their own in the log
_NAMED_MAX = 5


@attrs.define(eq=False)
class UnretrievedErrors:
    """Takes errors wherever a handle is collected, and reports them in the event loop.

    Args:
        backend: the event loop.
        callback: `on_job_error`.
    """

    backend: Backend
    callback: Callable[[FastCGIError], None] | None
    # whether they are kept until `flush()` is called
    held: bool = attrs.field(default=False, init=False)
    _errors: deque[FastCGIError] = attrs.field(factory=deque, init=False)
    _due: bool = attrs.field(default=False, init=False)
    _named: int = attrs.field(default=0, init=False)

    def add(self, error: FastCGIError) -> None:
        """Keep an error for a report. May be called in any thread, and by a destructor: it runs no code of the user."""
        self._errors.append(error)
        if self.held or self._due:
            return
        self._due = True
        if not self.backend.call_soon_threadsafe(self.flush):
            # the event loop in which `on_job_error` could be called has ended
            self._due = False
            self._log()

    def flush(self) -> None:
        """Report every error."""
        self._due = False
        for error in self._log():
            if self.callback is None:
                continue
            try:
                self.callback(error)
            except Exception:
                logger.exception("on_job_error failed")

    def _log(self) -> list[FastCGIError]:
        errors: list[FastCGIError] = []
        more = 0
        while self._errors:
            error = self._errors.popleft()
            errors.append(error)
            if isinstance(error, DispatcherClosed):
                if self._named >= _NAMED_MAX:
                    more += 1
                    continue
                self._named += 1
            logger.error("a submitted job failed and its result was never retrieved: %s", error)
        if more:
            logger.error(
                "%d more submitted job(s) were abandoned as the dispatcher closed, their results never retrieved",
                more,
            )
        return errors

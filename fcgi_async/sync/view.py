"""A dispatcher for threads, with the defaults of one application."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike

from fcgi_async.dispatch import view
from fcgi_async.dispatch.view import NO_DEFAULTS
from fcgi_async.job.headers import RequestHeaders
from fcgi_async.job.settings import Timeouts
from fcgi_async.sync.intake import Intake
from fcgi_async.sync.loop_thread import LoopThread

__all__ = ("View",)


class View(Intake):
    """What `Dispatcher.view()` returns: submits jobs to its dispatcher, with defaults for what they do not set."""

    def __init__(self, thread: LoopThread, inner: view.View) -> None:
        super().__init__(thread, inner)
        self._view = inner

    def view(
        self,
        *,
        root: str | PathLike[str] | None = None,
        params: Mapping[str, str] = NO_DEFAULTS,
        headers: RequestHeaders = NO_DEFAULTS,
        priority: int = 0,
        timeouts: Timeouts | None = None,
        idempotent: bool | None = None,
        name: str | None = None,
    ) -> View:
        """Return a view that adds these defaults to this view's own, as `Dispatcher.view()` does.

        Raises:
            ConfigurationError: an argument is out of its range, or a parameter is refused.
        """
        inner = self._view.view(
            root=root,
            params=params,
            headers=headers,
            priority=priority,
            timeouts=timeouts,
            idempotent=idempotent,
            name=name,
        )
        return View(self._thread, inner)

    def __repr__(self) -> str:
        return repr(self._view)

"""Find the dispatcher that runs the scripts, with the defaults of this application."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from fcgi_async.asgi.protocol import Scope
from fcgi_async.dispatch.dispatcher import Dispatcher
from fcgi_async.dispatch.view import View
from fcgi_async.errors import ConfigurationError
from fcgi_async.job.headers import RequestHeaders
from fcgi_async.job.settings import Timeouts

__all__ = ("PHPViews",)


@attrs.define(eq=False)
class PHPViews:
    """Finds the dispatcher of a request, and returns it with the application's defaults.

    Attributes:
        source: a dispatcher, a view of one, or its name in the state of a request.
        fpm_root: the root as FPM sees it; None if it is the same as here.
        params: parameters sent with every job.
        headers: headers sent with every job.
        priority: priority of the jobs.
        timeouts: deadlines of the jobs.
    """

    source: Dispatcher | View | str
    fpm_root: str | None
    params: Mapping[str, str]
    headers: RequestHeaders
    priority: int
    timeouts: Timeouts
    # only the last view: there is one dispatcher, and one root until the next deploy
    _made_of: tuple[Dispatcher | View, bytes] | None = attrs.field(default=None, init=False)
    _view: View | None = attrs.field(default=None, init=False)

    def view(self, scope: Scope, root: bytes) -> View:
        """Return the view that runs the request's script.

        Args:
            scope: the request.
            root: the root on this host, without symbolic links.

        Raises:
            ConfigurationError: there is no dispatcher.
        """
        php = self._find(scope)
        view, made_of = self._view, self._made_of
        if view is None or made_of is None or made_of[0] is not php or made_of[1] != root:
            view = self._view = php.view(
                root=self.fpm_root or root.decode("utf-8", "surrogateescape"),
                params=self.params,
                headers=self.headers,
                priority=self.priority,
                timeouts=self.timeouts,
            )
            self._made_of = (php, root)
        return view

    def _find(self, scope: Scope) -> Dispatcher | View:
        if not isinstance(self.source, str):
            return self.source
        found: object = scope.get("state", {}).get(self.source)
        if isinstance(found, Dispatcher | View):
            return found
        raise ConfigurationError(
            f"PHPApplication finds no dispatcher as {self.source!r} in the request's state; give the application "
            "around it lifespan=fcgi_async.asgi.lifespan(make), or PHPApplication(dispatcher=...)"
        )

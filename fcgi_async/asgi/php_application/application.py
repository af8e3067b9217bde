"""PHPApplication: a folder of PHP scripts and static files, served to HTTP clients."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Final, Literal

import attrs

from fcgi_async.asgi.lifespan import DispatcherLifespan
from fcgi_async.asgi.php_application.accel import Accel
from fcgi_async.asgi.php_application.answering import Answering
from fcgi_async.asgi.php_application.error_answer import ErrorPage, refuse_websocket, send_refusal, to_refusal
from fcgi_async.asgi.php_application.hosts import HostRules
from fcgi_async.asgi.php_application.lookup import Root, Site
from fcgi_async.asgi.php_application.options import (
    check_bytes,
    check_choice,
    check_codings,
    check_fpm_root,
    check_job,
    check_priority,
    check_seconds,
    script_name,
    script_names,
)
from fcgi_async.asgi.php_application.php_views import PHPViews
from fcgi_async.asgi.php_application.refusal import ClientLeft, Refusal
from fcgi_async.asgi.php_application.relay import RelaySettings
from fcgi_async.asgi.php_application.request_spool import BodyLimits
from fcgi_async.asgi.php_application.rules import HIDDEN, NO_SCRIPTS, HiddenRules, ScriptRules, Scripts
from fcgi_async.asgi.php_application.watch import Client
from fcgi_async.asgi.protocol import Application, Receive, Scope, Send
from fcgi_async.dispatch.dispatcher import Dispatcher
from fcgi_async.dispatch.view import View
from fcgi_async.errors import ConfigurationError, FastCGIError
from fcgi_async.job.headers import RequestHeaders, header_params
from fcgi_async.job.settings import Timeouts
from fcgi_async.spool.room import SpoolRoom

__all__ = ("PHPApplication",)

logger = logging.getLogger("fcgi_async.asgi")

_KIB: Final = 1024
_MIB: Final = 1024 * _KIB
_GIB: Final = 1024 * _MIB


@attrs.define(eq=False, kw_only=True)
class PHPApplication:
    """An ASGI application that serves a folder of PHP scripts and static files, as a web server in front of PHP-FPM
    does.

        app = PHPApplication("/srv/blog", dispatcher=lambda: Dispatcher("unix:///run/php/php-fpm.sock", max_children=8))

    Or mounted beside other routes, with the dispatcher of the outer application:
    `Mount("/", PHPApplication("/srv/blog"))`.

    A slow client holds no worker: a request's body is read before a worker is asked for, and the part of an answer that
    the client has not taken waits here. Only regular files under the root are run or shown. Websockets are refused with
    403.

    Args:
        root: the folder with scripts and files, on this host. If it is a symbolic link, it may lead elsewhere at the
            next request: it is resolved in SCRIPT_FILENAME and DOCUMENT_ROOT.
        fpm_root: the same folder as FPM sees it, if its path is different there, for instance in a container.
        dispatcher: the dispatcher that runs the scripts: its name in the state of a request; a dispatcher or a view
            that is open while there are requests; or a function that makes a dispatcher, which is then opened and
            closed with the server's lifespan.
        front: the front controller, below the root: it answers requests that no file answers, with an empty PATH_INFO;
            None for 404.
        index: the names of a folder's index; the first that exists answers.
        scripts: which scripts may run: "any" regular file below the root; only the "front" controller; a list of names
            and patterns relative to the root, such as `/admin/*.php`; or a function that takes such a name.
        no_scripts: prefixes of paths below which no script is run or shown.
        missing_script: what answers for a missing script: 404, or the "front" controller.
        hidden: patterns of path segments that clients cannot see, with `!` before exceptions; the default is `HIDDEN`.
        follow_symlinks: whether symbolic links may lead out of the root.
        hosts: which hosts are served; `*.example.org` means all below example.org; None for all.
        priority: priority of the jobs, among those of the dispatcher.
        queue_timeout: seconds that a request waits for a worker before 503; None for no limit.
        run_timeout: seconds that PHP has for a response before 504; None for no limit.
        retry: "get" retries GET and HEAD if their worker was lost; "never" answers with 502.
        max_body: most bytes of a request's body; more is answered with 413.
        request_buffer: bytes of a body that are kept in memory before it goes to a temporary file. 0 passes bodies of
            known length on as they come: a slow upload then holds a worker.
        body_timeout: seconds between two pieces of a body before 408; None for no limit.
        response_buffer: bytes of a response that wait in memory for the client before they go to a temporary file. 0
            lets PHP wait for the client; so does PHP's `X-Accel-Buffering: no`.
        response_file: most bytes of a response in its temporary file; while it is full, PHP waits.
        max_spooled: most bytes in the temporary files of all requests and responses; a body that does not fit is
            answered with 503, and a response that does not fit waits for its client.
        on_disconnect: what happens to a script if its client disconnects: "drain" does what `Endpoint.on_cancel` says;
            "finish" lets it run to its end.
        params: FastCGI parameters of every job; clients cannot set them.
        headers: request headers of every job; clients cannot set them.
        server_software: SERVER_SOFTWARE. WordPress offers permalinks if it knows the server by this name.
        accel: folders by prefixes, `{"/protected/": "/srv/files"}`, for X-Accel-Redirect and X-Sendfile; None for none.
        static: whether files are sent; or an ASGI application that sends them, and gets only requests for files that
            exist and are not hidden.
        precompressed: extensions of compressed copies to send instead of a file, unless they are links: "br", "gz",
            "zst".
        errors: returns the body, HTML as text or bytes, for a status and a scope; None for a line of plain text. PHP's
            own error pages are passed on unchanged.

    Raises:
        ConfigurationError: an option is invalid.
    """

    root: str | os.PathLike[str] = attrs.field(kw_only=False)
    fpm_root: str | os.PathLike[str] | None = None
    dispatcher: Dispatcher | View | Callable[[], Dispatcher] | str = "php"
    front: str | None = "index.php"
    index: Iterable[str] = ("index.php", "index.html")
    scripts: Scripts = "any"
    no_scripts: Iterable[str] = NO_SCRIPTS
    missing_script: Literal[404, "front"] = 404
    hidden: Iterable[str] = HIDDEN
    follow_symlinks: bool = True
    hosts: Iterable[str] | None = None
    priority: int = 10
    queue_timeout: float | None = 30.0
    run_timeout: float | None = None
    retry: Literal["never", "get"] = "never"
    max_body: int = 64 * _MIB
    request_buffer: int = 256 * _KIB
    body_timeout: float | None = 60.0
    response_buffer: int = _MIB
    response_file: int = _GIB
    max_spooled: int = 4 * _GIB
    on_disconnect: Literal["drain", "finish"] = "drain"
    # not shown: they may have credentials
    params: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    headers: RequestHeaders = attrs.field(factory=dict, repr=False)
    server_software: str = "fcgi_async (like nginx)"
    accel: Mapping[str, str | os.PathLike[str]] | None = None
    static: bool | Application = True
    precompressed: Iterable[str] = ()
    errors: ErrorPage | None = None
    _answering: Answering = attrs.field(init=False, repr=False)
    _lifespan: DispatcherLifespan | None = attrs.field(default=None, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        for name in ("max_body", "request_buffer", "response_buffer", "response_file", "max_spooled"):
            check_bytes(name, getattr(self, name))
        for name in ("queue_timeout", "run_timeout", "body_timeout"):
            check_seconds(name, getattr(self, name))
        check_choice("missing_script", self.missing_script, 404, "front")
        check_choice("follow_symlinks", self.follow_symlinks, True, False)
        check_choice("retry", self.retry, "never", "get")
        check_choice("on_disconnect", self.on_disconnect, "drain", "finish")
        check_fpm_root(self.fpm_root)
        check_priority(self.priority)
        check_job(self.params, self.headers, self.server_software)
        make = self.dispatcher
        if not isinstance(make, Dispatcher | View | str):
            if not callable(make):
                raise ConfigurationError(
                    f"dispatcher={make!r} is none of: a name, a Dispatcher, a View, a function that makes a Dispatcher"
                )
            self._lifespan = DispatcherLifespan(self._serve, make)
        if not isinstance(self.static, bool) and not callable(self.static):
            raise ConfigurationError(f"static={self.static!r} is none of: True, False, an ASGI application")
        if self.errors is not None and not callable(self.errors):
            raise ConfigurationError(f"errors={self.errors!r} is not a function of a status and a scope")
        self._answering = self._answer_with(SpoolRoom(self.max_spooled))
        if not isinstance(make, str) and self._lifespan is None:
            # refuse now what it does not allow
            self._answering.views.view({}, self._answering.root.current())

    def _answer_with(self, room: SpoolRoom) -> Answering:
        front = script_name(self.front)
        precompressed = check_codings(self.precompressed)
        return Answering(
            root=Root(self.root),
            site=Site(
                front=front,
                index=script_names(self.index),
                scripts=ScriptRules(self.scripts, self.no_scripts, front),
                hidden=HiddenRules(self.hidden),
                missing_script=self.missing_script,
                follow_symlinks=self.follow_symlinks,
                files=bool(self.static),
            ),
            hosts=HostRules(self.hosts),
            views=self._views(),
            limits=BodyLimits(self.max_body, self.request_buffer or 256 * _KIB, self.body_timeout),
            room=room,
            streamed=self.request_buffer == 0,
            relay=RelaySettings(
                memory=self.response_buffer,
                disk=self.response_file,
                room=room,
                on_disconnect=self.on_disconnect,
                accel=Accel(self.accel),
                precompressed=precompressed,
            ),
            repeat_safe=self.retry == "get",
            fixed=frozenset({*self.params, *header_params(self.headers)}),
            static=None if isinstance(self.static, bool) else self.static,
            precompressed=precompressed,
        )

    def _views(self) -> PHPViews:
        make = self.dispatcher
        return PHPViews(
            source=make if isinstance(make, Dispatcher | View | str) else "php",
            fpm_root=None if self.fpm_root is None else os.fspath(self.fpm_root),
            params={"SERVER_SOFTWARE": self.server_software, **self.params},
            headers=self.headers,
            priority=self.priority,
            timeouts=Timeouts(queue=self.queue_timeout, run=self.run_timeout),
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, refuse a websocket, or open and close the dispatcher.

        Raises:
            ConfigurationError: there is no dispatcher.
            FastCGIError: a job failed after its answer had begun; the server must cut the connection.

        Cancelling has the same effect as leaving a stream.
        """
        if self._lifespan is not None:
            await self._lifespan(scope, receive, send)
        else:
            await self._serve(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        if kind == "http":
            await self._answer(scope, receive, send)
        elif kind == "websocket":
            await refuse_websocket(scope, receive, send)
        elif kind == "lifespan":
            await _live(receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        client = Client(receive, send)
        try:
            await self._answering.answer(scope, receive, send, client)
        except ClientLeft:
            logger.debug("the client of %.200r has disconnected", scope.get("path"))
        except Refusal as refusal:
            if client.begun:
                raise
            logger.debug("%.200r is answered with %s", scope.get("path"), refusal)
            await send_refusal(client, scope, refusal, self.errors)
        except FastCGIError as error:
            answer = None if client.begun else to_refusal(error, scope)
            if answer is None:
                raise
            await send_refusal(client, scope, answer, self.errors)
        finally:
            client.stop()


async def _live(receive: Receive, send: Send) -> None:
    """Answer the lifespan protocol for an application whose dispatcher is opened elsewhere."""
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})

"""Answer one HTTP request: read what it asks for, find what answers it, read its body, run PHP."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Sequence
from typing import Final

import attrs

from fcgi_async.asgi.php_application.files import send_file
from fcgi_async.asgi.php_application.hosts import Host, HostRules, parse_host
from fcgi_async.asgi.php_application.lookup import FoundFile, FoundFolder, FoundScript, Root, Site
from fcgi_async.asgi.php_application.php_views import PHPViews
from fcgi_async.asgi.php_application.refusal import Refusal
from fcgi_async.asgi.php_application.relay import Relay, RelaySettings
from fcgi_async.asgi.php_application.request_head import RequestHead, read_head
from fcgi_async.asgi.php_application.request_spool import BodyLimits, BodyParts, SpooledBody, spool_body
from fcgi_async.asgi.php_application.script_params import script_params
from fcgi_async.asgi.php_application.target import Target, parse_target, quoted
from fcgi_async.asgi.php_application.watch import Client
from fcgi_async.asgi.protocol import Application, Receive, Scope, Send
from fcgi_async.job.job import Job
from fcgi_async.spool.room import SpoolRoom

__all__ = ("Answering", "RunningBody")

_SAFE_METHODS: Final = frozenset({"GET", "HEAD"})
_ALLOW_FILES: Final = ((b"allow", b"GET, HEAD"),)
_ALLOW_ALL: Final = ((b"allow", b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"),)


@attrs.define(eq=False)
class RunningBody:
    """A body of known length that is passed on as it comes.

    Attributes:
        length: total number of bytes.
        receive: the server's `receive`.
        limits: how fast the body has to come.
        at_end: called when the whole body has come.
    """

    length: int
    receive: Receive
    limits: BodyLimits
    at_end: Callable[[], None]

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for part in BodyParts(self.receive, self.limits):
            yield part
        self.at_end()


@attrs.define(eq=False)
class _Asked:
    """What a request asks for."""

    target: Target
    head: RequestHead
    host: Host | None


@attrs.frozen(eq=False)
class Answering:
    """Answers HTTP requests.

    Attributes:
        root: the folder.
        site: finds what answers a path in the folder.
        hosts: which hosts are served.
        views: finds the dispatcher that runs scripts.
        limits: limits of bodies.
        room: counts the bytes of spooled bodies.
        streamed: whether bodies of known length are passed on as they come.
        relay: how answers are passed on.
        repeat_safe: whether GET and HEAD are retried if their worker was lost.
        fixed: parameters that the application sets, and no client can.
        static: another application that sends files, or None.
        precompressed: as for `send_file()`.
    """

    root: Root
    site: Site
    hosts: HostRules
    views: PHPViews
    limits: BodyLimits
    room: SpoolRoom
    streamed: bool
    relay: RelaySettings
    repeat_safe: bool
    fixed: Collection[str]
    static: Application | None
    precompressed: Sequence[str]

    async def answer(self, scope: Scope, receive: Receive, send: Send, client: Client) -> None:
        """Answer one request.

        Raises:
            Refusal: the request is answered with an error.
            ClientLeft: the client has left.
            FastCGIError: what failed the job.
        """
        method = scope["method"]
        if method in ("TRACE", "CONNECT"):
            raise Refusal(405, headers=_ALLOW_ALL)
        raw = _raw_path(scope)
        if raw == b"*" and method == "OPTIONS":
            raise Refusal(204, headers=_ALLOW_ALL)
        target = parse_target(raw, scope.get("query_string", b""), _mount(scope))
        head = read_head(scope["headers"])
        host = self._host(scope, target, head)
        root = self.root.current()
        found = self.site.find(root, target.path)
        if isinstance(found, FoundScript):
            await self._run(scope, client, _Asked(target, head, host), root, found)
        elif isinstance(found, FoundFile):
            await self._send_file(scope, receive, send, client, target, found)
        else:
            raise Refusal(301, headers=((b"location", _location(target, found)),))

    def _host(self, scope: Scope, target: Target, head: RequestHead) -> Host | None:
        value = target.authority if target.authority is not None else head.host
        # granian adds an empty one if the client sent none
        if not value and scope.get("http_version", "1.1") != "1.1":
            host = None
        elif value is None:
            raise Refusal(400, "HTTP/1.1 without a Host")
        else:
            host = parse_host(value)
        self.hosts.check(host)
        return host

    async def _send_file(
        self, scope: Scope, receive: Receive, send: Send, client: Client, target: Target, found: FoundFile
    ) -> None:
        if self.static is not None:
            path = target.mount + found.name
            inner = dict(scope)
            # the file that was found, not the path that was asked for: a folder's index, and a path without ..
            inner["path"], inner["raw_path"] = path.decode("utf-8", "surrogateescape"), quoted(path).encode()
            client.begun = True
            await self.static(inner, receive, send)
            return
        if scope["method"] not in _SAFE_METHODS:
            raise Refusal(405, "a file allows only GET and HEAD", headers=_ALLOW_FILES)
        await send_file(client, scope, found.path, name=found.name, precompressed=self.precompressed)

    async def _run(
        self,
        scope: Scope,
        client: Client,
        asked: _Asked,
        root: bytes,
        script: FoundScript,
    ) -> None:
        view = self.views.view(scope, root)
        params = asked.head.params
        content_type = params.pop("CONTENT_TYPE", None)
        params.update(script_params(scope, asked.target, script, asked.host))
        for name in self.fixed:
            params.pop(name, None)
        body = await self._body(scope, client, asked.head)
        try:
            method = scope["method"]
            job = _job(script, method, params, content_type, body, self.repeat_safe and method in _SAFE_METHODS)
            relay = Relay(self.relay, client, scope, view.stream(job))
            if isinstance(body, RunningBody):
                body.at_end = lambda: client.watch(relay.left)
            else:
                client.watch(relay.left)
            await relay.run()
        finally:
            if isinstance(body, SpooledBody):
                await body.aclose()

    async def _body(self, scope: Scope, client: Client, head: RequestHead) -> bytes | SpooledBody | RunningBody | None:
        length = head.length
        if length is None and not head.chunked and str(scope.get("http_version", "1.1")).startswith("1"):
            return None
        if length == 0:
            return b""
        if length is not None and length > self.limits.most:
            raise Refusal(413, f"the body is longer than max_body, {self.limits.most} bytes", close=True)
        if self.streamed and length is not None:
            return RunningBody(length, client.receive, self.limits, lambda: None)
        body = await spool_body(client.receive, self.limits, self.room)
        # in HTTP/2 the head does not tell that there is no body
        return body if body or length is not None or head.chunked else None


def _job(
    script: FoundScript,
    method: str,
    params: dict[str, str],
    content_type: str | None,
    body: bytes | SpooledBody | RunningBody | None,
    idempotent: bool,
) -> Job:
    name = script.name[1:].decode("utf-8", "surrogateescape")
    if body is None and content_type is None:
        # the same as below, but cheaper: arguments that are not given are not checked
        if method == "GET" and not idempotent:
            return Job(name, params=params)
        return Job(name, method=method, params=params, idempotent=idempotent)
    return Job(
        name,
        method=method,
        content=body,
        content_length=None if body is None or isinstance(body, bytes) else body.length,
        headers=None if content_type is None else {"Content-Type": content_type},
        params=params,
        idempotent=idempotent,
    )


def _raw_path(scope: Scope) -> bytes:
    raw = scope.get("raw_path")
    if raw is None:
        # optional in ASGI
        return quoted(scope["path"].encode("utf-8", "surrogateescape")).encode()
    return bytes(raw)


def _mount(scope: Scope) -> bytes:
    mount: str = scope.get("root_path") or ""
    return mount.encode("utf-8", "surrogateescape")


def _location(target: Target, folder: FoundFolder) -> bytes:
    """Return the Location of a folder: a path, so that it is right for any name of this host."""
    location = quoted(target.mount + folder.name)
    return (f"{location}?{target.query}" if target.query else location).encode("utf-8", "surrogateescape")

"""JobsPage: an ASGI application that shows durable jobs, and lets people retry or cancel them if that is allowed.

It has only one path, so that it can be mounted anywhere: the query string selects what is shown, and forms are posted
to the same path. There is no script; everything from the database is escaped.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Final, cast
from urllib.parse import parse_qs, urlencode, urlsplit

import attrs

from fcgi_async.asgi.protocol import Receive, Scope, Send, acknowledge_lifespan, read_headers
from fcgi_async.errors import ConfigurationError
from fcgi_async.jobs.errors import StoreError, UnknownJob
from fcgi_async.jobs.page_html import LONGEST, STYLE, render_job, render_list, render_message, render_overview
from fcgi_async.jobs.record import STATES, State

if TYPE_CHECKING:
    from fcgi_async.jobs.client import Jobs

__all__ = ("JobsPage",)

# most bytes of a posted form, and most jobs in one
_LONGEST_FORM, _MOST_IDS = 64 << 10, 500
_ROWS = 50
_STYLE_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
_HEADERS: Final = (
    (b"content-type", b"text/html; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
    (
        b"content-security-policy",
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; form-action 'self'; frame-ancestors 'none'; "
        "base-uri 'none'".encode(),
    ),
)


@attrs.frozen
class _Answer:
    status: int
    body: str = ""
    headers: tuple[tuple[bytes, bytes], ...] = ()


class _Refused(Exception):
    """The request is refused."""

    def __init__(self, status: int, message: str, *headers: tuple[bytes, bytes]) -> None:
        super().__init__(message)
        self.answer = _Answer(status, render_message(message), headers)


@attrs.frozen
class JobsPage:
    """Made by `Jobs.page()`; see there.

    Raises:
        ConfigurationError: the token is empty.
    """

    _jobs: Jobs = attrs.field(repr=False)
    _actions: bool
    _token: str | None = attrs.field(repr=False)
    _hosts: Collection[str] | None
    _secret: bytes = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        if self._token == "":
            raise ConfigurationError("page(token) must be text that is not empty, or None")
        # the same in all processes that serve the page with this token
        secret = secrets.token_bytes(32) if self._token is None else self._token.encode()
        object.__setattr__(self, "_secret", secret)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; refuse a websocket, and only acknowledge a lifespan."""
        if scope["type"] == "lifespan":
            await acknowledge_lifespan(receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        try:
            answer = await self._answer(scope, receive)
        except _Refused as refusal:
            answer = refusal.answer
        except StoreError as error:
            answer = _Answer(503, render_message(str(error)))
        body = answer.body.encode("utf-8", "replace")
        headers = [*_HEADERS, *answer.headers, (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    async def _answer(self, scope: Scope, receive: Receive) -> _Answer:
        headers = read_headers(scope)
        self._admit(headers)
        if scope["method"] in ("GET", "HEAD"):
            return await self._show(_fields(cast("bytes", scope.get("query_string", b""))))
        if scope["method"] != "POST":
            raise _Refused(405, "Only GET and POST are answered here.", (b"allow", b"GET, HEAD, POST"))
        if not self._actions:
            raise _Refused(403, "This page only shows jobs: page(actions=True) lets people decide about them.")
        if not _is_same_origin(headers):
            raise _Refused(403, "This form was not sent from this page.")
        form = _fields(await _read_body(receive))
        if not hmac.compare_digest(form.get("csrf", [""])[0].encode(), self._csrf().encode()):
            raise _Refused(403, "This form is no longer valid: go back, reload the page, and send it again.")
        return await self._act(form)

    def _admit(self, headers: Mapping[str, str]) -> None:
        """Refuse visitors who may not see the page."""
        if self._hosts is not None and _host(headers.get("host", "")) not in self._hosts:
            # another host name may point to this machine
            raise _Refused(421, "This page is not served under this name.")
        if self._token is None:
            return
        given = _given_token(headers.get("authorization", ""))
        if not hmac.compare_digest(given.encode(), self._token.encode()):
            raise _Refused(
                401,
                "Give the token as the password, with any name, or as a Bearer token.",
                (b"www-authenticate", b'Basic realm="jobs", charset="UTF-8"'),
            )

    # showing

    async def _show(self, query: Mapping[str, list[str]]) -> _Answer:
        csrf = self._csrf() if self._actions else None
        id, state = query.get("id", [""])[0], query.get("state", [""])[0]
        if id:
            try:
                return _Answer(200, render_job(await self._jobs.handle(id).record(most=LONGEST), csrf))
            except UnknownJob as error:
                return _Answer(404, render_message(str(error)))
        if state:
            if state not in STATES:
                raise _Refused(404, "There is no such state.")
            after = query.get("after", ["0"])[0]
            number = int(after) if after.isascii() and after.isdigit() and len(after) < 19 else 0
            records = await self._jobs.find(states=[state], after=number, limit=_ROWS + 1, data=False)
            return _Answer(200, render_list(state, records[:_ROWS], csrf, more=len(records) > _ROWS))
        counts = await self._jobs.counts()
        running = await self._jobs.find(states=["running"], limit=_ROWS, data=False)
        stuck = {
            state: await self._jobs.find(states=[state], limit=10, data=False)
            for state in _STUCK
            if counts.states[state]
        }
        return _Answer(200, render_overview(counts, running, stuck, csrf))

    # acting

    async def _act(self, form: Mapping[str, list[str]]) -> _Answer:
        action, ids = form.get("action", [""])[0], form.get("id", [])[:_MOST_IDS]
        queue = form.get("queue", [""])[0]
        try:
            if action in ("pause", "resume"):
                await (self._jobs.pause(queue) if action == "pause" else self._jobs.resume(queue))
            elif action in ("retry", "cancel") and ids:
                await (self._jobs.retry(*ids) if action == "retry" else self._jobs.cancel(*ids))
            elif action in ("retry", "cancel"):
                raise _Refused(400, "No job was chosen.")
            else:
                raise _Refused(400, "There is no such action.")
        except ConfigurationError as error:
            raise _Refused(400, str(error)) from None
        back = form.get("back", [""])[0]
        target = urlencode({"state": back}) if back in STATES else urlencode({"id": ids[0]}) if back == "job" else ""
        # redirect to the page, so that reloading it does not send the form again
        return _Answer(303, headers=((b"location", f"?{target}".encode()),))

    def _csrf(self) -> str:
        return hmac.new(self._secret, b"fcgi_async.jobs.page", hashlib.sha256).hexdigest()


_STUCK: Final[tuple[State, ...]] = ("in_doubt", "dead")


def _fields(text: bytes) -> dict[str, list[str]]:
    try:
        return parse_qs(text.decode("ascii"), max_num_fields=_MOST_IDS + 10, errors="replace")
    except (ValueError, UnicodeDecodeError):
        raise _Refused(400, "The query or the form cannot be read.") from None


async def _read_body(receive: Receive) -> bytes:
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _Refused(400, "The form ended early.")
        body += cast("bytes", message.get("body", b""))
        if len(body) > _LONGEST_FORM:
            raise _Refused(413, "The form is too long.")
        if not message.get("more_body", False):
            return body


def _is_same_origin(headers: Mapping[str, str]) -> bool:
    """Return whether a form was sent from a page of this origin, as far as the browser tells."""
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    origin = headers.get("origin")
    return origin is None or urlsplit(origin).netloc == headers.get("host")


def _host(header: str) -> str:
    name = header if header.endswith("]") else header.rsplit(":", 1)[0] if ":" in header else header
    return name.lower()


def _given_token(authorization: str) -> str:
    scheme, _, rest = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return rest.strip()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(rest.strip(), validate=True).decode("utf-8", "replace").partition(":")[2]
        except (binascii.Error, ValueError):
            return ""
    return ""

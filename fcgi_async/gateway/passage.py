"""One request on its way through the gateway, from a client's BEGIN_REQUEST to its END_REQUEST."""

from __future__ import annotations

import logging
from typing import Protocol

from fcgi_async.dispatch.relay import RawRequest, Relay
from fcgi_async.errors import FastCGIError, InvalidJob, JobCancelled
from fcgi_async.gateway.answers import answer_of, is_busy
from fcgi_async.gateway.incoming_body import IncomingBody
from fcgi_async.gateway.params import Params
from fcgi_async.gateway.serving import Serving
from fcgi_async.job.body import BodyStream
from fcgi_async.wire.spec import Role

__all__ = ("Client", "Passage")

logger = logging.getLogger("fcgi_async.gateway")


class Client(Protocol):
    """The client of a request; output is sent in the next turn of the event loop. Synchronous."""

    @property
    def behind(self) -> bool:
        """Whether it reads its responses more slowly than they come."""

    @property
    def shares_connections(self) -> bool:
        """Whether it has asked for the gateway's values: if not, it sends one request at a time on a connection."""

    def send_stdout(self, passage: Passage, data: bytes) -> None: ...
    def send_stderr(self, passage: Passage, data: bytes) -> None: ...
    def send_end(self, passage: Passage, app_status: int) -> None: ...
    def send_whole(self, passage: Passage, stdout: bytes) -> None: ...

    def send_failure(self, passage: Passage, answer: bytes) -> None:
        """Send a response of the gateway's own, and its end."""

    def send_overloaded(self, passage: Passage) -> None:
        """Send an END_REQUEST that means that nothing ran."""

    def break_off(self, passage: Passage) -> None:
        """Show that the rest of a response is missing."""

    def hold_up(self, passage: Passage, wanted: bool) -> None:
        """Stop or resume reading from it."""


class Passage:
    """The state of a request and of its response. Synchronous.

    Args:
        client: the client of the request.
        serving: the state that all connections share.
        request_id: the client's request id.
        role: the role that PHP is asked for.
        keep_conn: whether the client asks to keep its connection.
    """

    # most requests never set these: a default of the class costs none of them anything
    _params: Params | None = None
    _body: IncomingBody | None = None
    _relay: Relay | None = None
    # whether any part of the response was sent
    _answered = False
    over = False

    def __init__(self, client: Client, serving: Serving, request_id: int, role: Role, keep_conn: bool) -> None:
        self._client, self._serving = client, serving
        self.request_id, self.role, self.keep_conn = request_id, role, keep_conn

    # the request

    def take_params(self, content: bytes) -> None:
        """Take all parameters."""
        serving = self._serving
        if serving.is_full:
            self.failed(serving.refusal())
            return
        try:
            self._params = serving.params.read(content)
        except InvalidJob as error:
            self.failed(error)
            return
        if self.role is Role.AUTHORIZER:
            self._submit(b"")

    def take_whole(self, content: bytes) -> None:
        """Take all parameters of a request without a body."""
        serving = self._serving
        if serving.is_full:
            self.failed(serving.refusal())
            return
        try:
            self._params = params = serving.params.read(content)
            relay = serving.queue(params.alone, self, params.priority)
        except FastCGIError as error:
            self.failed(error)
            return
        # what it met may have ended it at once
        if not self.over:
            self._relay = relay
            if self._client.behind:
                relay.pause()

    def take_stdin(self, data: bytes) -> None:
        """Take a part of the body."""
        if self.over:
            return
        if self._body is None:
            self._body = IncomingBody(self._serving.bodies, self._hold_up, self._take_body, self.failed)
        self._body.feed(data)

    def take_stdin_end(self) -> None:
        """Take the end of the body."""
        if self.over:
            return
        if self._body is None:
            self._submit(b"")
        else:
            self._body.end()

    def _hold_up(self, wanted: bool) -> None:
        self._client.hold_up(self, wanted)

    def _take_body(self) -> None:
        body, params = self._body, self._params
        assert body is not None
        assert params is not None
        try:
            self._params = params.with_length(body.size)
        except InvalidJob as error:
            self.failed(error)
            return
        self._submit(body.content())

    def _submit(self, body: bytes | BodyStream) -> None:
        params = self._params
        assert params is not None
        try:
            relay = self._serving.queue(RawRequest(self.role, params.contents, body), self, params.priority)
        except FastCGIError as error:
            self.failed(error)
            return
        if not self.over:
            self._relay = relay
            if self._client.behind:
                relay.pause()

    # the client

    def regulate(self, behind: bool) -> None:
        """Pause the worker while the client is behind."""
        if self._relay is not None:
            if behind:
                self._relay.pause()
            else:
                self._relay.resume()

    def leave(self) -> None:
        """Called when the client wants no response: a queued request never runs, a running one is left to its end."""
        relay = self._relay
        self._close()
        if relay is not None:
            self._serving.left += relay.leave(JobCancelled("the client has left"))

    # RelayOutput

    def whole(self, stdout: bytes) -> None:
        """Pass on a response that came in one piece."""
        self._serving.passed += 1
        self.over, self._relay = True, None
        if self._body is not None:
            self._close()
        self._client.send_whole(self, stdout)

    def stdout(self, data: bytes) -> None:
        """Pass on a part of the response."""
        self._answered = True
        self._client.send_stdout(self, data)

    def stderr(self, data: bytes) -> None:
        """Pass on STDERR."""
        self._client.send_stderr(self, data)

    def ended(self, app_status: int) -> None:
        """Pass on the end of the response."""
        self._serving.passed += 1
        self._close()
        self._client.send_end(self, app_status)

    def failed(self, error: FastCGIError) -> None:
        """Tell the client that PHP's response is missing or incomplete."""
        serving = self._serving
        self._close()
        if is_busy(error) and not self._answered:
            serving.refused += 1
            logger.debug("refused for now: %s", error.message)
            if self._client.shares_connections:
                self._client.send_overloaded(self)
                return
        else:
            serving.failed += 1
            self._log(error)
        if self._answered:
            self._client.break_off(self)
        else:
            self._client.send_failure(self, answer_of(error))

    def _log(self, error: FastCGIError) -> None:
        params = self._params
        script = "a request" if params is None else RawRequest(self.role, params.contents, b"").name
        ran = "PHP may have run it" if error.may_have_run else "PHP did not start it"
        logger.warning("%s: %s: %s [%s]", script, type(error).__name__, error.message, ran)

    def _close(self) -> None:
        self.over = True
        if self._body is not None:
            self._body.close()
            self._body = None
        self._relay = None

"""Run PHP for one request and pass its answer to the client; the worker does not wait for the client."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final, Literal

import attrs

from fcgi_async.asgi.beside import start_beside
from fcgi_async.asgi.php_application.accel import Accel
from fcgi_async.asgi.php_application.answer_head import AnswerHead, read_answer_head
from fcgi_async.asgi.php_application.files import send_file
from fcgi_async.asgi.php_application.refusal import ClientLeft, Refusal
from fcgi_async.asgi.php_application.response_spool import ResponseSpool
from fcgi_async.asgi.php_application.watch import Client
from fcgi_async.asgi.protocol import Scope
from fcgi_async.dispatch.stream import ResponseStream, StreamManager
from fcgi_async.errors import FastCGIError, JobCancelled, ResponseTruncated
from fcgi_async.spool.room import SpoolRoom

__all__ = ("Relay", "RelaySettings")

logger = logging.getLogger("fcgi_async.asgi")

_BODILESS: Final = frozenset({204, 304})
# headers of PHP's answer that are not sent with the file that replaces it: they are about the body, or the status
_NOT_WITH_A_FILE: Final = frozenset(
    {
        b"accept-ranges",
        b"content-encoding",
        b"content-range",
        b"etag",
        b"last-modified",
        b"location",
        b"refresh",
        b"retry-after",
        b"www-authenticate",
    }
)
_Next = Callable[[], Awaitable[bytes | None]]


@attrs.frozen(eq=False)
class RelaySettings:
    """Settings for passing answers on.

    Attributes:
        memory: bytes of an answer that wait in memory for a slow client; 0 for no spool.
        disk: bytes that wait in a file when memory is full.
        room: counts the bytes in files.
        on_disconnect: whether a script runs to its end even if its client has disconnected.
        accel: the files that PHP may ask to be sent.
        precompressed: as for `send_file()`.
    """

    memory: int
    disk: int
    room: SpoolRoom
    on_disconnect: Literal["drain", "finish"]
    accel: Accel
    precompressed: Sequence[str]


class Relay:
    """Passes one answer on.

    Args:
        settings: the settings.
        client: receives the response.
        scope: the request.
        manager: the job.
    """

    def __init__(self, settings: RelaySettings, client: Client, scope: Scope, manager: StreamManager) -> None:
        self._settings, self._client, self._scope, self._manager = settings, client, scope, manager

    def left(self) -> None:
        """Called when the client has disconnected."""
        if self._settings.on_disconnect == "drain":
            self._manager.cancel()

    async def run(self) -> None:
        """Run the job, and pass PHP's answer on.

        Raises:
            FastCGIError: the job's error; if the head was sent already, the server must cut the connection.
            ClientLeft: the client has disconnected.
            Refusal: the body could not be read, or PHP asked for a file that may not be sent.

        Cancelling has the same effect as leaving a stream.
        """
        try:
            async with self._manager as stream:
                await self._pass_on(stream)
        except FastCGIError as error:
            # the body of the request is read while the job runs
            if isinstance(error.__cause__, Refusal | ClientLeft):
                raise error.__cause__ from error
            if isinstance(error, JobCancelled) and self._client.gone:
                raise ClientLeft from error
            raise

    async def _pass_on(self, stream: ResponseStream) -> None:
        head = read_answer_head(stream.status, stream.headers.raw)
        file = self._settings.accel.file(head)
        if file is not None:
            await self._send_file(stream, head, file)
        elif self._scope["method"] == "HEAD" or head.status in _BODILESS:
            await self._client.start(head.status, _headers(head))
            await self._client.body(b"")
            await self._leave(stream)
        elif stream.ended:
            await self._send_whole(head, stream.read_available())
        elif head.buffered and self._settings.memory:
            await self._send_spooled(stream, head)
        else:
            await self._client.start(head.status, _headers(head))
            await self._send_parts(stream, partial(_next_part, stream, head), head.length)

    async def _send_file(self, stream: ResponseStream, head: AnswerHead, file: bytes) -> None:
        await self._leave(stream)
        headers = [pair for pair in head.headers if pair[0] not in _NOT_WITH_A_FILE]
        await send_file(
            self._client,
            self._scope,
            file,
            name=file,
            precompressed=self._settings.precompressed,
            headers=headers,
        )

    async def _send_whole(self, head: AnswerHead, data: bytes) -> None:
        length = len(data) if head.length is None else head.length
        headers = [*head.headers, (b"content-length", b"%d" % length)]
        if len(data) >= length:
            if len(data) > length:
                self._log_cut(length)
            await self._client.whole(head.status, headers, data[:length])
            return
        await self._client.start(head.status, headers)
        await self._client.body(data, more=True)
        raise _truncated(length - len(data))

    async def _send_spooled(self, stream: ResponseStream, head: AnswerHead) -> None:
        async def pump() -> None:
            try:
                while (data := await _next_part(stream, head)) is not None:
                    await spool.put(data)
            except Exception as error:
                spool.end(error)
            else:
                spool.end()

        pumping = start_beside(pump)
        settings = self._settings
        spool = ResponseSpool(settings.memory, settings.disk, settings.room, pumping.event)
        try:
            await self._client.start(head.status, _headers(head))
            await self._send_parts(stream, spool.next, head.length)
        finally:
            pumping.stop()
            await spool.aclose()

    async def _send_parts(self, stream: ResponseStream, next_part: _Next, length: int | None) -> None:
        left = length
        while left != 0 and (data := await next_part()) is not None:
            if left is None:
                await self._client.body(data, more=True)
                continue
            if len(data) > left:
                self._log_cut(length)
                data = data[:left]
            left -= len(data)
            await self._client.body(data, more=left > 0)
        if left is None:
            await self._client.body(b"")
        elif left:
            raise _truncated(left)
        elif length == 0:
            await self._client.body(b"")
        # from here on a disconnect is normal
        self._client.stop()
        if left == 0:
            await self._read_on(stream, next_part)

    async def _leave(self, stream: ResponseStream) -> None:
        """Stop reading the body; PHP runs to its end or not, as it would without a client."""
        self._client.stop()
        await self._read_on(stream, partial(_next_part, stream, None))

    async def _read_on(self, stream: ResponseStream, next_part: _Next) -> None:
        if stream.ended:
            return
        if self._settings.on_disconnect == "drain":
            self._manager.cancel()
            return
        try:
            while await next_part() is not None:
                pass
        except FastCGIError as error:
            logger.warning("%.200r: the script failed after its response: %s", self._scope.get("path"), error)

    def _log_cut(self, length: int | None) -> None:
        logger.warning("%.200r: truncating PHP's body to its Content-Length, %s", self._scope.get("path"), length)


def _headers(head: AnswerHead) -> list[tuple[bytes, bytes]]:
    return head.headers if head.length is None else [*head.headers, (b"content-length", b"%d" % head.length)]


def _truncated(missing: int) -> ResponseTruncated:
    return ResponseTruncated(f"PHP's body is {missing} bytes shorter than its Content-Length; cutting the connection")


async def _next_part(stream: ResponseStream, head: AnswerHead | None) -> bytes | None:
    """Return the part of the body that has come, or wait for the next part; None at the end."""
    try:
        data = await stream.__anext__()
    except StopAsyncIteration:
        return None
    except ResponseTruncated:
        if head is not None and head.length is not None:
            raise
        # measured by a Content-Length that is not trusted
        return None
    more = stream.read_available()
    return data + more if more else data

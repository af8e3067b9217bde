"""uvicorn's HTTP/1.1 protocol on httptools, with a limit for heads, and without trailers among the headers."""

from __future__ import annotations

from typing import Final, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

__all__ = ("BoundedProtocol",)

_LONGEST: Final = 64 * 1024
_TOO_LONG: Final = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class BoundedProtocol(HttpToolsProtocol):
    """Closes a connection if a head or trailers are too long; drops trailers.

    uvicorn accepts a head of any length, and treats the trailers of a chunked body as headers, which a proxy may not
    have checked.
    """

    _in_head = False
    # whether the last data began a request, ended its head, or had some of its body; and how many bytes came since
    _useful = False
    _length = 0

    def data_received(self, data: bytes) -> None:
        """Parse data, unless the head or the trailers are too long."""
        self._useful = False
        super().data_received(data)
        self._length = 0 if self._useful else self._length + len(data)
        if self._length > _LONGEST and not self.transport.is_closing():
            # it is None before the first request
            cycle = cast("RequestResponseCycle | None", self.cycle)
            if self._in_head and (cycle is None or cycle.response_complete):
                self.transport.write(_TOO_LONG)
            self.transport.close()

    def on_message_begin(self) -> None:
        """Called when a head begins."""
        self._in_head = self._useful = True
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; drop a trailer."""
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Called when the head is complete."""
        self._in_head, self._useful = False, True
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Keep a part of the body."""
        self._useful = True
        super().on_body(body)

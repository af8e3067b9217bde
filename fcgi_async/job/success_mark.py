"""The success mark: text at the end of a body that shows that the script ran to its end."""

from __future__ import annotations

import attrs

__all__ = ("END_SHOWN", "BodyEnd", "is_marked")

# how many bytes of a body's end an error shows
END_SHOWN = 200


@attrs.define(eq=False)
class BodyEnd:
    """Keeps the last bytes of a body, to compare them with the success mark."""

    mark: str
    tail: bytes = attrs.field(default=b"", init=False)
    _size: int = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._size = max(END_SHOWN, len(self.mark.encode("utf-8", "surrogateescape")) + len(b"\r\n"))

    def feed(self, data: bytes) -> None:
        """Take the next part of the body."""
        self.tail = (self.tail + data[-self._size :])[-self._size :]


def is_marked(content: bytes, mark: str) -> bool:
    """Return whether a body ends with the mark, not counting a line end."""
    end = mark.encode("utf-8", "surrogateescape")
    return content.endswith((end, end + b"\n", end + b"\r\n"))

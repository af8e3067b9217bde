"""The mark at the end of a body by which a script says that it came to its own end."""

from __future__ import annotations

import attrs

__all__ = ("END_SHOWN", "BodyEnd", "is_marked")

# bytes of a body's end that an error shows
END_SHOWN = 200


@attrs.define(eq=False)
class BodyEnd:
    """The last bytes of a body that passes by, for the mark that they should be."""

    mark: str
    tail: bytes = attrs.field(default=b"", init=False)
    _size: int = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._size = max(END_SHOWN, len(self.mark.encode("utf-8", "surrogateescape")) + len(b"\r\n"))

    def feed(self, data: bytes) -> None:
        """Take the next part."""
        self.tail = (self.tail + data[-self._size :])[-self._size :]


def is_marked(content: bytes, mark: str) -> bool:
    """Whether a body ends with a mark, a line end aside."""
    end = mark.encode("utf-8", "surrogateescape")
    return content.endswith((end, end + b"\n", end + b"\r\n"))

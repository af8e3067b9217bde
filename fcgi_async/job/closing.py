"""The end of a caller's iterator that was not read to its end."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Final

import anyio

__all__ = ("close_iterator",)

_CLOSE_SECONDS: Final = 5.0


async def close_iterator(iterator: object) -> None:
    """Run an async generator's cleanup, for 5 seconds at most; event loops complain of one left in the middle."""
    if isinstance(iterator, AsyncGenerator):
        with anyio.move_on_after(_CLOSE_SECONDS, shield=True), suppress(Exception):
            await iterator.aclose()

"""Close a caller's async iterator early."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Final

import anyio

__all__ = ("close_iterator",)

_CLOSE_SECONDS: Final = 5.0


async def close_iterator(iterator: object) -> None:
    """Run an async generator's cleanup, for at most 5 seconds; event loops complain about an unfinished one."""
    if isinstance(iterator, AsyncGenerator):
        with anyio.move_on_after(_CLOSE_SECONDS, shield=True), suppress(Exception):
            await iterator.aclose()

"""The event loops that our contenders run on, by name."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVarTuple

import anyio

__all__ = ("run_on",)

Arguments = TypeVarTuple("Arguments")


def run_on(name: str, main: Callable[[*Arguments], Awaitable[None]], *arguments: *Arguments) -> None:
    """Run a coroutine function on "asyncio", "uvloop" or "trio"."""
    if name == "trio":
        anyio.run(main, *arguments, backend="trio")
    else:
        anyio.run(main, *arguments, backend_options={"use_uvloop": name == "uvloop"})

"""The choice between asyncio and trio."""

from __future__ import annotations

import sys

from fcgi_async.net.backend import Backend

__all__ = ("current_backend",)


def current_backend() -> Backend:
    """Return a new backend for the running event loop."""
    if "trio" in sys.modules:
        import trio

        if trio.lowlevel.in_trio_task():
            from fcgi_async.net.trio_backend import TrioBackend

            return TrioBackend()
    from fcgi_async.net.asyncio_backend import AsyncioBackend

    return AsyncioBackend()

"""Programs of others that run for a test, with all that they fork."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import anyio

from tests.eventually import eventually


@asynccontextmanager
async def running(command: Sequence[str | Path], log: Path, *, is_ready: Callable[[], bool]) -> AsyncIterator[None]:
    """Run a program in a process group of its own until the block is left.

    Args:
        command: what is run.
        log: where its output goes.
        is_ready: called until it returns True.

    Raises:
        RuntimeError: it ended before it was ready.
    """
    with log.open("wb") as output:
        process = await anyio.open_process(
            [os.fspath(part) for part in command], stdin=None, stdout=output, stderr=output, start_new_session=True
        )

    def ready_or_over() -> bool:
        return process.returncode is not None or is_ready()

    try:
        await eventually(ready_or_over, within=30)
        if process.returncode is not None:
            said = await anyio.Path(log).read_text(errors="replace")
            raise RuntimeError(f"{command[0]} did not start: {said}")
        yield
    finally:
        with anyio.CancelScope(shield=True):
            os.killpg(process.pid, signal.SIGKILL)
            await process.aclose()

"""The page about systemd has a service report that its event loop runs."""

from __future__ import annotations

import socket
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import cast

import anyio
import pytest

from tests.docs.blocks import DOCS, blocks

pytestmark = pytest.mark.anyio


def reporter() -> Callable[[], Coroutine[None, None, None]]:
    """The function of the page."""
    (block,) = [block for block in blocks(DOCS / "guides" / "systemd.md") if block.language == "python"]
    names: dict[str, object] = {}
    exec(compile(block.text, "systemd.md", "exec", dont_inherit=True), names)
    return cast("Callable[[], Coroutine[None, None, None]]", names["report_to_systemd"])


async def test_it_reports_again_and_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """First that the service is up, then within each half of the time that systemd waits."""
    report = reporter()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(20)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "10000")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(report)
            said = [await anyio.to_thread.run_sync(systemd.recv, 100) for _ in range(4)]
            tasks.cancel_scope.cancel()
    assert said == [b"READY=1"] + [b"WATCHDOG=1"] * 3


async def test_it_does_nothing_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that systemd did not start has nobody to tell."""
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    await reporter()()

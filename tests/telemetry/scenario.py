"""What the telemetry tests run on a real PHP-FPM: jobs of every kind, handed in in every way."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from fcgi_async import Dispatcher, Endpoint, Job, JobHandle, LocalFPM, QueueTimeout
from tests.eventually import eventually

__all__ = ("WAYS", "endpoint", "every_ending", "every_way")

# how many jobs each way runs
WAYS = {"run": 1, "run_all": 12, "map": 12, "group": 2, "submit": 1, "stream": 1}


def endpoint(fpm: LocalFPM, scripts: Path, **settings: Any) -> Endpoint:
    """Every worker of a pool."""
    return Endpoint(fpm.address, **{"max_children": fpm.max_children, "root": str(scripts), **settings})


def tagged(way: str) -> list[Job]:
    return [Job("respond.php", query={"body": way}, tag=way)] * WAYS[way]


async def every_way(php: Dispatcher) -> None:
    """Run jobs in every way that there is; each has the way's name for a tag."""
    for job in tagged("run"):
        await php.run(job)
    await php.run_all(tagged("run_all"))
    async with php.map(tagged("map")) as outcomes:
        async for outcome in outcomes:
            outcome.result()
    async with php.group() as group:
        for job in tagged("group"):
            await group.submit(job)
    for job in tagged("submit"):
        await (await php.submit(job))
    for job in tagged("stream"):
        async with php.stream(job) as response:
            assert await response.aread() == b"stream"


async def every_ending(php: Dispatcher, tmp_path: Path) -> None:
    """Run jobs that end in every way; each has its ending for a tag. The dispatcher has one worker."""
    await php.run(Job("respond.php", query={"status": "404"}, tag="status 404"))

    gate, running = await begin(php, tmp_path, tag="cancelled")
    with pytest.raises(QueueTimeout):
        await php.run(Job("respond.php", queue_timeout=0.01, tag="too late"))
    running.cancel()
    gate.touch()

    gate, running = await begin(php, tmp_path, tag="sent again", idempotent=True)
    os.kill(int(marks(gate).read_text().split()[1]), signal.SIGKILL)
    gate.touch()
    await running


def marks(gate: Path) -> Path:
    return gate.with_suffix(".marks")


async def begin(php: Dispatcher, tmp_path: Path, *, tag: str, **settings: Any) -> tuple[Path, JobHandle]:
    """Start a job that goes on until its gate is there, and wait until it runs."""
    gate = tmp_path / f"{tag}.gate"
    job = Job("wait.php", query={"gate": str(gate), "marks": str(marks(gate))}, tag=tag, **settings)
    handle = await php.submit(job)
    await eventually(lambda: marks(gate).exists() and marks(gate).read_text().count("\n") == 1)
    return gate, handle

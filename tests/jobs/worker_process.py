"""A worker as a process of its own, to be killed: its arguments are URL LEASE FPM SHARE AHEAD IDEMPOTENT BACKEND."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import anyio

from fcgi_async import Dispatcher, Endpoint
from fcgi_async.jobs import Jobs, Task, Worker

SCRIPT = Path(__file__).parent / "scripts" / "job.php"


def make_task(*, idempotent: bool) -> Task:
    """The task that such a worker runs."""
    return Task("job", SCRIPT, idempotent=idempotent, attempts=100)


async def work(url: str, lease: float, address: str, share: int, ahead: int, idempotent: bool) -> None:
    """Work until killed."""
    async with Dispatcher(Endpoint(address, max_children=share)) as php, Jobs(url, lease=lease) as jobs:
        await Worker(php, jobs, [make_task(idempotent=idempotent)], ahead=ahead).run()


if __name__ == "__main__":
    url, lease, address, share, ahead, idempotent, backend = sys.argv[1:]
    anyio.run(
        partial(work, url, float(lease), address, int(share), int(ahead), idempotent == "yes"),
        backend="trio" if backend == "trio" else "asyncio",
        backend_options={"use_uvloop": True} if backend == "uvloop" else {},
    )

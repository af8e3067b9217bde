"""A worker as a process: its arguments are URL LEASE FPM SHARE AHEAD SCRIPT."""

from __future__ import annotations

import sys

import anyio

from fcgi_async import Dispatcher, Endpoint
from fcgi_async.jobs import Jobs, Task, Worker


async def work(*arguments: str) -> None:
    """Work until killed."""
    url, lease, address, share, ahead, script = arguments
    task = Task("job", script, idempotent=True, attempts=100)
    async with Dispatcher(Endpoint(address, max_children=int(share))) as php, Jobs(url, lease=float(lease)) as jobs:
        await Worker(php, jobs, [task], ahead=int(ahead)).run()


if __name__ == "__main__":
    anyio.run(work, *sys.argv[1:])

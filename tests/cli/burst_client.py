"""A process with a dispatcher of its own: runs as many jobs as a line of its standard input says, and says how it went.

python -m tests.cli.burst_client ADDRESS SCRIPT QUERY
"""

from __future__ import annotations

import sys
from collections import Counter

import anyio
import anyio.to_thread

from fcgi_async import Dispatcher, Endpoint, FastCGIError, Job, KeepAlive


async def main(address: str, script: str, query: str) -> None:
    endpoint = Endpoint(address, max_children=100, keepalive=KeepAlive(idle=60), reconnect_timeout=60)
    job = Job(script, query=query)
    async with Dispatcher(endpoint) as php:
        while line := await anyio.to_thread.run_sync(sys.stdin.readline):
            answers = await php.run_all([job] * int(line), return_exceptions=True)
            failed = [answer for answer in answers if isinstance(answer, FastCGIError)]
            seen = Counter(f"{type(error).__name__} {error.may_have_run}" for error in failed)
            said = [str(len(answers) - len(failed)), *(f"{name}: {count}" for name, count in seen.items())]
            print(", ".join(said), flush=True)


if __name__ == "__main__":
    anyio.run(main, sys.argv[1], sys.argv[2], sys.argv[3])

"""A batch: each line of the input is a job, as many of them at once as there are workers; results as they come.

    seq 1 1000 | python batch.py > squares.ndjson
    seq 1 1000 | python batch.py unix:///run/php/php8.2-fpm.sock 8 > squares.ndjson

Without an address it starts a PHP-FPM of its own. The input is read as workers become free, so it may be endless; what
failed is told on standard error, with the line that it was, and makes the exit code 1.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import anyio

from fcgi_async import Dispatcher, Endpoint, FastCGIError, Job, LocalFPM

SCRIPTS = str(Path(__file__).parent / "php")


async def jobs() -> AsyncIterator[Job]:
    """A job for each line; tried again where a worker dies over it, since a square is the same the second time."""
    async for line in anyio.wrap_file(sys.stdin):
        yield Job("square.php", json={"n": int(line)}, idempotent=True, success_mark="}", tag=line.strip())


async def main(address: str | None = None, workers: str = "4") -> int:
    """Run the batch and return the exit code."""
    async with AsyncExitStack() as stack:
        if address is None:
            address = (await stack.enter_async_context(LocalFPM(max_children=int(workers)))).address
        endpoint = Endpoint(address, max_children=int(workers), root=SCRIPTS)
        php = await stack.enter_async_context(Dispatcher(endpoint))
        failed = 0
        async with php.map(jobs(), ordered=False) as outcomes:
            async for outcome in outcomes:
                try:
                    print(outcome.result().raise_for_status().text)
                except FastCGIError as error:
                    failed += 1
                    print(f"{outcome.job.tag}: {error}", file=sys.stderr)
        print(f"{php.statistics().completed} done, {failed} failed", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(anyio.run(partial(main, *sys.argv[1:])))

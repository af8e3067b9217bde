"""How long a web request waits for a worker beside thousands of slow jobs, with and without slots kept for it.

On four workers `--jobs` jobs of `--seconds` each wait in the queue, as many running as may. Beside them a request of
priority 10 comes every 20 ms, one after the other; what is printed is `timing.queued` of those, in milliseconds:

- `priority alone`: the request goes ahead of all that wait, and not of what runs.
- `kept={10: 1}`: jobs below 10 use three of the four workers.

When the requests are done, the jobs that are left are cancelled.
"""

from __future__ import annotations

import argparse

import anyio

from benchmarks.measuring import percentile
from benchmarks.scenarios import make_parser, pool, row, run, script
from fcgi_async import Dispatcher, Endpoint, Job

WORKERS = 4
PAUSE_SECONDS = 0.02
CODE = "usleep((int) (1e6 * (float) $_SERVER['QUERY_STRING'])); echo 'ok';"


async def measure(endpoint: Endpoint, path: str, options: argparse.Namespace) -> list[float]:
    """Return the milliseconds that each request waited for a worker."""
    waited = []
    async with Dispatcher(endpoint) as php, php.group(on_error="collect") as group:
        handles = [await group.submit(Job(path, query=str(options.seconds))) for _ in range(options.jobs)]
        for _ in range(options.requests):
            await anyio.sleep(PAUSE_SECONDS)
            response = await php.run(Job(path, query="0", priority=10))
            waited.append(1000 * response.timing.queued)
        for handle in handles:
            handle.cancel()
    return waited


async def main(options: argparse.Namespace) -> None:
    row((f"{options.jobs} jobs of {options.seconds} s", "p50 ms", "p95 ms", "max ms"), head=True)
    for name, kept in (("priority alone", {}), ("kept={10: 1}", {10: 1})):
        # one for each: the scripts that are left run to their ends
        async with pool({"nap": CODE}, WORKERS) as fpm:
            endpoint = Endpoint(fpm.address, max_children=WORKERS, kept=kept, on_cancel="close", linger=0)
            waited = await measure(endpoint, script(fpm, "nap"), options)
        figures = (percentile(waited, 0.5), percentile(waited, 0.95), max(waited))
        row((name, *(f"{figure:.2f}" for figure in figures)))


if __name__ == "__main__":
    parser = make_parser(__doc__)
    parser.add_argument("--jobs", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--requests", type=int, default=100)
    run(main, parser.parse_args())

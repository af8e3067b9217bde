"""How long a web request waits for a worker beside thousands of slow jobs, with and without slots kept for it.

Usage: python -m benchmarks.kept [--jobs N] [--seconds S] [--requests N] [--backend NAME]

On four workers `--jobs` jobs of `--seconds` each wait in the queue, as many running as may. Beside them a request of
priority 10 comes every 20 ms, one after the other; what is printed is `timing.queued` of those, in milliseconds:

- `priority alone`: the request goes ahead of all that wait, and not of what runs.
- `kept={10: 1}`: jobs below 10 use three of the four workers.

When the requests are done, the jobs that are left are cancelled.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import anyio

from benchmarks.measuring import percentile
from fcgi_async import Dispatcher, Endpoint, Job, LocalFPM

WORKERS = 4
PAUSE_SECONDS = 0.02
SCRIPT = "<?php usleep((int) (1e6 * (float) $_SERVER['QUERY_STRING'])); echo 'ok';"


async def measure(endpoint: Endpoint, script: str, jobs: int, seconds: float, requests: int) -> list[float]:
    """Return the milliseconds that each request waited for a worker."""
    waited = []
    async with Dispatcher(endpoint) as php, php.group(on_error="collect") as group:
        handles = [await group.submit(Job(script, query=str(seconds))) for _ in range(jobs)]
        for _ in range(requests):
            await anyio.sleep(PAUSE_SECONDS)
            response = await php.run(Job(script, query="0", priority=10))
            waited.append(1000 * response.timing.queued)
        for handle in handles:
            handle.cancel()
    return waited


async def compare(jobs: int, seconds: float, requests: int) -> None:
    """Measure both, and print them."""
    print(
        f"{jobs} jobs of {seconds} s on {WORKERS} workers; milliseconds until a worker took each of {requests} requests"
    )
    print(f"{'':16}{'p50':>10}{'p95':>10}{'max':>10}")
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder, "nap.php")
        script.write_text(SCRIPT)
        for name, kept in (("priority alone", {}), ("kept={10: 1}", {10: 1})):
            # one for each: the scripts that are left run to their ends
            async with LocalFPM(max_children=WORKERS) as fpm:
                endpoint = Endpoint(fpm.address, max_children=WORKERS, kept=kept, on_cancel="close", linger=0)
                waited = await measure(endpoint, str(script), jobs, seconds, requests)
            figures = (percentile(waited, 0.5), percentile(waited, 0.95), max(waited))
            print(f"{name:16}{''.join(f'{figure:10.2f}' for figure in figures)}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--requests", type=int, default=100)
    parser.add_argument("--backend", choices=["asyncio", "trio"], default="asyncio")
    options = parser.parse_args()
    anyio.run(compare, options.jobs, options.seconds, options.requests, backend=options.backend)


if __name__ == "__main__":
    main()

"""How much of the time is not PHP's own when jobs are fanned out to every worker of a cold dispatcher.

For each number C of workers: waves x C jobs of 50 ms. The clock starts with a dispatcher that has been entered and has
no connection, and stops with the last response; a new dispatcher each time. Reported is the median of wall / (waves x
50 ms), the same over what the scripts say that they really slept, since usleep() oversleeps, and the first for blocking
sockets, one to each worker, that do nothing else: what machine and PHP leave possible.

Not measured: jobs that need the processor, which client and PHP would fight for on one machine.
"""

from __future__ import annotations

import argparse
from statistics import median
from time import perf_counter

from benchmarks.contenders.fastcgi import connect, encode_request, read_response
from benchmarks.scenarios import make_parser, pool, row, run, script
from benchmarks.suite.surroundings import sent_params
from fcgi_async import Dispatcher, Job

SECONDS = 0.05
CODE = f"$start = hrtime(true); usleep({int(SECONDS * 1e6)}); echo hrtime(true) - $start;"


def run_blocking(address: str, request: bytes, workers: int, waves: int) -> float:
    """Return the seconds that the jobs take over blocking sockets, wave by wave."""
    start = perf_counter()
    connections = [connect(address) for _ in range(workers)]
    for _ in range(waves):
        for connection in connections:
            connection.sendall(request)
        for connection in connections:
            read_response(connection)
    wall = perf_counter() - start
    for connection in connections:
        connection.close()
    return wall


async def measure(workers: int, waves: int, rounds: int) -> list[float]:
    """Return the medians of wall time over nominal, over really slept time, and over nominal for blocking sockets."""
    found = []
    async with pool({"sleep": CODE}, workers) as fpm:
        job = Job(script(fpm, "sleep"))
        request = encode_request(await sent_params(job))
        for _ in range(rounds):
            async with Dispatcher(fpm.address, max_children=workers) as php:
                start = perf_counter()
                responses = await php.run_all([job] * (waves * workers))
                wall = perf_counter() - start
            slept = sum(int(response.text) for response in responses) / 1e9 / workers
            blocking = run_blocking(fpm.address, request, workers, waves)
            found.append((wall / (waves * SECONDS), wall / slept, blocking / (waves * SECONDS)))
    return [median(column) for column in zip(*found, strict=True)]


async def main(options: argparse.Namespace) -> None:
    row(("workers", "jobs of 50 ms", "wall / ideal", "wall / really slept", "blocking sockets", "backend"), head=True)
    for workers in options.workers:
        figures = await measure(workers, options.waves, options.rounds)
        row((workers, options.waves * workers, *(f"{figure:.3f}" for figure in figures), options.backend))


if __name__ == "__main__":
    parser = make_parser(__doc__)
    parser.add_argument("--workers", type=int, nargs="+", default=[2, 8, 32])
    parser.add_argument("--waves", type=int, default=20, help="jobs for each worker (default: 20)")
    parser.add_argument("--rounds", type=int, default=5)
    run(main, parser.parse_args())

"""How much of the time is not PHP's own when jobs are fanned out to every worker of a cold dispatcher.

Usage: python -m benchmarks.fan_out_efficiency [--workers C ...] [--rounds N] [--waves N] [--backend NAME]

For each C: waves x C jobs of 50 ms on a private PHP-FPM of C workers. The clock starts with a dispatcher that has been
entered and has no connection, and stops with the last response; a new dispatcher each time. Reported is the median of
wall / (waves x 50 ms), the same over what the scripts say that they really slept, since usleep() oversleeps, and the
first for blocking sockets, one to each worker, that do nothing else: what machine and PHP leave possible.

Not measured: jobs that need the processor, which client and PHP would fight for on one machine.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter

import anyio

from benchmarks.contenders.blocking_sockets import read_response
from benchmarks.contenders.fastcgi import connect, encode_request
from benchmarks.suite.surroundings import sent_params
from fcgi_async import Dispatcher, Job, LocalFPM

SECONDS = 0.05
SCRIPT = f"<?php $start = hrtime(true); usleep({int(SECONDS * 1e6)}); echo hrtime(true) - $start;"


def run_blocking(address: str, script: str, workers: int, waves: int) -> float:
    """Return the seconds that the jobs take over blocking sockets, wave by wave."""
    request = encode_request(sent_params(address, Job(script)))
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


async def measure(workers: int, waves: int, rounds: int) -> tuple[float, float, float]:
    """Return the medians of wall time over nominal, over really slept time, and over nominal for blocking sockets."""
    nominal, slept, blocking = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder, "sleep.php")
        script.write_text(SCRIPT)
        Path(folder).chmod(0o755)
        async with LocalFPM(max_children=workers) as fpm:
            for _ in range(rounds):
                async with Dispatcher(fpm.address, max_children=workers) as php:
                    jobs = [Job(str(script)) for _ in range(waves * workers)]
                    start = perf_counter()
                    responses = await php.run_all(jobs)
                    wall = perf_counter() - start
                nominal.append(wall / (waves * SECONDS))
                blocking.append(run_blocking(fpm.address, str(script), workers, waves) / (waves * SECONDS))
                slept.append(wall / (sum(int(response.text) for response in responses) / 1e9 / workers))
    return median(nominal), median(slept), median(blocking)


async def main(options: argparse.Namespace) -> None:
    print("| workers | jobs of 50 ms | wall / ideal | wall / really slept | blocking sockets | backend |")
    print("| --- | --- | --- | --- | --- | --- |")
    for workers in options.workers:
        figures = await measure(workers, options.waves, options.rounds)
        cells = " | ".join(f"{figure:.3f}" for figure in figures)
        print(f"| {workers} | {options.waves * workers} | {cells} | {options.backend} |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--workers", type=int, nargs="+", default=[2, 8, 32])
    parser.add_argument("--waves", type=int, default=20, help="jobs for each worker (default: 20)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--backend", choices=["asyncio", "uvloop", "trio"], default="asyncio")
    arguments = parser.parse_args()
    uvloop = {"use_uvloop": True} if arguments.backend == "uvloop" else {}
    anyio.run(main, arguments, backend="trio" if arguments.backend == "trio" else "asyncio", backend_options=uvloop)

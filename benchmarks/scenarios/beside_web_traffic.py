"""What jobs do to the web site that shares their PHP-FPM pool, with and without a reserve.

The site is an open-loop probe in a process of its own: requests to scripts of 5 ms arrive at 200/s, at random
(Poisson, the same seed each time), each on a connection of its own as a web server has it, whether or not the ones
before were answered. A latency counts from the moment for which the request was scheduled, so that no queue is hidden.

- `reference`: the probe alone on a pool of 2 workers.
- `ours`: the probe on 6 workers, beside jobs of 20 ms through a `Dispatcher` with `reserve=2`.
- `6 idle workers`: the probe alone on 6 workers.
- `naive client`: the probe on 6 workers, beside the same jobs over 64 connections that are kept open.

Each round runs all four, one after the other; reported are the medians of the rounds' percentiles, and of each round's
ratio to the reference. `late` is how late the probe itself was at p99: what it could not keep up with is not PHP's.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import socket
import sys
from collections.abc import Callable, Coroutine
from statistics import median
from time import perf_counter
from typing import Any

import anyio

from benchmarks.contenders.fastcgi import encode_request, ends
from benchmarks.measuring import percentile
from benchmarks.scenarios import make_parser, pool, row, run, script
from benchmarks.suite.surroundings import sent_params
from fcgi_async import Dispatcher, Job, LocalFPM

RATE = 200.0
WORKERS, RESERVE = 6, 2
PROBE_SECONDS, JOB_SECONDS = 0.005, 0.02
NAIVE_CONNECTIONS = 64
SEED = 20_01
CODE = "usleep((int) $_SERVER['QUERY_STRING']); echo 'ok';"
PERCENTILES = (0.5, 0.9, 0.99, 1.0)

Load = Callable[[LocalFPM, int], Coroutine[Any, Any, None]]


def make_job(path: str, seconds: float) -> Job:
    return Job(path, query=str(int(seconds * 1e6)))


async def connect(path: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect as soon as the listen queue has room, for which asyncio's own helper does not wait."""
    sock = socket.socket(socket.AF_UNIX)
    sock.setblocking(False)
    while True:
        try:
            sock.connect(path)
        except BlockingIOError:
            await asyncio.sleep(0.001)
        else:
            return await asyncio.open_unix_connection(sock=sock)


async def probe(options: argparse.Namespace) -> None:
    """Print when each request was begun and answered, in seconds after it was due; in a process of its own."""
    path, program, number_of = options.probe
    data = encode_request(await sent_params(make_job(program, PROBE_SECONDS)), keep=False)
    count = int(number_of)
    begun, answered = [0.0] * count, [0.0] * count

    async def ask(number: int, due: float) -> None:
        begun[number] = perf_counter() - due
        reader, writer = await connect(path)
        writer.write(data)
        response = await reader.read()
        answered[number] = perf_counter() - due
        writer.close()
        if b"ok" not in response:
            raise RuntimeError(f"PHP answered {response!r}")

    arrivals, due = random.Random(SEED), perf_counter()
    async with asyncio.TaskGroup() as tasks:
        for number in range(count):
            due += arrivals.expovariate(RATE)
            await asyncio.sleep(max(due - perf_counter(), 0.0))
            tasks.create_task(ask(number, due))
    print(json.dumps({"begun": begun, "answered": answered}))


async def nothing(fpm: LocalFPM, jobs: int) -> None:
    """Leave the workers to the probe."""


async def ours(fpm: LocalFPM, jobs: int) -> None:
    """Run the jobs through a dispatcher that leaves two workers to the site."""
    async with Dispatcher(fpm.address, max_children=WORKERS, reserve=RESERVE) as php:
        job = make_job(script(fpm, "sleep"), JOB_SECONDS)
        await php.run_all(job for _ in range(jobs))


async def naive(fpm: LocalFPM, jobs: int) -> None:
    """Run the jobs over connections that are kept as long as there is something to do."""
    data = encode_request(await sent_params(make_job(script(fpm, "sleep"), JOB_SECONDS)))
    left = iter(range(jobs))

    async def connection() -> None:
        reader, writer = await connect(fpm.address.removeprefix("unix://"))
        for _ in left:
            writer.write(data)
            while not ends(await reader.read(65536)):
                pass
        writer.close()
        await writer.wait_closed()

    await asyncio.gather(*(connection() for _ in range(NAIVE_CONNECTIONS)))


async def measure(workers: int, load: Load, jobs: int) -> list[float]:
    """Run the probe for as long as the jobs would take on the workers that are theirs; return its percentiles."""
    count = max(int(jobs * JOB_SECONDS / (WORKERS - RESERVE) * RATE), 1)
    async with pool({"sleep": CODE}, workers) as fpm, anyio.create_task_group() as tasks:
        command = [sys.executable, "-m", "benchmarks.scenarios.beside_web_traffic", "--probe"]
        command += [fpm.address.removeprefix("unix://"), script(fpm, "sleep"), str(count)]
        tasks.start_soon(load, fpm, jobs)
        # the probe comes upon a pool that is at work
        await anyio.sleep(0.2)
        found = json.loads((await anyio.run_process(command, stderr=None)).stdout)
    shares = [percentile(found["answered"], share) for share in PERCENTILES]
    return [*shares, percentile(found["begun"], 0.99)]


VARIANTS: dict[str, tuple[int, Load]] = {
    "reference": (RESERVE, nothing),
    "ours": (WORKERS, ours),
    "6 idle workers": (WORKERS, nothing),
    "naive client": (WORKERS, naive),
}


async def main(options: argparse.Namespace) -> None:
    found: dict[str, list[list[float]]] = {name: [] for name in VARIANTS}
    for _ in range(options.rounds):
        for name, (workers, load) in VARIANTS.items():
            found[name].append(await measure(workers, load, options.jobs))
    row(("probe beside", "p50 ms", "p90 ms", "p99 ms", "max ms", "late p99 ms", "p99 / reference"), head=True)
    for name, rounds in found.items():
        cells = [f"{1000 * median(column):.1f}" for column in zip(*rounds, strict=True)]
        ratio = median(one[2] / other[2] for one, other in zip(rounds, found["reference"], strict=True))
        row((name, *cells, f"{ratio:.2f}"))


if __name__ == "__main__":
    parser = make_parser(__doc__)
    parser.add_argument("--jobs", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--probe", nargs=3, metavar=("SOCKET", "SCRIPT", "COUNT"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    run(probe if given.probe else main, given)

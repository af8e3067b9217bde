"""What jobs do to the web site that shares their PHP-FPM pool, with and without a reserve.

Usage: python -m benchmarks.beside_web_traffic [--jobs N] [--rounds N]

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
import math
import random
import sys
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import anyio
import attrs

from benchmarks.measuring import percentile
from fcgi_async import Dispatcher, Endpoint, Job, LocalFPM
from fcgi_async.dispatch.request import RequestEncoder
from fcgi_async.net.address import Address
from fcgi_async.net.dial import dial
from fcgi_async.wire.client import ClientConnection
from fcgi_async.wire.events import RequestEnded

RATE = 200.0
WORKERS, RESERVE = 6, 2
PROBE_SECONDS, JOB_SECONDS = 0.005, 0.02
NAIVE_CONNECTIONS = 64
SEED = 20_01
SCRIPT = "<?php usleep((int) $_SERVER['QUERY_STRING']); echo 'ok';"
PERCENTILES = (0.5, 0.9, 0.99, 1.0)

Load = Callable[[str, str, int], Coroutine[Any, Any, None]]


def request(address: str, script: str, seconds: float, *, keep_conn: bool) -> bytes:
    """Return a request for a script that sleeps."""
    encoded = RequestEncoder(Endpoint(address)).encode(Job(script, query=str(int(seconds * 1e6))))
    client = ClientConnection()
    request_id = client.begin_request(keep_conn=keep_conn)
    client.send_params(request_id, encoded.params)
    client.send_stdin(request_id, end=True)
    return client.data_to_send()


# the probe's own process


async def probe(address: str, script: str, count: int) -> None:
    """Print when each request was begun and answered, in seconds after it was due."""
    where, data = Address.parse(address), request(address, script, PROBE_SECONDS, keep_conn=False)
    begun, answered = [0.0] * count, [0.0] * count

    async def ask(number: int, due: float) -> None:
        begun[number] = perf_counter() - due
        # dial() waits where the listen queue is full, which asyncio's own helper does not
        sock = await dial(where, connect_timeout=math.inf)
        reader, writer = await asyncio.open_unix_connection(sock=sock)
        writer.write(data)
        response = await reader.read()
        answered[number] = perf_counter() - due
        writer.close()
        if b"ok" not in response:
            raise RuntimeError(f"PHP answered {response!r}")

    arrivals = random.Random(SEED)
    due = perf_counter()
    async with asyncio.TaskGroup() as tasks:
        for number in range(count):
            due += arrivals.expovariate(RATE)
            await asyncio.sleep(max(due - perf_counter(), 0.0))
            tasks.create_task(ask(number, due))
    print(json.dumps({"begun": begun, "answered": answered}))


# what runs beside it


async def nothing(address: str, script: str, jobs: int) -> None:
    """Leave the workers to the probe."""


async def ours(address: str, script: str, jobs: int) -> None:
    """Run the jobs through a dispatcher that leaves two workers to the site."""
    async with Dispatcher(address, max_children=WORKERS, reserve=RESERVE) as php:
        job = Job(script, query=str(int(JOB_SECONDS * 1e6)))
        await php.run_all(job for _ in range(jobs))


async def naive(address: str, script: str, jobs: int) -> None:
    """Run the jobs over connections that are kept as long as there is something to do."""
    data = request(address, script, JOB_SECONDS, keep_conn=True)
    left = iter(range(jobs))

    async def connection() -> None:
        reader, writer = await asyncio.open_unix_connection(address.removeprefix("unix://"))
        for _ in left:
            client = ClientConnection()
            client.begin_request()
            client.send_params(1, [b"\1\0a"])
            client.send_stdin(1, end=True)
            writer.write(data)
            while not any(isinstance(event, RequestEnded) for event in client.receive_data(await reader.read(65536))):
                pass
        writer.close()
        await writer.wait_closed()

    await asyncio.gather(*(connection() for _ in range(NAIVE_CONNECTIONS)))


# measuring


@attrs.frozen
class Latencies:
    """Percentiles, in seconds."""

    answered: tuple[float, ...]
    late: float


async def measure(workers: int, load: Load, script: str, jobs: int) -> Latencies:
    """Run the probe for as long as the jobs would take on the workers that are theirs."""
    count = max(int(jobs * JOB_SECONDS / (WORKERS - RESERVE) * RATE), 1)
    results: list[Latencies] = []
    async with LocalFPM(max_children=workers) as fpm, anyio.create_task_group() as tasks:
        command = [sys.executable, "-m", "benchmarks.beside_web_traffic", "--probe", fpm.address, script, str(count)]

        async def ask() -> None:
            output = (await anyio.run_process(command, stderr=None)).stdout
            found = json.loads(output)
            answered = tuple(percentile(found["answered"], share) for share in PERCENTILES)
            results.append(Latencies(answered, percentile(found["begun"], 0.99)))

        tasks.start_soon(load, fpm.address, script, jobs)
        # the probe comes upon a pool that is at work
        await anyio.sleep(0.2)
        await ask()
    return results[0]


VARIANTS: dict[str, tuple[int, Load]] = {
    "reference": (RESERVE, nothing),
    "ours": (WORKERS, ours),
    "6 idle workers": (WORKERS, nothing),
    "naive client": (WORKERS, naive),
}


async def main(options: argparse.Namespace) -> None:
    found: dict[str, list[Latencies]] = {name: [] for name in VARIANTS}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "sleep.php")
        path.write_text(SCRIPT)
        Path(folder).chmod(0o755)
        for _ in range(options.rounds):
            for name, (workers, load) in VARIANTS.items():
                found[name].append(await measure(workers, load, str(path), options.jobs))
    print("| probe beside | p50 ms | p90 ms | p99 ms | max ms | late p99 ms | p99 / reference |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name, rounds in found.items():
        cells = [f"{1000 * median(latencies.answered[n] for latencies in rounds):.1f}" for n in range(4)]
        late = 1000 * median(latencies.late for latencies in rounds)
        pairs = zip(rounds, found["reference"], strict=True)
        ratio = median(latencies.answered[2] / reference.answered[2] for latencies, reference in pairs)
        print(f"| {name} | {' | '.join(cells)} | {late:.1f} | {ratio:.2f} |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--probe", nargs=3, metavar=("ADDRESS", "SCRIPT", "COUNT"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.probe:
        asyncio.run(probe(arguments.probe[0], arguments.probe[1], int(arguments.probe[2])))
    else:
        anyio.run(main, arguments)

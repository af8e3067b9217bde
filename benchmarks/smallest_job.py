"""What the smallest job costs the client: CPU time per job, beside that of blocking sockets, on the same PHP-FPM.

Usage: python benchmarks/smallest_job.py [--jobs N] [--rounds N] [--workers N]

Measured is the CPU time, user and system, that this process spends on each job: a PHP script that prints two bytes, on
a private PHP-FPM behind a unix socket, with as many connections as workers. Each round runs every variant once, one
after the other, so that whatever else the machine does meets them all; reported are medians over the rounds, and the
median of each round's ratio to the floor.

- `blocking sockets` is the floor: kept connections, one write and one read for each job, nothing parsed but the last
  record's type, no probe, no queue, no deadline. Nobody would call this a client.
- `asyncio`, `uvloop` and `trio` are `Dispatcher.run_all()` with everything on: both probes, the queue, a deadline for
  every job, validation, CGI heads, `Response` objects; making the `Job` is included, starting the dispatcher and its
  first connections is not.

Not measured: what FPM spends, latency, large bodies, other clients. Jobs per second are shown for orientation only:
client and PHP share the machine. Absolute figures belong to one machine; ratios travel better.
"""

from __future__ import annotations

import argparse
import platform
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any

import anyio
import attrs
from anyio.from_thread import start_blocking_portal

from fcgi_async import Dispatcher, Job, LocalFPM, Timeouts
from fcgi_async.dispatch.request import RequestEncoder
from fcgi_async.pool.endpoint import Endpoint
from fcgi_async.wire.client import ClientConnection
from fcgi_async.wire.spec import HEADER_LENGTH, VERSION, RecordType

FLOOR = "blocking sockets"
EXPECTED = b"ok"
END_START = bytes((VERSION, RecordType.END_REQUEST))
END_LENGTH = HEADER_LENGTH + 8
WARM_UP = 200


@attrs.frozen
class Setting:
    """What every variant runs."""

    address: str
    script: str
    workers: int
    jobs: int


@attrs.frozen
class Cost:
    """What one run took, in seconds for each job."""

    cpu: float
    wall: float


@attrs.define
class Stopwatch:
    """Measures this process over a `with` block."""

    jobs: int
    cost: Cost = attrs.field(default=Cost(0.0, 0.0), init=False)
    _cpu: float = attrs.field(default=0.0, init=False)
    _wall: float = attrs.field(default=0.0, init=False)

    def __enter__(self) -> Stopwatch:
        self._cpu, self._wall = process_time(), perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.cost = Cost((process_time() - self._cpu) / self.jobs, (perf_counter() - self._wall) / self.jobs)


# the floor


def encode_smallest(setting: Setting) -> bytes:
    """Return the same request that the dispatcher sends, without its probe."""
    encoded = RequestEncoder(Endpoint(setting.address)).encode(Job(setting.script))
    client = ClientConnection()
    request_id = client.begin_request()
    client.send_params(request_id, encoded.params)
    client.send_stdin(request_id, end=True)
    return client.data_to_send()


def connect(address: str) -> socket.socket:
    """Return a blocking connection."""
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(address.removeprefix("unix://"))
    return sock


def read_response(sock: socket.socket) -> bytes:
    """Read until END_REQUEST, which is known by the header of the last record alone."""
    data = sock.recv(65536)
    while data[-END_LENGTH:][:2] != END_START:
        more = sock.recv(65536)
        if not more:
            raise RuntimeError("PHP-FPM closed the connection")
        data += more
    return data


def run_blocking(setting: Setting) -> Cost:
    """Keep every worker busy: write to all connections, then read from all."""
    request = encode_smallest(setting)
    connections = [connect(setting.address) for _ in range(setting.workers)]
    try:

        def exchange(times: int) -> None:
            for _ in range(times):
                for connection in connections:
                    connection.sendall(request)
                for connection in connections:
                    if EXPECTED not in read_response(connection):
                        raise RuntimeError("PHP answered something else")

        exchange(WARM_UP // setting.workers)
        times = setting.jobs // setting.workers
        with Stopwatch(times * setting.workers) as stopwatch:
            exchange(times)
        return stopwatch.cost
    finally:
        for connection in connections:
            connection.close()


# ours


async def run_dispatcher(setting: Setting) -> Cost:
    """Run all jobs at once, with a deadline for each."""
    timeouts = Timeouts(total=300)
    async with Dispatcher(setting.address, max_children=setting.workers, timeouts=timeouts) as php:
        await php.run_all(Job(setting.script) for _ in range(WARM_UP))
        with Stopwatch(setting.jobs) as stopwatch:
            responses = await php.run_all(Job(setting.script) for _ in range(setting.jobs))
        if any(response.content != EXPECTED for response in responses):
            raise RuntimeError("PHP answered something else")
        return stopwatch.cost


def on(backend: str, **options: Any) -> Callable[[Setting], Cost]:
    """Return what runs the dispatcher on an event loop."""
    return lambda setting: anyio.run(run_dispatcher, setting, backend=backend, backend_options=options)


VARIANTS: dict[str, Callable[[Setting], Cost]] = {
    FLOOR: run_blocking,
    "asyncio": on("asyncio", use_uvloop=False),
    "uvloop": on("asyncio", use_uvloop=True),
    "trio": on("trio"),
}


def measure(setting: Setting, rounds: int) -> dict[str, list[Cost]]:
    """Return what each variant cost in each round."""
    costs: dict[str, list[Cost]] = {name: [] for name in VARIANTS}
    for _ in range(rounds):
        for name, run in VARIANTS.items():
            costs[name].append(run(setting))
    return costs


def report(costs: dict[str, list[Cost]]) -> str:
    """Return the table."""
    floors = [cost.cpu for cost in costs[FLOOR]]
    lines = [f"{'':18}{'µs CPU / job':>13}{'lowest':>9}{'highest':>9}{'x floor':>9}{'jobs / s':>10}"]
    for name, found in costs.items():
        cpu = [cost.cpu * 1e6 for cost in found]
        ratio = median(cost.cpu / floor for cost, floor in zip(found, floors, strict=True))
        speed = 1 / median(cost.wall for cost in found)
        lines.append(f"{name:18}{median(cpu):>13.1f}{min(cpu):>9.1f}{max(cpu):>9.1f}{ratio:>9.2f}{speed:>10,.0f}")
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=5000, help="jobs of each variant in each round")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--workers", type=int, default=4)
    arguments = parser.parse_args()
    if min(arguments.jobs // max(arguments.workers, 1), arguments.rounds, arguments.workers) < 1:
        parser.error("there must be a round, a worker, and a job for each worker")
    with tempfile.TemporaryDirectory() as folder, start_blocking_portal() as portal:
        script = Path(folder) / "ok.php"
        script.write_text("<?php echo 'ok';")
        with portal.wrap_async_context_manager(LocalFPM(max_children=arguments.workers)) as fpm:
            setting = Setting(fpm.address, str(script), arguments.workers, arguments.jobs)
            costs = measure(setting, arguments.rounds)
    print(f"{platform.python_implementation()} {platform.python_version()}, {arguments.workers} workers,", end=" ")
    print(f"{arguments.rounds} rounds of {arguments.jobs} jobs\n\n{report(costs)}")


if __name__ == "__main__":
    main()

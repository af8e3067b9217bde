"""What several requests on one connection save against a connection for each, before a peer that can do both.

Usage: python -m benchmarks.multiplexing [--at-once N ...] [--rounds N] [--repeats N] [--backend NAME]

The peer is Go's net/http/fcgi on a unix socket (`go` is needed to compile the server of the interoperability suite),
whose answer takes 50 ms. `shared` is `Endpoint(multiplex="auto")`, `single` is `multiplex="never"`. Each measurement
has a client and a server process of its own, and the two take turns; the medians are printed.

- connections: how many the client opened.
- client, server: by how much the resident memory peaked above what it was before the first job.
- first, later: milliseconds until a round of so many jobs was answered, on a dispatcher without a connection and on
  one that has them; 50 is the least.
- CPU: microseconds of the client's process for each job of the later rounds.

Not measured: PHP-FPM, which does not multiplex; what large bodies on a shared connection do to their neighbours.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from time import monotonic, perf_counter, process_time, sleep

import anyio

from benchmarks.measuring import Memory
from benchmarks.suite.programs import build_go
from fcgi_async import Dispatcher, Endpoint, Job

SERVER = Path(__file__).parents[1] / "tests/interop/servers/main.go"
MODES = {"shared": "auto", "single": "never"}
MILLISECONDS = 50
JOB = Job("answer", query={"ms": str(MILLISECONDS)})
COLUMNS = ("connections", "client KiB", "server KiB", "first ms", "later ms", "CPU us/job")


async def measure(address: str, server: int, multiplex: str, at_once: int, rounds: int) -> list[float]:
    """Run the rounds, and return the figures in the order of COLUMNS."""
    client_memory, server_memory = Memory(os.getpid()), Memory(server)
    times = []
    endpoint = Endpoint(address, max_children=at_once, root="/", multiplex=multiplex)  # type: ignore[arg-type]
    async with Dispatcher(endpoint) as php:
        for number in range(rounds + 1):
            if number == 1:
                cpu = process_time()
            start = perf_counter()
            responses = await php.run_all([JOB] * at_once)
            times.append((perf_counter() - start) * 1000)
            assert all(response.ok for response in responses)
        cpu = (process_time() - cpu) / (rounds * at_once) * 1e6
        connections = php.statistics().connections_opened
    return [connections, client_memory.growth(), server_memory.growth(), times[0], median(times[1:]), cpu]


def allow_many_sockets() -> None:
    """Let this process have a socket for each request, and what Python has open."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@contextmanager
def serving(program: Path, path: Path) -> Iterator[int]:
    """Run the server, and yield its process id."""
    with subprocess.Popen([program, path]) as process:
        deadline = monotonic() + 30
        while True:
            with socket.socket(socket.AF_UNIX) as sock:
                if sock.connect_ex(str(path)) == 0:
                    break
            if monotonic() > deadline:
                raise TimeoutError("the Go server did not start")
            sleep(0.01)
        try:
            yield process.pid
        finally:
            process.kill()


def measure_apart(program: Path, directory: Path, mode: str, at_once: int, options: argparse.Namespace) -> list[float]:
    """Measure in processes that have done nothing before."""
    path = directory / "go.sock"
    path.unlink(missing_ok=True)
    with serving(program, path) as server:
        arguments = ["--client", mode, f"unix://{path}", str(server), "--at-once", str(at_once)]
        arguments += ["--rounds", str(options.rounds), "--backend", options.backend]
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.multiplexing", *arguments], check=True, stdout=subprocess.PIPE
        )
    figures: list[float] = json.loads(done.stdout)
    return figures


def compare(options: argparse.Namespace) -> None:
    """Print the table."""
    print(f"| at once | | {' | '.join(COLUMNS)} |")
    print(f"|{' --- |' * (len(COLUMNS) + 2)}")
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        program = directory / "server"
        build_go(SERVER, program)
        for at_once in options.at_once:
            seen: dict[str, list[list[float]]] = {mode: [] for mode in MODES}
            for _ in range(options.repeats):
                for mode, figures in seen.items():
                    figures.append(measure_apart(program, directory, mode, at_once, options))
            for mode, figures in seen.items():
                cells = [f"{median(column):.0f}" for column in zip(*figures, strict=True)]
                print(f"| {at_once} | {mode} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    """Measure, or be one of the clients that are measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--at-once", type=int, nargs="+", default=[1, 10, 100, 1000])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--backend", choices=["asyncio", "trio"], default="asyncio")
    parser.add_argument("--client", nargs=3, metavar=("MODE", "ADDRESS", "SERVER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.client is None:
        compare(options)
        return
    allow_many_sockets()
    mode, address, server = options.client
    arguments = (address, int(server), MODES[mode], options.at_once[0], options.rounds)
    print(json.dumps(anyio.run(measure, *arguments, backend=options.backend)))


if __name__ == "__main__":
    main()

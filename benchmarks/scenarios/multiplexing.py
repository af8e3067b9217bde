"""What several requests on one connection save against a connection for each, before a peer that can do both.

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
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter, process_time

from benchmarks.measuring import Memory
from benchmarks.scenarios import make_parser, row, run
from benchmarks.suite.surroundings import ROOT, build_go, wait_for
from fcgi_async import Dispatcher, Endpoint, Job

SERVER = ROOT / "tests/interop/servers/main.go"
MODES = {"shared": "auto", "single": "never"}
JOB = Job("answer", query={"ms": "50"})
COLUMNS = ("connections", "client KiB", "server KiB", "first ms", "later ms", "CPU us/job")


async def measure(options: argparse.Namespace) -> None:
    """Be a client: run the rounds, and print the figures in the order of COLUMNS."""
    mode, address, server = options.client
    (at_once,), rounds = options.at_once, options.rounds
    # a socket for each request, and what Python has open
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    client_memory, server_memory = Memory(os.getpid()), Memory(int(server))
    times, cpu = [], [process_time()]
    endpoint = Endpoint(address, max_children=at_once, root="/", multiplex=MODES[mode])  # type: ignore[arg-type]
    async with Dispatcher(endpoint) as php:
        for _ in range(rounds + 1):
            start = perf_counter()
            responses = await php.run_all([JOB] * at_once)
            times.append((perf_counter() - start) * 1000)
            cpu.append(process_time())
            assert all(response.ok for response in responses)
        connections = php.statistics().connections_opened
    later = (cpu[-1] - cpu[1]) / (rounds * at_once) * 1e6
    print(json.dumps([connections, client_memory.growth(), server_memory.growth(), times[0], median(times[1:]), later]))


def measure_apart(program: Path, mode: str, at_once: int, options: argparse.Namespace) -> list[float]:
    """Measure in processes that have done nothing before."""
    path = program.with_name("go.sock")
    path.unlink(missing_ok=True)
    with subprocess.Popen([program, path]) as server:
        try:
            wait_for(f"unix://{path}")
            command = [sys.executable, "-m", "benchmarks.scenarios.multiplexing", "--at-once", str(at_once)]
            command += ["--client", mode, f"unix://{path}", str(server.pid)]
            command += ["--rounds", str(options.rounds), "--backend", options.backend]
            figures: list[float] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
            return figures
        finally:
            server.kill()


def compare(options: argparse.Namespace) -> None:
    """Print the table."""
    row(("at once", "", *COLUMNS), head=True)
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder, "server")
        build_go(SERVER, program)
        for at_once in options.at_once:
            seen: dict[str, list[list[float]]] = {mode: [] for mode in MODES}
            for _ in range(options.repeats):
                for mode, figures in seen.items():
                    figures.append(measure_apart(program, mode, at_once, options))
            for mode, figures in seen.items():
                row((at_once, mode, *(f"{median(column):.0f}" for column in zip(*figures, strict=True))))


if __name__ == "__main__":
    parser = make_parser(__doc__)
    parser.add_argument("--at-once", type=int, nargs="+", default=[1, 10, 100, 1000])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--client", nargs=3, metavar=("MODE", "ADDRESS", "SERVER"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.client is None:
        compare(given)
    else:
        run(measure, given)

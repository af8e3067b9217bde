"""What a gateway costs and gains: CPU time for each job beside `run_all()` directly, and the use of the workers.

Cost: a script that echoes "ok", 4 workers; client and gateway are processes of their own, `direct` and `gateway` take
turns, and medians are printed, in microseconds of CPU for each job. `added` is what client and gateway take together
above the client alone, as a part of what the client takes directly.

Use: four client processes on four workers, jobs that sleep, a burst in each in its turn. The scripts mark when they
begin and end; `use` is the part of the workers' time that went into scripts, from a burst's first begin to its last
end: the median of the bursts, and the least. `most at once` is how many scripts ran at the same time. `processes=4` is
the same without a gateway.

Not measured: PHP's own time, which is the same.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from time import process_time
from urllib.parse import urlencode

import anyio

from benchmarks.scenarios import make_parser, pool, row, run, script
from fcgi_async import Dispatcher, Endpoint, Job, LocalFPM

PROCESSES = WORKERS = 4
NAME = "benchmarks.scenarios.gateway"
MARK = """
$mark = fn (string $what) => file_put_contents(
    $_GET['marks'], sprintf("%.6f %s\\n", microtime(true), $what), FILE_APPEND | LOCK_EX);
$mark('+'); usleep((int) $_GET['us']); $mark('-');
"""


@contextmanager
def gateway(fpm: LocalFPM, workers: int, path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run the command before a pool."""
    options = ["--listen", f"unix://{path}", "--fpm", fpm.address, "--max-children", str(workers)]
    command = [sys.executable, "-m", "fcgi_async", "gateway", *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        try:
            assert process.stderr is not None
            assert b"gateway at" in process.stderr.readline()
            yield process
        finally:
            process.terminate()


def cpu_of(pid: int) -> float:
    """Return the seconds that a process of one thread has run."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


async def be_client(options: argparse.Namespace) -> None:
    """Run what each line of standard input says, and print the CPU seconds that this process and another one took."""
    address, path, query, pid = options.client
    endpoint = Endpoint(address, max_children=options.share, multiplex="auto")
    job = Job(path, query=query or None)
    async with Dispatcher(endpoint) as php:
        while line := await anyio.to_thread.run_sync(sys.stdin.readline):
            before = process_time(), cpu_of(int(pid))
            responses = await php.run_all([job] * int(line))
            after = process_time(), cpu_of(int(pid))
            assert all(response.ok for response in responses)
            print(json.dumps([after[0] - before[0], after[1] - before[1]]), flush=True)


@contextmanager
def client(address: str, path: str, query: str, pid: int, share: int, backend: str) -> Iterator[subprocess.Popen[str]]:
    """Run a client."""
    command = [sys.executable, "-m", NAME, "--backend", backend, "--share", str(share)]
    command += ["--client", address, path, query, str(pid)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def ask(process: subprocess.Popen[str], jobs: int) -> list[float]:
    """Have a client run jobs; return what it took."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{jobs}\n")
    process.stdin.flush()
    took: list[float] = json.loads(process.stdout.readline())
    return took


async def measure_cost(options: argparse.Namespace) -> None:
    """Print the first table."""
    workers, jobs = options.workers, options.jobs
    direct: list[float] = []
    through: list[list[float]] = []
    async with pool({"ok": "echo 'ok';"}, workers) as fpm:
        path = script(fpm, "ok")
        address = fpm.directory / "gateway.sock"
        with gateway(fpm, workers, address) as process, ExitStack() as stack:
            clients = [
                stack.enter_context(client(fpm.address, path, "", os.getpid(), workers, options.backend)),
                stack.enter_context(client(f"unix://{address}", path, "", process.pid, 1000, options.backend)),
            ]
            for one in clients:
                ask(one, 1000)
            for _ in range(options.repeats):
                direct.append(ask(clients[0], jobs)[0] / jobs * 1e6)
                through.append([seconds / jobs * 1e6 for seconds in ask(clients[1], jobs)])
    alone = median(direct)
    both, its = (median(column) for column in zip(*through, strict=True))
    row(("", "client us/job", "gateway us/job", "added"), head=True)
    row(("direct", f"{alone:.1f}", "", ""))
    row(("through a gateway", f"{both:.1f}", f"{its:.1f}", f"{(both + its - alone) / alone:.2f}"))


def read_marks(marks: Path) -> tuple[float, int]:
    """Return the use of the workers, and how many scripts ran at once."""
    lines = [line.split() for line in sorted(marks.read_text().splitlines())]
    times = [float(line[0]) for line in lines]
    inside = sum(time if line[1] == "-" else -time for time, line in zip(times, lines, strict=True))
    running = most = 0
    for line in lines:
        running += 1 if line[1] == "+" else -1
        most = max(most, running)
    return inside / ((times[-1] - times[0]) * WORKERS), most


def bursts(
    clients: Sequence[subprocess.Popen[str]], marks: Path, options: argparse.Namespace
) -> tuple[float, float, int]:
    """Return the median and the least use, and how many scripts ran at once at most."""
    found = []
    for _ in range(options.rounds):
        for one in clients:
            marks.unlink(missing_ok=True)
            ask(one, options.burst)
            found.append(read_marks(marks))
    uses = [use for use, _ in found]
    return median(uses), min(uses), max(most for _, most in found)


async def measure_use(options: argparse.Namespace) -> None:
    """Print the second table."""
    row(("", "use", "least", "most at once"), head=True)
    with tempfile.TemporaryDirectory() as folder:
        marks = Path(folder, "marks")
        query = urlencode({"marks": str(marks), "us": str(int(options.seconds * 1e6))})
        async with pool({"mark": MARK}, WORKERS) as fpm:
            path = script(fpm, "mark")
            with ExitStack() as stack:
                start = [client(fpm.address, path, query, os.getpid(), 1, options.backend) for _ in range(PROCESSES)]
                use, least, most = bursts([stack.enter_context(one) for one in start], marks, options)
            row(("processes=4", f"{use:.3f}", f"{least:.3f}", most))
            address = fpm.directory / "gateway.sock"
            with gateway(fpm, WORKERS, address) as process, ExitStack() as stack:
                start = [
                    client(f"unix://{address}", path, query, process.pid, 1000, options.backend)
                    for _ in range(PROCESSES)
                ]
                use, least, most = bursts([stack.enter_context(one) for one in start], marks, options)
            row(("a gateway", f"{use:.3f}", f"{least:.3f}", most))


async def main(options: argparse.Namespace) -> None:
    """Measure both."""
    await measure_cost(options)
    await measure_use(options)


if __name__ == "__main__":
    parser = make_parser(__doc__)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--burst", type=int, default=100, help="jobs of a burst (default: 100)")
    parser.add_argument("--seconds", type=float, default=0.02, help="what each of them sleeps (default: 0.02)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--share", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--client", nargs=4, metavar=("ADDRESS", "SCRIPT", "QUERY", "PID"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    run(main if given.client is None else be_client, given)

"""`fcgi-async map` beside `xargs -P` and GNU parallel, which start a `php` for each line: speed, failures, signals.

Each runs the same PHP for the same lines, as many at a time. First many short jobs: wall time, and CPU time of the tool
and of all that it started, of `map` with its private PHP-FPM. Then lines of which one fails; and longer jobs during
which Ctrl-C, which a terminal sends to all processes of the group, or SIGTERM, which `kill` sends to one, arrives once
or twice. Counted is what had begun, what of that came to its own end, and whether a process was left behind that nobody
waits for.

Not measured: what PHP's start costs an application that loads a framework, which `php` pays for each line.
"""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

import attrs

from benchmarks.measuring import cpu_seconds
from benchmarks.scenarios import make_parser, row, run

# the line is an argument of `php`, and the body of a job
SHORT = "<?php $line = $argv[1] ?? file_get_contents('php://input'); echo strrev($line), \"\\n\";"
FAILING = (
    "<?php $line = $argv[1] ?? file_get_contents('php://input');"
    ' if ($line === \'7\') { http_response_code(500); echo "no\\n"; exit(1); } echo $line, "\\n";'
)
LONG = (
    "<?php $line = $argv[1] ?? file_get_contents('php://input'); touch('{folder}/began-' . $line);"
    " for ($n = 0; $n < 20; $n++) {{ usleep(20000); }} touch('{folder}/ended-' . $line);"
)
SECONDS = 60.0


@attrs.frozen
class Tool:
    """One way to run a script for each line of standard input."""

    name: str
    # {script} and {workers} are put in
    command: tuple[str, ...]

    def start(self, script: Path, workers: int, lines: Path) -> subprocess.Popen[bytes]:
        """Start it, as the leader of a group of its own."""
        command = [part.replace("{script}", str(script)).replace("{workers}", str(workers)) for part in self.command]
        return subprocess.Popen(
            command,
            stdin=lines.open("rb"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            env={**os.environ, "PARALLEL_HOME": str(script.parent)},
        )


TOOLS = (
    Tool("`xargs -P`", ("xargs", "-P", "{workers}", "-I", "{}", "php", "{script}", "{}")),
    Tool("GNU parallel", ("parallel", "--will-cite", "-j", "{workers}", "php", "{script}", "{}")),
    Tool(
        "`fcgi-async map`",
        (sys.executable, "-m", "fcgi_async", "map", "{script}", "--data", "{}", "--max-children", "{workers}"),
    ),
)


def installed() -> Iterator[Tool]:
    """The tools that are here; of the others it is said that they are not."""
    for tool in TOOLS:
        if shutil.which(tool.command[0]):
            yield tool
        else:
            print(f"{tool.name} is not installed", file=sys.stderr)


def write_lines(folder: Path, count: int) -> Path:
    """Return a file of so many lines, 1, 2, 3 ..."""
    path = folder / "lines"
    path.write_text("".join(f"{number}\n" for number in range(1, count + 1)))
    return path


def speed(folder: Path, jobs: int, workers: int) -> None:
    """Print what many short jobs take."""
    script, lines = folder / "short.php", write_lines(folder, jobs)
    script.write_text(SHORT)
    row(("", f"{jobs:,} jobs, s", "jobs/s", "CPU, ms / job"), head=True)
    for tool in installed():
        before, began = cpu_seconds(resource.RUSAGE_CHILDREN), time.monotonic()
        process = tool.start(script, workers, lines)
        out, _ = process.communicate(timeout=600)
        seconds, cpu = time.monotonic() - began, cpu_seconds(resource.RUSAGE_CHILDREN) - before
        assert (process.returncode, out.count(b"\n")) == (0, jobs), (tool.name, process.returncode)
        row((tool.name, f"{seconds:.2f}", f"{jobs / seconds:,.0f}", f"{cpu * 1000 / jobs:.2f}"))


def failing_line(folder: Path, workers: int) -> None:
    """Print what is seen of a line that fails among 20."""
    script, lines = folder / "failing.php", write_lines(folder, 20)
    script.write_text(FAILING)
    print()
    row(("", "exit code", "lines that were run", "the failed line is named"), head=True)
    for tool in installed():
        process = tool.start(script, workers, lines)
        out, err = process.communicate(timeout=SECONDS)
        named = b'"key":"7","ok":false' in out or b" 7\n" in err
        row((tool.name, process.returncode, out.count(b"\n"), "yes" if named else "no"))


def signals(folder: Path, workers: int, number: signal.Signals, times: int) -> None:
    """Print what becomes of jobs of 0.4 s when a signal arrives while they run."""
    row_name = f"{'Ctrl-C' if number is signal.SIGINT else 'SIGTERM'}{' twice' if times > 1 else ''}"
    for tool in installed():
        place = Path(tempfile.mkdtemp(dir=folder))
        script, lines = place / "long.php", write_lines(place, 20)
        script.write_text(LONG.format(folder=place))
        process = tool.start(script, workers, lines)
        wait_until(lambda place=place: len(files(place, "began")) >= workers)
        for _ in range(times):
            # a terminal sends to the group, and `kill` to the process
            (os.killpg if number is signal.SIGINT else os.kill)(process.pid, number)
            time.sleep(0.1)
        code = wait(process)
        left = sum(str(script) in command for command in commands())
        wait_until(lambda script=script: not any(str(script) in command for command in commands()))
        err = (process.stderr or sys.stdin.buffer).read()
        began, ended = files(place, "began"), files(place, "ended")
        named = "yes" if began == ended or b"cut off: job" in err else "no"
        row((row_name, tool.name, code, len(began), len(began - ended), left, named))


def wait(process: subprocess.Popen[bytes]) -> str:
    """Return how it ended."""
    code = process.wait(timeout=SECONDS)
    return f"{code}" if code >= 0 else signal.Signals(-code).name


def files(folder: Path, what: str) -> set[str]:
    """The lines that have begun, or ended."""
    return {path.name.partition("-")[2] for path in folder.glob(f"{what}-*")}


def commands() -> Iterator[str]:
    """The command lines of `php` processes that are there."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except OSError:
            continue
        if command.startswith("php "):
            yield command


def wait_until(condition: object) -> None:
    """Return as soon as the condition holds."""
    assert callable(condition)
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, "not within a minute"
        time.sleep(0.01)


async def main(options: Namespace) -> None:
    folder = Path(tempfile.mkdtemp(prefix="map-"))
    try:
        if options.jobs:
            speed(folder, options.jobs, options.workers)
        failing_line(folder, options.workers)
        print()
        heads = ("", "exit code", "jobs begun", "of them cut off", "left running", "those cut off are named")
        row(("signal", *heads), head=True)
        for number in (signal.SIGINT, signal.SIGTERM):
            for times in range(1, options.times + 1):
                signals(folder, options.workers, number, times)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    parser = make_parser(__doc__)
    parser.add_argument("--jobs", type=int, default=2000, help="short ones (default: 2000)")
    parser.add_argument("--times", type=int, default=2, help="how often a signal is sent at most (default: 2)")
    parser.add_argument("--workers", type=int, default=4, help="at a time (default: 4)")
    run(main, parser.parse_args())

"""Durable jobs outlive their worker: it is killed in the middle of a thousand of them, and another one does the rest.

    python docs/examples/killed_worker/demo.py     # or: make demo-jobs

It needs no service: the jobs are in an SQLite file, on a PHP-FPM of its own, both in temporary directories.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import anyio

from fcgi_async import LocalFPM
from fcgi_async.jobs import Jobs, Task

COUNT = 1_000
WORKERS = 4

# it may run twice, since the worker is killed: idempotent says that this does no harm
mark = Task("mark", str(Path(__file__).parent / "mark.php"), idempotent=True)
TASKS = [mark]


def start_worker(url: str, fpm: LocalFPM) -> subprocess.Popen[bytes]:
    """Start a worker as a process of its own, as systemd would."""
    pool = ["--fpm", fpm.address, "--max-children", str(WORKERS)]
    command = [sys.executable, "-m", "fcgi_async", "worker", "--jobs", url, "--tasks", "demo:TASKS", *pool]
    return subprocess.Popen(command, cwd=Path(__file__).parent, stderr=subprocess.DEVNULL)


async def done(jobs: Jobs, count: int) -> None:
    """Wait until so many jobs are done."""
    with anyio.fail_after(120):
        while (await jobs.counts()).states["done"] < count:  # noqa: ASYNC110 - there are too many to await each
            await anyio.sleep(0.01)


async def main(folder: Path) -> int:
    """Put jobs, kill their worker, start another, and count; return the exit code."""
    url, marks = f"sqlite://{folder}/jobs.db", folder / "marks"
    async with LocalFPM(max_children=WORKERS) as fpm, Jobs(url) as jobs:
        begun = time.monotonic()
        handles = await jobs.enqueue_many((mark, {"marks": str(marks)}) for _ in range(COUNT))
        print(f"{COUNT:,} jobs were put into {url} in {time.monotonic() - begun:.2f} s")

        worker = start_worker(url, fpm)
        await done(jobs, COUNT // 2)
        worker.kill()
        worker.wait()
        states = (await jobs.counts()).states
        print(f"the worker was killed (SIGKILL): {states['done']} done, {states['running']} in its hands, ", end="")
        print(f"{states['ready']} waiting")

        worker = start_worker(url, fpm)
        await done(jobs, COUNT)
        worker.terminate()
        worker.wait()
    ran = Counter(marks.read_text().split())
    lost = [handle.id for handle in handles if handle.id not in ran]
    twice = [id for id, times in ran.items() if times > 1]
    print(f"another worker did the rest: {len(ran):,} jobs have run, {len(lost)} were lost, {len(twice)} ran twice")
    return 1 if lost else 0


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        sys.exit(anyio.run(main, Path(folder)))

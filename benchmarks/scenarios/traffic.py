"""What a service does under traffic: 50 clients, each request fans out to 20 jobs on 8 workers, a tenth of them leave.

The service is Starlette under uvicorn, in a process of its own, its PHP-FPM has 10 workers of which 2 are reserved. Its
queue has room for 45 requests, others are sent away with 503. Measured are throughput, the time to the answer, and over
time the service's memory and FPM's workers, by its status page, four times a second. Judged is:

- that nothing failed that was not asked for: answers are 200 or 503, whole and right;
- that no job ran whose client had left while it was queued: what the dispatcher promised against the scripts' own log;
- that no job ran twice;
- that workers were never above the share, by the status page and by the scripts' own log;
- that five seconds after the last request descriptors, tasks and workers that are not idle are what they were before;
- that the service's memory grows by no more than 1 MB a minute over the last five minutes, in runs that are as long.

Not measured: how fast it could be. Clients, service and PHP share the machine, and the jobs sleep.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from statistics import linear_regression
from typing import Any

import attrs

from benchmarks.measuring import percentile
from benchmarks.scenarios import make_parser, row
from benchmarks.suite.surroundings import ROOT
from fcgi_async import Dispatcher, Endpoint, LocalFPM

CLIENTS, WORKERS, RESERVE = 50, 10, 2
SHARE = WORKERS - RESERVE
# the part of the requests whose client leaves midway
LEAVING = 0.1
SAMPLE_EVERY = 0.25
# seconds until all is as before, and until a disconnect is noticed; a short run may be a busy machine's, which stands
# still for longer than that
SETTLE, NOTICE = 5.0, 1.0
SHORT, PATIENCE = 60.0, 30.0


@attrs.frozen
class Visit:
    """One request: its name, with which its jobs' keys begin, seconds, and the status, "left", or what went wrong."""

    name: str
    began: float
    ended: float
    outcome: int | str


@attrs.frozen
class Sample:
    """What was seen at a time: workers that are not idle, and the resident memory of the service in MB."""

    at: float
    active: int
    resident: float


async def fetch(port: int, path: str) -> bytes:
    """Ask the service once, on a connection of its own; cancelling closes it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n".encode())
        return await reader.read(-1)
    finally:
        writer.close()


async def ask(port: int, name: str) -> int | str:
    """Return the status of a request, or what is wrong with the answer."""
    head, _, body = (await fetch(port, f"/fan-out?name={name}")).partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 "):
        return f"no answer: {head[:100]!r}"
    status = int(head.split()[1])
    return f"a wrong answer: {body[:100]!r}" if status == 200 and body.count(f'"{name}-'.encode()) != 20 else status


async def visits(port: int, until: float) -> list[Visit]:
    """Let clients ask again and again until `time.time()` is past, and those that then wait be answered."""
    # about how long an answer takes, so that those who leave do so midway
    found, names, usual = list[Visit](), count(), 0.2

    async def client() -> None:
        nonlocal usual
        await asyncio.sleep(random.random() * usual)
        while time.time() < until:
            name, began = f"v{next(names)}", time.time()
            outcome: int | str = "left"
            try:
                async with asyncio.timeout(random.random() * usual if random.random() < LEAVING else None):
                    outcome = await ask(port, name)
            except TimeoutError:
                pass
            except OSError as error:
                outcome = repr(error)
            found.append(Visit(name, began, time.time(), outcome))
            if outcome == 200:
                usual += 0.05 * (time.time() - began - usual)
            elif outcome == 503:
                # Retry-After is 1; not all at once
                await asyncio.sleep(random.uniform(0.5, 1.5))

    async with asyncio.TaskGroup() as tasks:
        for _ in range(CLIENTS):
            tasks.create_task(client())
    return found


async def look(pid: int, php: Dispatcher, samples: list[Sample]) -> None:
    """Take samples of the service's process and FPM's status page until it is cancelled."""
    while True:
        active = (await php.status()).active
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        samples.append(Sample(time.time(), active, pages * os.sysconf("SC_PAGE_SIZE") / 1e6))
        await asyncio.sleep(SAMPLE_EVERY)


async def state(port: int, php: Dispatcher) -> dict[str, int]:
    """Return what has to be after the run as it was before."""
    figures: dict[str, int] = json.loads((await fetch(port, "/figures")).partition(b"\r\n\r\n")[2])
    return figures | {"active": (await php.status()).active}


@asynccontextmanager
async def service(fpm: LocalFPM, directory: Path) -> AsyncIterator[tuple[int, int]]:
    """Run the service, and yield its port and pid."""
    environment = {"FPM": fpm.address, "FPM_STATUS": fpm.status_address}
    environment |= {"MAX_CHILDREN": str(WORKERS), "RESERVE": str(RESERVE)}
    environment |= {"JOB_LOG": str(directory / "jobs"), "PROMISE_LOG": str(directory / "promises")}
    command = [sys.executable, "-m", "uvicorn", "benchmarks.scenarios.traffic_service:app", "--port", "0"]
    log = directory / "service.log"
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: ASYNC220 - nothing else runs yet
            [*command, "--no-access-log"], stdout=output, stderr=output, env=os.environ | environment, cwd=ROOT
        )
    try:
        while not (found := re.search(r"running on http://127.0.0.1:(\d+)", log.read_text())):
            if process.poll() is not None:
                raise RuntimeError(log.read_text())
            await asyncio.sleep(0.05)
        yield int(found[1]), process.pid
    finally:
        process.terminate()
        process.wait()


async def traffic(seconds: float) -> dict[str, Any]:
    """Let traffic come for so long, and return what was seen."""
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        async with LocalFPM(max_children=WORKERS) as fpm, service(fpm, directory) as (port, pid):
            # for the status page alone
            endpoint = Endpoint(fpm.address, max_children=WORKERS, reserve=SHARE, status=fpm.status_address)
            async with Dispatcher(endpoint) as php:
                await ask(port, "warm")
                # idle connections are kept for a second
                while (await php.status()).active:  # noqa: ASYNC110 - what happens in other processes sets no Event
                    await asyncio.sleep(0.1)
                baseline, samples = await state(port, php), list[Sample]()
                looking, began = asyncio.create_task(look(pid, php, samples)), time.time()
                visited = await visits(port, began + seconds)
                ended = time.time()
                looking.cancel()
                within = PATIENCE if seconds < SHORT else SETTLE
                while True:
                    after, settled = await state(port, php), time.time() - ended
                    if settled >= within or all(after[name] <= baseline[name] for name in after):
                        break
                    await asyncio.sleep(0.1)
        seen = {"baseline": baseline, "after": after, "settled_after_s": round(settled, 2)}
        return evaluate(visited, samples, ended - began, directory) | seen


def evaluate(visited: list[Visit], samples: list[Sample], seconds: float, directory: Path) -> dict[str, Any]:
    """Return the figures of a run."""
    starts, most_at_once = read_log(directory / "jobs")
    promises = directory / "promises"
    promised = set(promises.read_text().split()) if promises.exists() else set()
    outcomes = Counter(visit.outcome for visit in visited)
    answered = [visit.ended - visit.began for visit in visited if visit.outcome == 200]
    left = {visit.name: visit.ended for visit in visited if visit.outcome == "left"}
    late = [at - left[name] for key, ats in starts.items() if (name := key.partition("-")[0]) in left for at in ats]
    return {
        "seconds": round(seconds, 1),
        "requests": len(visited),
        "jobs_per_second": round(len(starts) / seconds, 1),
        "p50_s": round(percentile(answered, 0.5), 3) if answered else None,
        "p99_s": round(percentile(answered, 0.99), 3) if answered else None,
        "answered": outcomes[200],
        "left": outcomes["left"],
        "sent_away": outcomes[503],
        "failures": {str(what): n for what, n in outcomes.items() if what not in (200, 503, "left")},
        "jobs_run": len(starts),
        "jobs_withdrawn": len(promised),
        "withdrawn_and_run": len(promised & starts.keys()),
        "run_twice": sum(len(ats) > 1 for ats in starts.values()),
        "latest_start_after_leaving_s": round(max(late, default=0.0), 3),
        "most_scripts_at_once": most_at_once,
        "most_workers_not_idle": max(sample.active for sample in samples),
        "status_samples": len(samples),
        "rss_mb_at_the_end": round(samples[-1].resident, 2),
        "rss_growth_mb_per_minute": growth(samples),
    }


def read_log(path: Path) -> tuple[dict[str, list[float]], int]:
    """Return when each job began, once if all is well, and how many scripts ran at once at most."""
    events = sorted((float(at), what == "+", key) for at, what, key in map(str.split, path.read_text().splitlines()))
    starts: dict[str, list[float]] = {}
    running = most = 0
    for at, begins, key in events:
        if begins:
            starts.setdefault(key, []).append(at)
        running += 1 if begins else -1
        most = max(most, running)
    return starts, most


def growth(samples: list[Sample]) -> float | None:
    """Return the growth of memory over the last five minutes, in MB a minute; None where there are not so many."""
    last = [sample for sample in samples if sample.at >= samples[-1].at - 300]
    if last[-1].at - last[0].at < 290:
        return None
    return round(linear_regression([sample.at for sample in last], [sample.resident for sample in last]).slope * 60, 3)


def verdicts(found: dict[str, Any]) -> dict[str, bool]:
    """Say of each thing that is judged whether it is so."""
    grown, short = found["rss_growth_mb_per_minute"], found["seconds"] < SHORT
    return {
        "no failure that was not asked for": not found["failures"],
        # what the service promised; and by the clock, which clients and scripts have in common
        "no job ran after its client left while it was queued": found["withdrawn_and_run"] == 0
        and found["latest_start_after_leaving_s"] < (PATIENCE if short else NOTICE),
        "no job ran twice": found["run_twice"] == 0,
        "workers never above the share": max(found["most_workers_not_idle"], found["most_scripts_at_once"]) <= SHARE,
        "back at the baseline within 5 s": all(found["after"][name] <= n for name, n in found["baseline"].items()),
        "memory grows by at most 1 MB a minute": grown is None or grown <= 1.0,
    }


def main() -> int:
    """Run, tell and judge; return 1 where something is not as it should be."""
    parser = make_parser(__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seconds", type=float, help="instead of minutes")
    parser.add_argument("--json", type=Path, help="where the figures go")
    options = parser.parse_args()
    found = asyncio.run(traffic(options.minutes * 60 if options.seconds is None else options.seconds))
    judged = verdicts(found)
    shown = {name: value for name, value in found.items() if not isinstance(value, dict)}
    row(list(shown), head=True)
    row(list(shown.values()))
    for what, holds in judged.items():
        print(f"{'yes' if holds else 'NO '}  {what}")
    if options.json is not None:
        options.json.write_text(json.dumps({"verdicts": judged} | found, indent=1) + "\n")
    return 0 if all(judged.values()) else 1


if __name__ == "__main__":
    sys.exit(main())

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

import argparse
import asyncio
import json
import os
import platform
import random
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from itertools import count, pairwise
from pathlib import Path
from statistics import linear_regression
from typing import Any

import attrs

from benchmarks.chart import panels
from benchmarks.measuring import percentile
from benchmarks.scenarios import make_parser, row
from benchmarks.suite.surroundings import ROOT
from fcgi_async import Dispatcher, Endpoint, LocalFPM

SERVICE = "benchmarks.scenarios.traffic_service:app"
CLIENTS, WORKERS, RESERVE = 50, 10, 2
SHARE = WORKERS - RESERVE
# the part of the requests whose client leaves midway
LEAVING = 0.1
SAMPLE_EVERY = 0.25
# what is told of a run over time: a row for so many seconds
ROW = 5.0
# seconds until all is as before, and until a disconnect is noticed; a short run may be a busy machine's, which stands
# still for longer than that
SETTLE, NOTICE = 5.0, 1.0
SHORT, PATIENCE = 60.0, 30.0


@attrs.frozen
class Visit:
    """One request: its name, with which its jobs' keys begin, when it was sent and over, by the scripts' clock, and the
    status, "left", or what went wrong."""

    name: str
    began: float
    ended: float
    outcome: int | str

    @property
    def seconds(self) -> float:
        return self.ended - self.began


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
    if status == 200 and body.count(f'"{name}-'.encode()) != 20:
        return f"a wrong answer: {body[:100]!r}"
    return status


@attrs.define(eq=False)
class Visitors:
    """Clients that ask again and again, a tenth of them leaving before they are answered."""

    port: int
    visits: list[Visit] = attrs.field(factory=list, init=False)
    _names: count[int] = attrs.field(factory=count, init=False)
    # about how long an answer takes, so that those who leave do so midway
    _usual: float = attrs.field(default=0.2, init=False)

    async def come(self, until: float) -> None:
        """Let them come until `time.time()` is past, and those that then wait be answered."""
        async with asyncio.TaskGroup() as tasks:
            for _ in range(CLIENTS):
                tasks.create_task(self._client(until))

    async def _client(self, until: float) -> None:
        await asyncio.sleep(random.random() * self._usual)
        while time.time() < until:
            name, began, outcome = f"v{next(self._names)}", time.time(), "left"
            stay = random.random() * self._usual if random.random() < LEAVING else None
            try:
                async with asyncio.timeout(stay):
                    outcome = await ask(self.port, name)  # type: ignore[assignment]
            except TimeoutError:
                pass
            except OSError as error:
                outcome = repr(error)
            visit = Visit(name, began, time.time(), outcome)
            self.visits.append(visit)
            if visit.outcome == 200:
                self._usual += 0.05 * (visit.seconds - self._usual)
            elif visit.outcome == 503:
                # Retry-After is 1; not all at once
                await asyncio.sleep(random.uniform(0.5, 1.5))


@attrs.define(eq=False)
class Observer:
    """Looks at the service's process and, through a dispatcher, at FPM's status page, again and again."""

    port: int
    pid: int
    php: Dispatcher
    samples: list[dict[str, float]] = attrs.field(factory=list, init=False)

    async def look_until_cancelled(self) -> None:
        """Take samples."""
        while True:
            active = (await self.php.status()).active
            pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
            self.samples.append({"at": time.time(), "active": active, "rss": pages * os.sysconf("SC_PAGE_SIZE")})
            await asyncio.sleep(SAMPLE_EVERY)

    async def state(self) -> dict[str, int]:
        """What has to be after the run as it was before."""
        figures = json.loads((await fetch(self.port, "/figures")).partition(b"\r\n\r\n")[2])
        return {name: figures[name] for name in ("descriptors", "tasks")} | {"active": (await self.php.status()).active}

    async def settled(self, baseline: dict[str, int], within: float) -> tuple[dict[str, int], float]:
        """Return the first state that is no more than the baseline, and after how many seconds; or the last."""
        began = time.monotonic()
        while True:
            state, passed = await self.state(), time.monotonic() - began
            if passed >= within or all(state[name] <= baseline[name] for name in state):
                return state, passed
            await asyncio.sleep(0.1)


@asynccontextmanager
async def service(fpm: LocalFPM, directory: Path) -> AsyncIterator[tuple[int, int]]:
    """Run the service, and yield its port and pid."""
    environment = {
        "FPM": fpm.address,
        "FPM_STATUS": fpm.status_address,
        "MAX_CHILDREN": str(WORKERS),
        "RESERVE": str(RESERVE),
        "JOB_LOG": str(directory / "jobs"),
        "PROMISE_LOG": str(directory / "promises"),
    }
    command = [sys.executable, "-m", "uvicorn", SERVICE, "--port", "0", "--no-access-log"]
    log = directory / "service.log"
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: ASYNC220 - nothing else runs yet
            command, stdout=output, stderr=output, env=os.environ | environment, cwd=ROOT
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
            endpoint = Endpoint(fpm.address, max_children=WORKERS, reserve=SHARE, status=fpm.status_address)
            async with Dispatcher(endpoint) as php:
                observer = Observer(port, pid, php)
                await ask(port, "warm")
                # idle connections are kept for a second
                while (await php.status()).active:  # noqa: ASYNC110 - what happens in other processes sets no Event
                    await asyncio.sleep(0.1)
                baseline = await observer.state()
                looking = asyncio.create_task(observer.look_until_cancelled())
                visitors, began = Visitors(port), time.time()
                await visitors.come(began + seconds)
                ended = time.time()
                looking.cancel()
                after, settled = await observer.settled(baseline, PATIENCE if seconds < SHORT else SETTLE)
        seen = {"baseline": baseline, "after": after, "settled_after_s": round(settled, 2)}
        return evaluate(visitors.visits, observer.samples, began, ended, directory) | seen


def share_of(values: list[float], share: float) -> float | None:
    return round(percentile(values, share), 3) if values else None


def evaluate(
    visits: list[Visit], samples: list[dict[str, float]], began: float, ended: float, directory: Path
) -> dict[str, Any]:
    """Return the figures of a run."""
    starts, most_at_once = read_log(directory / "jobs")
    promises = directory / "promises"
    promised = set(promises.read_text().split()) if promises.exists() else set()
    outcomes = Counter(visit.outcome for visit in visits)
    answered = [visit.seconds for visit in visits if visit.outcome == 200]
    left = {visit.name: visit.ended for visit in visits if visit.outcome == "left"}
    late = [at - left[name] for key, ats in starts.items() if (name := key.partition("-")[0]) in left for at in ats]
    return {
        "seconds": round(ended - began, 1),
        "requests": len(visits),
        "requests_per_second": round(len(visits) / (ended - began), 1),
        "jobs_per_second": round(len(starts) / (ended - began), 1),
        "p50_s": share_of(answered, 0.5),
        "p99_s": share_of(answered, 0.99),
        "answered": outcomes[200],
        "left": outcomes["left"],
        "sent_away": outcomes[503],
        "sent_away_rate": round(outcomes[503] / len(visits), 4),
        "failures": {str(what): n for what, n in outcomes.items() if what not in (200, 503, "left")},
        "jobs_run": len(starts),
        "jobs_withdrawn": len(promised),
        "withdrawn_and_run": len(promised & starts.keys()),
        "run_twice": sum(len(ats) > 1 for ats in starts.values()),
        "latest_start_after_leaving_s": round(max(late, default=0.0), 3),
        "most_scripts_at_once": most_at_once,
        "most_workers_not_idle": int(max(sample["active"] for sample in samples)),
        "status_samples": len(samples),
        "rss_growth_mb_per_minute": growth(samples),
        "over_time": over_time(visits, samples, sorted(ats[0] for ats in starts.values()), began),
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


def growth(samples: list[dict[str, float]]) -> float | None:
    """Return the growth of memory over the last five minutes, in MB a minute; None where there are not so many."""
    last = [sample for sample in samples if sample["at"] >= samples[-1]["at"] - 300]
    if last[-1]["at"] - last[0]["at"] < 290:
        return None
    slope = linear_regression([sample["at"] for sample in last], [sample["rss"] for sample in last]).slope
    return round(slope * 60 / 1e6, 3)


def over_time(
    visits: list[Visit], samples: list[dict[str, float]], begun: list[float], began: float
) -> list[dict[str, Any]]:
    """Return a row for every few seconds."""
    ends = [began + ROW * n for n in range(int((samples[-1]["at"] - began) / ROW) + 1)]
    rows = []
    for start, end in pairwise(ends):
        seen = [sample for sample in samples if start <= sample["at"] < end]
        answers = [visit.seconds for visit in visits if visit.outcome == 200 and start <= visit.ended < end]
        rows.append(
            {
                "t": round(end - began, 1),
                "jobs_per_second": round(sum(start <= at < end for at in begun) / ROW, 1),
                "p50": share_of(answers, 0.5),
                "p99": share_of(answers, 0.99),
                "active": int(max((sample["active"] for sample in seen), default=0)),
                "rss_mb": round(seen[-1]["rss"] / 1e6, 2) if seen else None,
            }
        )
    return rows


def verdicts(found: dict[str, Any]) -> dict[str, bool]:
    """Say of each thing that is judged whether it is so."""
    grown = found["rss_growth_mb_per_minute"]
    return {
        "no failure that was not asked for": not found["failures"],
        # what the service promised; and by the clock, which clients and scripts have in common
        "no job ran after its client left while it was queued": found["withdrawn_and_run"] == 0
        and found["latest_start_after_leaving_s"] < (PATIENCE if found["seconds"] < SHORT else NOTICE),
        "no job ran twice": found["run_twice"] == 0,
        "workers never above the share": max(found["most_workers_not_idle"], found["most_scripts_at_once"]) <= SHARE,
        "back at the baseline within 5 s": all(found["after"][name] <= n for name, n in found["baseline"].items()),
        "memory grows by at most 1 MB a minute": grown is None or grown <= 1.0,
    }


def tell(found: dict[str, Any]) -> None:
    """Print the figures of a run as a table."""
    names = {"jobs_per_second": "jobs/s", "p50_s": "p50 s", "p99_s": "p99 s", "sent_away_rate": "503", "left": "left"}
    names |= {"jobs_withdrawn": "jobs withdrawn", "most_workers_not_idle": "workers, most"}
    names = {"seconds": "seconds", "requests": "requests"} | names | {"rss_growth_mb_per_minute": "MB/min"}
    row(list(names.values()), head=True)
    row([f"{found[name]:.1%}" if name == "sent_away_rate" else found[name] for name in names])


def draw(rows: list[dict[str, Any]]) -> str:
    """Return a picture of a run."""
    line = {name: [one[name] for one in rows] for name in ("t", "jobs_per_second", "p50", "p99", "active", "rss_mb")}
    return panels(
        "A service under traffic",
        line["t"],
        [
            ("jobs per second", [line["jobs_per_second"]], None),
            ("seconds to the answer: p50, p99", [line["p50"], line["p99"]], None),
            (f"workers that are not idle, most seen (share: {SHARE})", [line["active"]], SHARE),
            ("resident memory of the service, MB", [line["rss_mb"]], None),
        ],
    )


def main(options: argparse.Namespace) -> int:
    """Run, tell and judge; return 1 where something is not as it should be."""
    found = asyncio.run(traffic(options.minutes * 60 if options.seconds is None else options.seconds))
    judged = verdicts(found)
    tell(found)
    for what, holds in judged.items():
        print(f"{'yes' if holds else 'NO '}  {what}")
    if options.json is not None:
        versions = {"python": platform.python_version(), "uvicorn": version("uvicorn"), "cores": os.cpu_count()}
        options.json.write_text(json.dumps({"machine": versions, "verdicts": judged} | found, indent=1) + "\n")
    if options.chart is not None:
        options.chart.write_text(draw(found["over_time"]))
    return 0 if all(judged.values()) else 1


if __name__ == "__main__":
    parser = make_parser(__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seconds", type=float, help="instead of minutes")
    parser.add_argument("--json", type=Path, help="where the figures go")
    parser.add_argument("--chart", type=Path, help="where the picture goes, as SVG")
    sys.exit(main(parser.parse_args()))

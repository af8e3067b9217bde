"""What a service does under traffic: 50 clients, each request fans out to 20 jobs on 8 workers, a tenth of them leave.

Usage: python -m benchmarks.traffic [--minutes N | --seconds N] [--json FILE] [--chart FILE]

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
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from statistics import linear_regression, quantiles
from typing import Any

import attrs

from benchmarks.under_traffic.chart import draw
from benchmarks.under_traffic.visitors import Visitors, ask
from fcgi_async import Dispatcher, Endpoint, LocalFPM

ROOT = Path(__file__).parent.parent
SERVICE = "benchmarks.under_traffic.service:app"
CLIENTS, WORKERS, RESERVE = 50, 10, 2
SHARE = WORKERS - RESERVE
SAMPLE_EVERY = 0.25
# what is told of a run over time: a row for so many seconds
ROW = 5.0
# seconds until all is as before, and until a disconnect is noticed; a short run may be a busy machine's, which stands
# still for longer than that
SETTLE, NOTICE = 5.0, 1.0
SHORT, PATIENCE = 60.0, 30.0


@attrs.define(eq=False)
class Observer:
    """Looks at the service's process and at FPM's status page, again and again."""

    port: int
    pid: int
    # for its status page only
    php: Dispatcher
    samples: list[dict[str, float]] = attrs.field(factory=list, init=False)

    async def look_until_cancelled(self) -> None:
        """Take samples."""
        while True:
            active = (await self.php.status()).active
            self.samples.append({"at": time.time(), "active": active, "rss": self.rss()})
            await asyncio.sleep(SAMPLE_EVERY)

    def rss(self) -> int:
        """The resident memory of the service, in bytes."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    async def state(self) -> dict[str, int]:
        """What has to be after the run as it was before."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(b"GET /figures HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
        figures = json.loads((await reader.read(-1)).partition(b"\r\n\r\n")[2])
        writer.close()
        return {
            "descriptors": figures["descriptors"],
            "tasks": figures["tasks"],
            "active": (await self.php.status()).active,
        }

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


async def run(seconds: float) -> dict[str, Any]:
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
                await visitors.come(CLIENTS, began + seconds)
                ended = time.time()
                looking.cancel()
                after, settled = await observer.settled(baseline, PATIENCE if seconds < SHORT else SETTLE)
        return evaluate(visitors, observer.samples, began, ended, directory) | {
            "baseline": baseline,
            "after": after,
            "settled_after_s": round(settled, 2),
        }


def evaluate(
    visitors: Visitors, samples: list[dict[str, float]], began: float, ended: float, directory: Path
) -> dict[str, Any]:
    """Return the figures of a run."""
    starts, most_at_once = read_log(directory / "jobs")
    promises = directory / "promises"
    promised = set(promises.read_text().split()) if promises.exists() else set()
    outcomes = Counter(visit.outcome for visit in visitors.visits)
    answered = sorted(visit.seconds for visit in visitors.visits if visit.outcome == 200)
    left = {visit.name: visit.ended for visit in visitors.visits if visit.outcome == "left"}
    late = [at - left[name] for key, ats in starts.items() if (name := key.partition("-")[0]) in left for at in ats]
    cuts = quantiles(answered, n=100) if len(answered) > 1 else [0.0] * 99
    return {
        "seconds": round(ended - began, 1),
        "requests": len(visitors.visits),
        "requests_per_second": round(len(visitors.visits) / (ended - began), 1),
        "jobs_per_second": round(len(starts) / (ended - began), 1),
        "p50_s": round(cuts[49], 3),
        "p99_s": round(cuts[98], 3),
        "answered": outcomes[200],
        "left": outcomes["left"],
        "sent_away": outcomes[503],
        "sent_away_rate": round(outcomes[503] / len(visitors.visits), 4),
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
        "over_time": over_time(visitors, samples, starts, began),
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
    visitors: Visitors, samples: list[dict[str, float]], starts: dict[str, list[float]], began: float
) -> list[dict[str, Any]]:
    """Return a row for every few seconds."""
    ends = [began + ROW * n for n in range(int((samples[-1]["at"] - began) / ROW) + 1)]
    rows = []
    begun = sorted(ats[0] for ats in starts.values())
    for start, end in pairwise(ends):
        seen = [sample for sample in samples if start <= sample["at"] < end]
        answers = [visit.seconds for visit in visitors.visits if visit.outcome == 200 and start <= visit.ended < end]
        cuts = quantiles(answers, n=100) if len(answers) > 1 else None
        rows.append(
            {
                "t": round(end - began, 1),
                "jobs_per_second": round(sum(start <= at < end for at in begun) / ROW, 1),
                "p50": round(cuts[49], 3) if cuts else None,
                "p99": round(cuts[98], 3) if cuts else None,
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


def table(found: dict[str, Any]) -> str:
    """Return the figures of a run as a table."""
    grown = found["rss_growth_mb_per_minute"]
    figures = {
        "seconds": found["seconds"],
        "requests": found["requests"],
        "jobs/s": found["jobs_per_second"],
        "p50 s": found["p50_s"],
        "p99 s": found["p99_s"],
        "503": f"{found['sent_away_rate']:.1%}",
        "left": found["left"],
        "jobs withdrawn": found["jobs_withdrawn"],
        "workers, most": found["most_workers_not_idle"],
        "MB/min": "-" if grown is None else grown,
    }
    rows = [figures.keys(), ["---"] * len(figures), figures.values()]
    return "\n".join(f"| {' | '.join(map(str, row))} |" for row in rows)


def main() -> int:
    """Run, tell and judge; return 1 where something is not as it should be."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seconds", type=float, help="instead of minutes")
    parser.add_argument("--json", type=Path, help="where the figures go")
    parser.add_argument("--chart", type=Path, help="where the picture goes, as SVG")
    options = parser.parse_args()
    found = asyncio.run(run(options.minutes * 60 if options.seconds is None else options.seconds))
    judged = verdicts(found)
    print(table(found))
    print()
    for what, holds in judged.items():
        print(f"{'yes' if holds else 'NO '}  {what}")
    if options.json is not None:
        versions = {"python": platform.python_version(), "uvicorn": version("uvicorn"), "cores": os.cpu_count()}
        options.json.write_text(json.dumps({"machine": versions, "verdicts": judged} | found, indent=1) + "\n")
    if options.chart is not None:
        options.chart.write_text(draw(found["over_time"], SHARE))
    return 0 if all(judged.values()) else 1


if __name__ == "__main__":
    sys.exit(main())

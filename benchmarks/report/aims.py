"""What is aimed at, what was seen of it, and where it was worst."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import median
from typing import Any

import attrs

from benchmarks.report.results import COLUMNS, SAME_BEFORE, Column, Run
from benchmarks.suite.race import AIOHTTP, OURS
from benchmarks.workloads.bodies import LARGE, MIDDLE
from benchmarks.workloads.jobs import LEVELS, LOOPS

# figures by what they belong to, so many jobs at once or the like; what was not measured is missing
Find = Callable[[Run], Mapping[str, float]]
ASYNCIO, UVLOOP, TRIO = (f"{OURS}run_all ({loop})" for loop in LOOPS)
RUN = f"{OURS}run (asyncio)"


@attrs.frozen
class Aim:
    """One figure, and what it should come to.

    Attributes:
        text: what it is.
        find: what was seen in a run.
        bound: what it must not pass; None where it is told and not aimed at.
        stretch: what is wished for beyond that.
        least: whether the bound is the least and not the most.
        form: how figures are written.
    """

    text: str
    find: Find
    bound: float | None = None
    stretch: float | None = None
    least: bool = False
    form: str = ".2f"

    def worst(self, figures: Iterable[float]) -> float:
        return min(figures) if self.least else max(figures)

    def best(self, figures: Iterable[float]) -> float:
        return max(figures) if self.least else min(figures)

    def missed(self, figure: float, bound: float) -> str:
        """Say by how much a figure misses a bound; nothing if it does not."""
        share = bound / figure if self.least and figure else figure / bound
        return (
            "" if self.best((figure, bound)) == figure else f"missed by {share - 1:{'.0%' if share > 1.1 else '.1%'}}"
        )

    def verdict(self, figures: Mapping[str, float]) -> str:
        """Say what became of it: every figure must keep the bound."""
        if not figures or self.bound is None:
            return "not measured"
        worst = self.worst(figures.values())
        if missed := self.missed(worst, self.bound):
            return f"**{missed}**"
        if self.stretch is None:
            return "reached"
        missed = self.missed(worst, self.stretch)
        return f"reached, the stretch {missed}" if missed else "reached, and the stretch"

    def aim(self) -> str:
        sign = "≥" if self.least else "≤"
        stretch = "" if self.stretch is None else f" (stretch {format(self.stretch, self.form)})"
        return f"{sign} {format(self.bound, self.form)}{stretch}"


def levels(text: str, column: str | Column, entrant: str, bound: float | None, **more: Any) -> Aim:
    """Return an aim for a column of a contender in the smallest job's cases, or those of another workload."""
    workload = more.pop("workload", "smallest-job")
    cases = more.pop("cases", [f"{level} at once" for level in LEVELS])
    figure = COLUMNS[column] if isinstance(column, str) else column

    def find(run: Run) -> dict[str, float]:
        found = {case: figure.of(run.workloads.get(workload, {}).get(case, {}), entrant) for case in cases}
        return {case: median(figures) for case, figures in found.items() if figures}

    return Aim(text, find, bound, **more)


def loops(text: str, column: str, way: str, case: str, bound: float, **more: Any) -> Aim:
    """Return an aim for a column of bodies on each loop: the median of the rounds, or the largest for whole numbers."""
    case = f"{'download' if way in ('run', 'stream') else 'upload'}, {case}"

    def find(run: Run) -> dict[str, float]:
        results = run.workloads.get("bodies", {}).get(case, {})
        found = {loop: COLUMNS[column].of(results, f"{OURS}{way} ({loop})") for loop in LOOPS}
        return {loop: max(one) if more else median(one) for loop, one in found.items() if one}

    return Aim(text, find, bound, **(more or {"least": True}))


def to(entrant: str, column: str = "cpu") -> Column:
    """Return a column as the ratio to another contender."""
    return Column("", COLUMNS[column].compute, to=entrant)


EXTRAS: Mapping[str, Any] = {"workload": "extras", "cases": ["16 at once"], "form": ".1f"}
MEMORY: Mapping[str, Any] = {"workload": "queued", "cases": ["memory"], "form": ",.0f"}
WHOLE: Mapping[str, Any] = {"form": ",.0f"}
QUEUED = ["submit (asyncio)", "run (asyncio)"]
AIMS: Sequence[Aim] = (
    levels("`run_all`: CPU, x before", "before", ASYNCIO, 0.45, stretch=0.38),
    levels("`run_all`: bytecodes, x before", to(SAME_BEFORE, "instructions"), ASYNCIO, 0.33),
    levels("`run_all`: CPU, x bare asyncio.Protocol", "protocol", ASYNCIO, 1.0, stretch=0.8),
    levels("`run_all`: CPU, x blocking sockets", "floor", ASYNCIO, 3.5, stretch=2.8),
    levels("`run_all`: CPU, x Go client", "go", ASYNCIO, None),
    levels("`run_all`: jobs/s, x Go client", "rate_go", ASYNCIO, 0.85, stretch=0.95, least=True),
    levels("`run_all`: CPU, x aiohttp through nginx", to(AIOHTTP.name), ASYNCIO, 0.25),
    levels("`run_all`: bytecodes per job", "instructions", ASYNCIO, 1100, **WHOLE),
    levels("`run_all`: calls per job", "calls", ASYNCIO, 45, **WHOLE),
    levels("`run_all`: user instructions per job", "user_instructions", ASYNCIO, 85_000, **WHOLE),
    levels("uvloop: CPU, x ours on asyncio", to(ASYNCIO), UVLOOP, 0.85),
    levels("trio: CPU, x ours on asyncio", to(ASYNCIO), TRIO, 1.25),
    levels("`run` from worker loops: CPU, x `run_all`", to(ASYNCIO), RUN, 1.15),
    levels("a query adds, µs", "added", f"{OURS}query", 6, **EXTRAS),
    levels("a JSON body adds, µs", "added", f"{OURS}JSON body", 6, **EXTRAS),
    levels("a STDERR message adds, µs", "added", f"{OURS}STDERR message", 4, **EXTRAS),
    levels("a flush of ten bytes, µs", "cpu_flush", RUN, 1.5, workload="flushes", cases=["ten bytes each"]),
    loops(f"{LARGE} received, x bare `recv` loop", "throughput_first", "stream", LARGE, 0.75),
    loops(f"{LARGE} sent, x bare `sendall` loop", "throughput_first", "bytes", LARGE, 0.5),
    loops(f"{LARGE} received: memory, KiB", "memory", "stream", LARGE, 16_384, **WHOLE),
    # in the slow mode all 256 pages of a response are faulted in anew
    loops(f"{MIDDLE} received: page faults per job, the worst round", "faults", "run", MIDDLE, 128, **WHOLE),
    levels("bytes of a queued entry, `submit`", "entry_bytes", "submit (asyncio)", 512, **MEMORY),
    levels("bytes of a queued entry, `run`", "entry_bytes", "run (asyncio)", 2560, **MEMORY),
    levels("CPU with 100,000 queued, x with 1,000", "first", "100,000 queued", 1.3, workload="queued", cases=QUEUED),
)


def listed(aim: Aim, figures: Mapping[str, float]) -> str:
    return ", ".join(f"{name.removesuffix(' at once')}: {format(figure, aim.form)}" for name, figure in figures.items())


def judged(run: Run) -> list[tuple[str, str, str, str]]:
    """Return a row for each aim: what, the bound, what was seen in a run, and what became of it."""
    rows = []
    for aim in AIMS:
        if aim.bound is not None:
            figures = aim.find(run)
            rows.append((aim.text, aim.aim(), listed(aim, figures), aim.verdict(figures)))
    return rows


def alike(run: Run, other: Run) -> bool:
    """Whether two runs are of one state of the project, as far as the instructions of a job tell."""

    def instructions(run: Run) -> float:
        return max(levels("", "instructions", ASYNCIO, None).find(run).values(), default=0.0)

    return abs(instructions(run) - instructions(other)) <= 0.1 * instructions(other)


def seen(runs: Mapping[int, Run]) -> list[tuple[str, ...]]:
    """Return a row for each figure: the worst, the best, each with the run, and on how many machines and days."""
    rows = []
    for aim in AIMS:
        found = {(number, name): figure for number, run in runs.items() for name, figure in aim.find(run).items()}
        if found:
            ends = []
            for end in (aim.worst(found.values()), aim.best(found.values())):
                number, name = next(key for key, figure in found.items() if figure == end)
                ends.append(f"{format(end, aim.form)} ({name}, run {number})")
            where = [runs[number] for number in {number for number, _ in found}]
            rows.append(
                (aim.text, *ends, str(len({run.place for run in where})), str(len({run.date for run in where})))
            )
    return rows

"""The ratios that fcgi_async has to reach, each with what was seen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import median

import attrs

from benchmarks.report.figures import COLUMNS, cpu, ratios, values
from benchmarks.report.results import Measured
from benchmarks.suite.entrant import AIOHTTP, FLOOR, GO, OURS
from benchmarks.workloads.bodies import LARGE

__all__ = ("BUDGET", "Requirement", "Seen", "judge")

AT_ONCE = ("4 at once", "16 at once", "64 at once")
ASYNCIO, UVLOOP, TRIO = (f"{OURS}run_all ({backend})" for backend in ("asyncio", "uvloop", "trio"))
RUN = f"{OURS}run (asyncio)"
QUEUED = {f"{through}()": f"{through} (asyncio)" for through in ("submit", "run")}
# what `queued` calls its contenders
FEW, MANY = "1,000 queued", "100,000 queued"

# figures by what they belong to, so many jobs at once or the like; what was not measured is missing
Find = Callable[[Measured], Mapping[str, float]]


@attrs.frozen
class Requirement:
    """One ratio.

    Attributes:
        text: what it is of.
        bound: that it must not pass.
        find: what was seen.
        least: whether the bound is the least and not the most.
        stretch: whether it is wished for, and not asked for.
        form: how figures are written.
    """

    text: str
    bound: float
    find: Find
    least: bool = False
    stretch: bool = False
    form: str = ".2f"

    def sign(self) -> str:
        return "≥" if self.least else "≤"

    def holds(self, figure: float) -> bool:
        return figure >= self.bound if self.least else figure <= self.bound


@attrs.frozen
class Seen:
    """What became of a requirement."""

    requirement: Requirement
    figures: Mapping[str, float]

    @property
    def verdict(self) -> str:
        """Whether every figure keeps the bound."""
        if not self.figures:
            return "not measured"
        if all(map(self.requirement.holds, self.figures.values())):
            return "reached"
        return "stretch, not reached" if self.requirement.stretch else "**missed**"

    def cells(self) -> tuple[str, str, str, str]:
        """Return a row: what, the bound, what was seen, the verdict."""
        need = self.requirement
        seen = ", ".join(f"{name}: {format(figure, need.form)}" for name, figure in self.figures.items())
        bound = f"{need.sign()} {format(need.bound, need.form)}"
        return need.text, bound, seen, self.verdict


def ratio(
    one: str, other: str, cases: Sequence[str] = AT_ONCE, column: str = "cpu", workload: str = "smallest-job"
) -> Find:
    """Return what finds the median of the rounds' ratios in each of the cases."""
    compute = COLUMNS[column].compute

    def find(measured: Measured) -> dict[str, float]:
        found = {}
        for case in cases:
            pairs = ratios(measured.rounds(workload, case, one), measured.rounds(workload, case, other), compute)
            if pairs:
                found[case] = median(pairs)
        return found

    return find


def queue_growth(measured: Measured) -> dict[str, float]:
    """What a job costs with the most entries queued, against the fewest."""
    found = {}
    for name, case in QUEUED.items():
        rounds, references = measured.rounds("queued", case, MANY), measured.rounds("queued", case, FEW)
        if pairs := ratios(rounds, references, cpu):
            found[name] = median(pairs)
    return found


def entry(entrant: str) -> Find:
    """Return what finds the bytes of a queued entry."""

    def find(measured: Measured) -> dict[str, float]:
        sizes = values(measured.rounds("queued", "memory", entrant), COLUMNS["entry_bytes"].compute)
        return {"asyncio": median(sizes)} if sizes else {}

    return find


def large(direction: str, entrants: Sequence[str], column: str) -> Find:
    """Return what finds a figure of the large bodies; relative ones are to the bare loop."""
    case, bare = f"{direction}, {LARGE}", "recv loop" if direction == "download" else "sendall loop"

    def find(measured: Measured) -> dict[str, float]:
        found = {}
        for entrant in entrants:
            rounds = measured.rounds("bodies", case, f"{OURS}{entrant}")
            references = measured.rounds("bodies", case, bare)
            figure = COLUMNS[column]
            if (
                seen := ratios(rounds, references, figure.compute)
                if figure.relative
                else values(rounds, figure.compute)
            ):
                found[entrant] = median(seen)
        return found

    return find


DOWN, UP = ("stream (asyncio)",), ("bytes (asyncio)", "iterable (asyncio)")

BUDGET: Sequence[Requirement] = (
    Requirement("`run_all`: CPU per job, x blocking sockets", 3.0, ratio(ASYNCIO, FLOOR.name)),
    Requirement("the same", 2.5, ratio(ASYNCIO, FLOOR.name), stretch=True),
    Requirement("`run_all`: CPU per job, x aiohttp through nginx", 0.25, ratio(ASYNCIO, AIOHTTP.name)),
    Requirement("`run` from worker loops: CPU per job, x blocking sockets", 3.3, ratio(RUN, FLOOR.name)),
    Requirement("trio: CPU per job, x ours on asyncio", 1.7, ratio(TRIO, ASYNCIO)),
    Requirement("uvloop: CPU per job, x ours on asyncio", 1.0, ratio(UVLOOP, ASYNCIO)),
    Requirement("jobs/s, x the Go client", 0.6, ratio(ASYNCIO, GO.name, column="rate"), least=True),
    Requirement(
        "jobs/s on uvloop, x the Go client", 0.8, ratio(UVLOOP, GO.name, column="rate"), least=True, stretch=True
    ),
    Requirement("256 MB received, x a bare recv loop", 0.5, large("download", DOWN, "throughput_ratio"), least=True),
    Requirement("256 MB sent, x a bare sendall loop", 0.5, large("upload", UP, "throughput_ratio"), least=True),
    Requirement("256 MB received: peak memory growth, KiB", 16_384, large("download", DOWN, "memory"), form=",.0f"),
    Requirement("256 MB sent: peak memory growth, KiB", 16_384, large("upload", UP, "memory"), form=",.0f"),
    Requirement("bytes of a queued entry, `submit()`", 1024, entry("submit (asyncio)"), form=",.0f"),
    Requirement("bytes of a queued entry, `run()`", 2560, entry("run (asyncio)"), form=",.0f"),
    Requirement("CPU per job with 100,000 queued, x with 1,000", 1.3, queue_growth),
)


def judge(measured: Measured) -> list[Seen]:
    """Return what became of each requirement."""
    return [Seen(requirement, requirement.find(measured)) for requirement in BUDGET]

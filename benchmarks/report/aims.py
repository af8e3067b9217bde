"""What is aimed at, what was seen of it, and where it was worst."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import median

import attrs

from benchmarks.report.results import COLUMNS, FIRST, SAME_BEFORE, Column, Run, cpu
from benchmarks.suite.race import AIOHTTP, OURS
from benchmarks.workloads.bodies import LARGE, MIDDLE
from benchmarks.workloads.jobs import LEVELS, LOOPS

__all__ = ("AIMS", "Aim", "alike", "judged", "seen")

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


def at_levels(column: Column, entrant: str, workload: str = "smallest-job", cases: Sequence[str] = ()) -> Find:
    """Return what finds the median of the rounds in each of the cases."""

    def find(run: Run) -> dict[str, float]:
        found = {}
        for case in cases or [f"{level} at once" for level in LEVELS]:
            if figures := column.of(run.workloads.get(workload, {}).get(case, {}), entrant):
                found[case] = median(figures)
        return found

    return find


def to(entrant: str) -> Column:
    """Return the ratio of CPU time to another contender."""
    return attrs.evolve(COLUMNS["cpu"], to=entrant)


def on_loops(column: str, way: str, case: str, *, worst: bool = False) -> Find:
    """Return what finds a figure of bodies on each loop: the median of the rounds, or the largest."""

    def find(run: Run) -> dict[str, float]:
        results = run.workloads.get("bodies", {}).get(case, {})
        rounds = {loop: COLUMNS[column].of(results, f"{OURS}{way} ({loop})") for loop in LOOPS}
        return {loop: max(found) if worst else median(found) for loop, found in rounds.items() if found}

    return find


def extra(kind: str, bound: float) -> Aim:
    return Aim(
        f"a {kind} adds, µs", at_levels(COLUMNS["added"], OURS + kind, "extras", ["16 at once"]), bound, form=".1f"
    )


GROWTH = attrs.evolve(COLUMNS["first"], title="")
AIMS: Sequence[Aim] = (
    Aim("`run_all`: CPU, x before", at_levels(COLUMNS["before"], ASYNCIO), 0.45, 0.38),
    Aim(
        "`run_all`: bytecodes, x before",
        at_levels(Column("", COLUMNS["instructions"].compute, to=SAME_BEFORE), ASYNCIO),
        0.33,
    ),
    Aim("`run_all`: CPU, x bare asyncio.Protocol", at_levels(COLUMNS["protocol"], ASYNCIO), 1.0, 0.8),
    Aim("`run_all`: CPU, x blocking sockets", at_levels(COLUMNS["floor"], ASYNCIO), 3.5, 2.8),
    Aim("`run_all`: CPU, x Go client", at_levels(COLUMNS["go"], ASYNCIO)),
    Aim("`run_all`: jobs/s, x Go client", at_levels(COLUMNS["rate_go"], ASYNCIO), 0.85, 0.95, least=True),
    Aim("`run_all`: CPU, x aiohttp through nginx", at_levels(to(AIOHTTP.name), ASYNCIO), 0.25),
    Aim("`run_all`: bytecodes per job", at_levels(COLUMNS["instructions"], ASYNCIO), 1100, form=",.0f"),
    Aim("`run_all`: calls per job", at_levels(COLUMNS["calls"], ASYNCIO), 45, form=",.0f"),
    Aim("`run_all`: user instructions per job", at_levels(COLUMNS["user_instructions"], ASYNCIO), 85_000, form=",.0f"),
    Aim("uvloop: CPU, x ours on asyncio", at_levels(to(ASYNCIO), UVLOOP), 0.85),
    Aim("trio: CPU, x ours on asyncio", at_levels(to(ASYNCIO), TRIO), 1.25),
    Aim("`run` from worker loops: CPU, x `run_all`", at_levels(to(ASYNCIO), RUN), 1.15),
    extra("query", 6.0),
    extra("JSON body", 6.0),
    extra("STDERR message", 4.0),
    Aim(
        "a flush of ten bytes, µs",
        at_levels(COLUMNS["cpu_flush"], RUN, "flushes", [f"{count} flushes" for count in (2000, 1000, 20)]),
        1.5,
    ),
    Aim(
        f"{LARGE} received, x bare `recv` loop",
        on_loops("throughput_first", "stream", f"download, {LARGE}"),
        0.75,
        least=True,
    ),
    Aim(
        f"{LARGE} sent, x bare `sendall` loop",
        on_loops("throughput_first", "bytes", f"upload, {LARGE}"),
        0.5,
        least=True,
    ),
    Aim(
        f"{LARGE} received: memory, KiB",
        on_loops("memory", "stream", f"download, {LARGE}", worst=True),
        16_384,
        form=",.0f",
    ),
    # in the slow mode all 256 pages of a response are
    Aim(
        f"{MIDDLE} received: page faults per job",
        on_loops("faults", "run", f"download, {MIDDLE}", worst=True),
        128,
        form=",.0f",
    ),
    Aim(
        "bytes of a queued entry, `submit`",
        at_levels(COLUMNS["entry_bytes"], "submit (asyncio)", "queued", ["memory"]),
        512,
        form=",.0f",
    ),
    Aim(
        "bytes of a queued entry, `run`",
        at_levels(COLUMNS["entry_bytes"], "run (asyncio)", "queued", ["memory"]),
        2560,
        form=",.0f",
    ),
    Aim(
        "CPU with 100,000 queued, x with 1,000",
        at_levels(Column("", cpu, to=FIRST), "100,000 queued", "queued", ["submit (asyncio)", "run (asyncio)"]),
        1.3,
    ),
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
        return max(at_levels(COLUMNS["instructions"], ASYNCIO)(run).values(), default=0.0)

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

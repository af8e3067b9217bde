"""The page of figures, and the short table for the README, as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from inspect import getdoc
from statistics import median

from benchmarks.report.budget import judge
from benchmarks.report.figures import COLUMNS, Column, cpu, ratios
from benchmarks.report.results import Measured
from benchmarks.suite.case import Workload
from benchmarks.suite.entrant import AIOHTTP, FLOOR, GO, OURS
from benchmarks.suite.race import Figures, Results
from benchmarks.workloads import WORKLOADS

__all__ = ("HEADLINE_CASE", "headline", "page", "table")

HEADLINE_CASE = "16 at once"
HEADLINE_ENTRANTS = (
    FLOOR.name,
    f"{OURS}run_all (uvloop)",
    f"{OURS}run_all (asyncio)",
    f"{OURS}run_all (trio)",
    GO.name,
    "hollodotme/fast-cgi-client (PHP)",
    AIOHTTP.name,
    "httpx, nginx",
    "a php process per job",
)
HEADLINE_COLUMNS = {
    "µs CPU per job": Column("", cpu, ",.1f"),
    "x blocking sockets": Column("", cpu, ".1f", relative=True),
    "jobs/s": COLUMNS["rate"],
}
# pictures beside their workloads
IMAGES = {
    "smallest-job": (
        ("bench-cost", "CPU time per job of each contender, as a multiple of blocking sockets"),
        ("bench-latency", "p50 and p99 latency of each contender"),
    ),
    "bodies": (("bench-bodies", "Megabytes per second by the size of the body, each way"),),
    "queued": (("bench-scale", "CPU time per job by queued entries, and by endpoints"),),
}


INTRODUCTION = """\
Contenders run side by side on one machine, in turns (A B C A B C ...), each time in a process of its own that warms up,
measures itself and checks every answer. Figures are medians of the rounds, with the least and the most in brackets;
ratios are computed in each round, and are what to compare: absolute figures belong to the machine. CPU is the user and
system time of the client's process alone. All figures as they were measured are in [benchmarks.json](benchmarks.json),
the contenders in `benchmarks/contenders`."""


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, ["---"] * len(head), *rows))


def rows(results: Results, columns: Sequence[Column]) -> Iterable[list[str]]:
    """Return a line for each contender; one that did not run says why."""
    references: list[Figures] = next((found for found in results.values() if not isinstance(found, str)), [])
    for name, found in results.items():
        if isinstance(found, str):
            yield [name, found, *[""] * (len(columns) - 1)]
        else:
            yield [name, *(column.cell(found, references) for column in columns)]


def used(results: dict[str, Results], columns: Sequence[Column]) -> list[Column]:
    """Return the columns that have a figure in one of the cases."""
    everything = [figures for case in results.values() for found in case.values() for figures in found]
    rounds = [figures for figures in everything if not isinstance(figures, str)]
    return [column for column in columns if any(column.compute(figures) is not None for figures in rounds)]


def section(workload: Workload, measured: Measured) -> list[str]:
    """Return the part of a workload."""
    found = measured.workloads[workload.name]
    first, _, rest = (getdoc(workload.module) or "").partition("\n\n")
    lines = [f"## {workload.name.replace('-', ' ').capitalize()}", first.replace("\n", " "), *rest.split("\n\n")]
    lines += [f"![{text}](images/{name}.svg)" for name, text in IMAGES.get(workload.name, ())]
    for case, results in found.cases.items():
        columns = used({case: results}, [COLUMNS[name] for name in workload.columns])
        rounds = max((len(one) for one in results.values() if not isinstance(one, str)), default=0)
        head = [f"{case} ({rounds} round{'s' if rounds != 1 else ''})", *(column.title for column in columns)]
        lines.append(table(head, rows(results, columns)))
    return lines


def budget(measured: Measured) -> list[str]:
    """Return the part that says what was aimed at."""
    head = ("what", "bound", "seen", "")
    return [
        "## Budget",
        "What a job may cost, and what was seen: on asyncio and a unix socket, probes, deadlines and all else on.",
        table(head, (seen.cells() for seen in judge(measured))),
    ]


def page(measured: Measured) -> str:
    """Return the whole page."""
    sizes = sorted({found.size for found in measured.workloads.values()})
    machine = ", ".join(f"{name} {value or 'not installed'}" for name, value in measured.machine.items())
    parts = [
        "# Benchmarks",
        f"    make bench    # measures, and writes this page anew; these figures: size {' and '.join(sizes)}",
        INTRODUCTION,
        f"Measured with: {machine}.",
        *budget(measured),
    ]
    for workload in WORKLOADS.values():
        if workload.name in measured.workloads:
            parts += section(workload, measured)
    return "\n\n".join(parts) + "\n"


def headline(measured: Measured) -> str:
    """Return the short table; what was not measured is left out."""
    references = measured.rounds("smallest-job", HEADLINE_CASE, FLOOR.name)
    lines = [
        (name, *(column.cell(rounds, references) for column in HEADLINE_COLUMNS.values()))
        for name in HEADLINE_ENTRANTS
        if (rounds := measured.rounds("smallest-job", HEADLINE_CASE, name))
    ]
    return table((f"the smallest job, {HEADLINE_CASE}", *HEADLINE_COLUMNS), lines)


def ordered_by_cost(measured: Measured) -> list[tuple[str, float]]:
    """Return the contenders of the headline's case with their multiple of the floor, the cheapest first."""
    found = measured.workloads["smallest-job"].cases.get(HEADLINE_CASE, {})
    references = measured.rounds("smallest-job", HEADLINE_CASE, FLOOR.name)
    costs = {
        name: median(pairs)
        for name, rounds in found.items()
        if not isinstance(rounds, str) and (pairs := ratios(rounds, references, cpu))
    }
    return sorted(costs.items(), key=lambda item: item[1])

"""The page of figures, as Markdown, and its chart."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from math import log
from statistics import median

from benchmarks.report.aims import alike, judged, seen
from benchmarks.report.results import COLUMNS, Column, Run
from benchmarks.suite.race import BEFORE, OURS, PROTOCOL, Results, Workload
from benchmarks.workloads import WORKLOADS

HEADLINE_CASE = "16 at once"
INTRODUCTION = """\
Contenders run side by side on one machine, in turns (A B C A B C ...), each time in a process of its own that warms up,
measures itself and checks every answer. Figures are medians of the rounds, with the least and the most in brackets;
ratios are computed in each round, and are what to compare: absolute figures belong to the machine. The ratio to a bare
`asyncio.Protocol` client ages better than that to blocking sockets, which are system calls and hardly any interpreter.
CPU is the user and system time of the client's process alone. `before` is another state of the project, run in the same
rounds. All figures as they were measured are in [benchmarks.json](benchmarks.json), the contenders in
`benchmarks/contenders`."""


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, ["---"] * len(head), *rows))


def results_table(name: str, results: Results, columns: Sequence[Column]) -> str:
    """Return a line for each contender, of the columns that have a figure; one that did not run says why."""
    used = [column for column in columns if any(column.of(results, entrant) for entrant in results)]
    rounds = max((len(found) for found in results.values() if not isinstance(found, str)), default=0)
    head = [f"{name} ({rounds} round{'s' if rounds != 1 else ''})", *(column.title for column in used)]
    rows = [
        [entrant, found, *[""] * (len(used) - 1)]
        if isinstance(found, str)
        else [entrant, *(column.cell(results, entrant) for column in used)]
        for entrant, found in results.items()
    ]
    return table(head, rows)


def section(workload: Workload, run: Run) -> list[str]:
    """Return the part of a workload."""
    first, *rest = workload.about.split("\n\n")
    lines = [f"## {workload.name.replace('-', ' ').capitalize()}", first.replace("\n", " "), *rest]
    if workload.name == "smallest-job" and HEADLINE_CASE in run.workloads[workload.name]:
        lines.append(
            "![CPU time per job of each contender, as a multiple of a bare asyncio.Protocol](images/bench-cost.svg)"
        )
    columns = [COLUMNS[name] for name in workload.columns]
    return [*lines, *(results_table(case, found, columns) for case, found in run.workloads[workload.name].items())]


def history(runs: Sequence[Run]) -> list[str]:
    """Return the part about all the runs: what they were run on, and the worst and the best of each figure."""
    newest = runs[0]
    numbered = dict(enumerate(runs, 1))
    rows = [
        (
            str(number),
            run.date,
            run.commit + (f", before: {run.before}" if run.before else ""),
            run.size,
            ", ".join(f"{name} {run.machine.get(name, 'unknown')}" for name in ("CPU", "cores", "kernel", "Python")),
            run.machine.get("load when begun", ""),
        )
        for number, run in numbered.items()
    ]
    lines = [
        "## Machines and days",
        table(("run", "date", "commit", "size", "machine", "load when begun"), rows),
        "The worst of each figure, and the best, of all runs of this state of the project, and of earlier states, "
        "which other instructions per job tell from it.",
    ]
    head = ("figure", "worst", "best", "machines", "days")
    same = {number: run for number, run in numbered.items() if alike(run, newest)}
    lines.append(table((f"this state: {head[0]}", *head[1:]), seen(same)))
    if others := {number: run for number, run in numbered.items() if number not in same}:
        lines.append(table((f"earlier states: {head[0]}", *head[1:]), seen(others)))
    return lines


def page(runs: Sequence[Run]) -> str:
    """Return the whole page: the newest run, and what all of them say together."""
    parts = ["# Benchmarks", "    make bench    # measures, and writes this page anew", INTRODUCTION]
    if runs:
        newest = runs[0]
        measured = ", ".join(f"{name} {value}" for name, value in newest.machine.items())
        parts += [
            f"The newest run, of {newest.date} ({newest.commit}, size {newest.size}): {measured}.",
            "## Aims",
            "What is aimed at, and what the newest run saw, by jobs at once or by event loop; on asyncio and a unix "
            "socket if nothing else is said, probes, deadlines and all else on.",
            table(("figure", "aim", "seen", ""), judged(newest)),
            *history(runs),
        ]
        for workload in WORKLOADS.values():
            if workload.name in newest.workloads:
                parts += section(workload, newest)
    return "\n\n".join(parts) + "\n"


def headline_results(runs: Sequence[Run]) -> Results:
    return runs[0].workloads.get("smallest-job", {}).get(HEADLINE_CASE, {}) if runs else {}


def cost_chart(runs: Sequence[Run]) -> str:
    """Return a picture: the CPU time per job of each contender, as a multiple of a bare asyncio.Protocol."""
    results = headline_results(runs)
    column = Column("", COLUMNS["cpu"].compute, to=PROTOCOL.name)
    costs = {name: median(found) for name in results if (found := column.of(results, name))} | {PROTOCOL.name: 1.0}
    title = f"Client CPU time per job, as a multiple of a bare asyncio.Protocol: the smallest job, {HEADLINE_CASE}"
    return bars(title, sorted(costs.items(), key=lambda item: item[1]), marked=(OURS, BEFORE))


def bars(title: str, items: Sequence[tuple[str, float]], marked: tuple[str, ...]) -> str:
    """Return a bar for each item on a logarithmic scale as SVG; names that begin with one of `marked` have a colour."""
    width, begin, step = 860, 250, 24
    least, most = min(value for _, value in items) / 1.5, max(value for _, value in items)
    height = 48 + len(items) * step
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{escape(title)}">',
        '<style>text { font: 12px system-ui, "DejaVu Sans", sans-serif; }</style>',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        f'<text x="10" y="22" font-weight="600">{escape(title)}</text>',
    ]
    for number, (name, value) in enumerate(items):
        y, length = 38 + number * step, (width - begin - 90) * log(value / least) / log(most / least)
        fill = "#0969da" if name.startswith(marked) else "#8c959f"
        label = f"{value:.2g} x" if value < 100 else f"{value:,.0f} x"
        parts.append(f'<text x="{begin - 8}" y="{y + 13}" text-anchor="end">{escape(name)}</text>')
        parts.append(f'<rect x="{begin}" y="{y}" width="{length:.1f}" height="17" fill="{fill}"/>')
        parts.append(f'<text x="{begin + length + 6:.1f}" y="{y + 13}">{label}</text>')
    return "\n".join([*parts, "</svg>\n"])

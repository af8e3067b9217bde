"""The figures as they were measured: runs on machines and days, stored as JSON, and what is computed of them."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sysconfig
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

import attrs

from benchmarks.suite.race import BEFORE, FLOOR, GO, OURS, PROTOCOL, Figures, Results
from benchmarks.suite.surroundings import find_program

NAME = "benchmarks.json"
# the newest runs, one for each machine and day
KEPT = 24
# what makes a machine another one
IDENTITY = ("CPU", "cores", "kernel", "Python")
# what a column is compared with: the first contender of its case (and of its state), or this contender before
FIRST, SAME_BEFORE = "first", "before"
Compute = Callable[[Figures], float | None]
VERSION_COMMANDS = {"PHP": ("php", "-n", "-v"), "nginx": ("nginx", "-v"), "Go": ("go", "version")}
PACKAGES = ("uvloop", "trio", "anyio", "aiohttp")


@attrs.define(kw_only=True)
class Run:
    """One run of the suite.

    Attributes:
        machine: what it was measured on and with.
        date: in UTC.
        commit: of the project; with a + where its package was changed since.
        before: the commit that was measured beside it.
        size: how much was run.
        workloads: by name, their cases by name, what each contender measured.
    """

    machine: dict[str, str]
    date: str
    commit: str
    before: str | None = None
    size: str
    workloads: dict[str, dict[str, Results]] = attrs.field(factory=dict)

    @property
    def place(self) -> tuple[str, ...]:
        """The machine and the Python on it."""
        return tuple(self.machine.get(name, "") for name in IDENTITY)

    def rounds(self, workload: str, case: str, entrant: str) -> list[Figures]:
        """Return what a contender measured; nothing, where it was not run."""
        found = self.workloads.get(workload, {}).get(case, {}).get(entrant, [])
        return [] if isinstance(found, str) else found


def machine() -> dict[str, str]:
    """Return what the figures depend on; nothing that names this machine."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    optimised = "--enable-optimizations" in (sysconfig.get_config_var("CONFIG_ARGS") or "")
    found = {
        "CPU": next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown"),
        "cores": str(len(os.sched_getaffinity(0))),
        "kernel": re.sub(r"^(\d+\.\d+).*", r"\1", platform.release()),
        "load when begun": f"{os.getloadavg()[0]:.1f}",
        "Python": f"{platform.python_version()} ({'' if optimised else 'not '}profile-guided)",
    }
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    for title, (name, *options) in VERSION_COMMANDS.items():
        path = find_program(name)
        done = path and subprocess.run([path, *options], capture_output=True, text=True, check=False)
        number = done and re.search(r"\d+\.\d+(\.\d+)?", done.stdout + done.stderr)
        found[title] = number[0] if number else "not installed"
    return found


def commit_of(checkout: Path) -> str:
    """Return the commit of a checkout, with a + where its package is not as committed."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(checkout), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()

    head = git("rev-parse", "--short", "HEAD") or "unknown"
    return f"{head}+" if git("status", "--porcelain", "--", "fcgi_async") else head


def today() -> str:
    return datetime.now(UTC).date().isoformat()


def packed(found: list[Figures] | str) -> dict[str, list[float | None]] | str:
    """Return what a contender measured as a list for each figure, of six significant digits."""
    if isinstance(found, str):
        return found
    names = dict.fromkeys(name for figures in found for name in figures)
    return {name: [shortened(one[name]) if name in one else None for one in found] for name in names}


def shortened(number: float) -> float:
    return int(number) if number == int(number) else float(f"{number:.6g}")


def unpacked(found: dict[str, list[float | None]] | str) -> list[Figures] | str:
    """Return it as it was measured."""
    if isinstance(found, str):
        return found
    rounds = zip(*found.values(), strict=True)
    return [{name: one for name, one in zip(found, figures, strict=True) if one is not None} for figures in rounds]


def read(folder: Path) -> list[Run]:
    """Return the runs that are stored in a folder, the newest first."""
    path = folder / NAME
    if not path.exists():
        return []
    runs = [Run(**run) for run in json.loads(path.read_text())["runs"]]
    for run in runs:
        for cases in run.workloads.values():
            for results in cases.values():
                results.update({name: unpacked(found) for name, found in results.items()})  # type: ignore[arg-type]
    return runs


def stored(run: Run, runs: list[Run]) -> list[Run]:
    """Return runs with one more, which takes the place of that of the same machine and day."""
    others = [one for one in runs if (one.place, one.date) != (run.place, run.date)]
    return [run, *others][:KEPT]


def write(folder: Path, runs: list[Run]) -> None:
    """Store runs."""
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for run in runs:
        plain = {name: value for name, value in attrs.asdict(run, recurse=False).items() if value is not None}
        plain["workloads"] = {
            name: {case: {one: packed(rounds) for one, rounds in results.items()} for case, results in cases.items()}
            for name, cases in run.workloads.items()
        }
        found.append(encoded(plain))
    (folder / NAME).write_text('{"runs": [\n' + ",\n".join(found) + "\n]}\n")


def encoded(value: Any, indent: str = "") -> str:
    """Return JSON with a line for each contender."""
    if not isinstance(value, dict) or all(isinstance(one, list) for one in value.values()):
        return json.dumps(value, ensure_ascii=False)
    inner = [f"{indent} {json.dumps(name)}: {encoded(one, indent + ' ')}" for name, one in value.items()]
    return "{\n" + ",\n".join(inner) + f"\n{indent}}}"


def per_job(name: str, factor: float = 1.0) -> Compute:
    """Return what computes a figure per job."""

    def compute(figures: Figures) -> float | None:
        return figures[name] / figures["jobs"] * factor if name in figures else None

    return compute


def plain(name: str, factor: float = 1.0) -> Compute:
    """Return what takes a figure as it is."""

    def compute(figures: Figures) -> float | None:
        return figures[name] * factor if name in figures else None

    return compute


def rate(figures: Figures) -> float | None:
    """Jobs per second."""
    return figures["jobs"] / figures["wall"] if "wall" in figures else None


def throughput(figures: Figures) -> float | None:
    """Megabytes per second."""
    return figures["size"] * figures["jobs"] / figures["wall"] / 1e6 if figures.get("size") else None


def cpu_flush(figures: Figures) -> float | None:
    """CPU time of a flush of ten bytes, in microseconds."""
    return figures["cpu"] / (figures["jobs"] * figures["size"] / 10) * 1e6 if figures.get("size") else None


cpu = per_job("cpu", 1e6)


def values(rounds: list[Figures], compute: Compute) -> list[float]:
    """Return a figure of each round."""
    return [value for value in map(compute, rounds) if value is not None]


def ratios(rounds: list[Figures], references: list[Figures], compute: Compute) -> list[float]:
    """Return a figure's ratio to that of a reference in the same round, for each round of both."""
    pairs = [(compute(one), compute(other)) for one, other in zip(rounds, references, strict=False)]
    return [one / other for one, other in pairs if one is not None and other]


def added(rounds: list[Figures], references: list[Figures], compute: Compute) -> list[float]:
    """Return by how much a figure is more than that of a reference in the same round."""
    pairs = [(compute(one), compute(other)) for one, other in zip(rounds, references, strict=False)]
    return [one - other for one, other in pairs if one is not None and other is not None]


@attrs.frozen
class Column:
    """A column of a table: the median of the rounds, and for times and ratios the least and the most.

    Attributes:
        title: its head.
        compute: the figure of a round.
        form: how it is written.
        to: the contender that it is a ratio to, in the same round: its name, FIRST, or SAME_BEFORE.
        spread: whether the least and the most stand beside it.
        compare: how it is compared with the other contender.
    """

    title: str
    compute: Compute
    form: str = ",.0f"
    to: str | None = None
    spread: bool = False
    compare: Callable[[list[Figures], list[Figures], Compute], list[float]] = ratios

    def of(self, results: Results, name: str) -> list[float]:
        """Return the figure of each round of a contender; nothing if it does not apply."""
        rounds = rounds_of(results, name)
        if self.to is None:
            return values(rounds, self.compute)
        to = {FIRST: next(iter(results), ""), SAME_BEFORE: BEFORE + name.removeprefix(OURS)}.get(self.to, self.to)
        if self.to == FIRST and name.startswith(BEFORE) and to.startswith(OURS):
            to = BEFORE + to.removeprefix(OURS)
        return self.compare(rounds, rounds_of(results, to), self.compute) if to != name else []

    def cell(self, results: Results, name: str) -> str:
        found = self.of(results, name)
        if not found:
            return ""
        text = format(median(found), self.form)
        if self.spread and len(found) > 1:
            text += f" ({format(min(found), self.form)} to {format(max(found), self.form)})"
        return text


def rounds_of(results: Results, name: str) -> list[Figures]:
    found = results.get(name, [])
    return [] if isinstance(found, str) else found


COLUMNS: Mapping[str, Column] = {
    "cpu": Column("CPU µs/job", cpu, ",.1f", spread=True),
    "cpu_ms": Column("CPU ms/job", per_job("cpu", 1e3), ",.3f"),
    "cpu_flush": Column("CPU µs/flush", cpu_flush, ",.2f", spread=True),
    "protocol": Column("CPU, x Protocol", cpu, ".2f", PROTOCOL.name, spread=True),
    "go": Column("CPU, x Go", cpu, ".2f", GO.name, spread=True),
    "floor": Column("CPU, x floor", cpu, ".2f", FLOOR.name, spread=True),
    "before": Column("CPU, x before", cpu, ".2f", SAME_BEFORE, spread=True),
    "first": Column("CPU, x first", cpu, ".2f", FIRST, spread=True),
    "added": Column("added µs", cpu, "+.1f", FIRST, spread=True, compare=added),
    "rate": Column("jobs/s", rate),
    "rate_go": Column("jobs/s, x Go", rate, ".2f", GO.name, spread=True),
    "p50": Column("p50 ms", plain("p50", 1000), ",.2f"),
    "p99": Column("p99 ms", plain("p99", 1000), ",.2f"),
    "children_cpu": Column("children CPU µs/job", per_job("children_cpu", 1e6)),
    "instructions": Column("bytecodes/job", plain("instructions")),
    "calls": Column("calls/job", plain("calls")),
    "depth": Column("deep", plain("depth")),
    "files": Column("files", plain("files")),
    "user_instructions": Column("user instructions/job", per_job("user_instructions")),
    "faults": Column("page faults/job", per_job("faults"), ",.1f", spread=True),
    "memory": Column("memory KiB", plain("memory")),
    "throughput": Column("MB/s", throughput, spread=True),
    "throughput_first": Column("MB/s, x first", throughput, ".2f", FIRST, spread=True),
    "throughput_before": Column("MB/s, x before", throughput, ".2f", SAME_BEFORE, spread=True),
    "entry_bytes": Column("bytes/entry", plain("entry_bytes")),
}

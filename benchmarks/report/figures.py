"""What is computed of what a contender measured in a round, and how it is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from statistics import median

import attrs

from benchmarks.suite.race import Figures

__all__ = ("COLUMNS", "Column", "cpu", "ratios", "values")

Compute = Callable[[Figures], float | None]


def cpu(figures: Figures) -> float | None:
    """CPU time per job, in microseconds."""
    return figures["cpu"] / figures["jobs"] * 1e6 if "cpu" in figures else None


def cpu_ms(figures: Figures) -> float | None:
    """The same in milliseconds."""
    return figures["cpu"] / figures["jobs"] * 1e3 if "cpu" in figures else None


def children_cpu(figures: Figures) -> float | None:
    """CPU time per job of the processes that the client started, in microseconds."""
    return figures["children_cpu"] / figures["jobs"] * 1e6 if "children_cpu" in figures else None


def rate(figures: Figures) -> float | None:
    return figures["jobs"] / figures["wall"] if "wall" in figures else None


def stored(name: str, factor: float = 1.0) -> Compute:
    def compute(figures: Figures) -> float | None:
        value = figures.get(name)
        return None if value is None else value * factor

    return compute


def throughput(figures: Figures) -> float | None:
    """Megabytes per second."""
    speed = rate(figures)
    return None if speed is None or "size" not in figures else figures["size"] * speed / 1e6


def values(rounds: list[Figures], compute: Compute) -> list[float]:
    """Return a figure of each round."""
    return [value for value in map(compute, rounds) if value is not None]


def ratios(rounds: list[Figures], references: list[Figures], compute: Compute) -> list[float]:
    """Return a figure's ratio to that of a reference in the same round, for each round of both."""
    pairs = [(compute(one), compute(other)) for one, other in zip(rounds, references, strict=False)]
    return [one / other for one, other in pairs if one is not None and other]


@attrs.frozen
class Column:
    """A column of a table: the median of the rounds, where wanted with the least and the most.

    Attributes:
        title: its head.
        compute: the figure of a round.
        form: how it is written.
        relative: whether it is the ratio to the first contender in the same round.
        spread: whether the least and the most stand beside it.
    """

    title: str
    compute: Compute
    form: str = ",.0f"
    relative: bool = False
    spread: bool = False

    def cell(self, rounds: list[Figures], references: list[Figures]) -> str:
        """Return a cell; empty, where the figure does not apply."""
        found = ratios(rounds, references, self.compute) if self.relative else values(rounds, self.compute)
        if not found:
            return ""
        text = format(median(found), self.form)
        if self.spread and len(found) > 1:
            text += f" ({format(min(found), self.form)} to {format(max(found), self.form)})"
        return text


COLUMNS: Mapping[str, Column] = {
    "cpu": Column("CPU µs/job", cpu, ",.1f", spread=True),
    "cpu_ms": Column("CPU ms/job", cpu_ms, ",.3f"),
    "cpu_ratio": Column("CPU, x first", cpu, ".2f", relative=True),
    "cpu_record": Column("µs/record", cpu, ",.2f", spread=True),
    "children_cpu": Column("children CPU µs/job", children_cpu),
    "rate": Column("jobs/s", rate),
    "record_rate": Column("records/s", rate),
    "p50": Column("p50 ms", stored("p50", 1000), ",.2f"),
    "p99": Column("p99 ms", stored("p99", 1000), ",.2f"),
    "longest": Column("longest ms", stored("longest", 1000), ",.2f"),
    "memory": Column("memory KiB", stored("memory")),
    "server_memory": Column("server KiB", stored("server_memory")),
    "resident_early": Column("resident after a third, KiB", stored("resident_early")),
    "resident_late": Column("resident at the end, KiB", stored("resident_late")),
    "throughput": Column("MB/s", throughput, spread=True),
    "throughput_ratio": Column("MB/s, x first", throughput, ".2f", relative=True),
    "round": Column("ms/round", stored("wall", 1000), ",.1f"),
    "connections": Column("connections", stored("connections")),
    "entry_bytes": Column("bytes/entry", stored("entry_bytes")),
}

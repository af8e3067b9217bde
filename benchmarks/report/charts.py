"""The charts, as SVG, from what was measured; the same figures give the same bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib as mpl

mpl.use("svg")

from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from benchmarks.report.figures import COLUMNS, cpu, values
from benchmarks.report.page import HEADLINE_CASE, ordered_by_cost
from benchmarks.report.results import Measured
from benchmarks.suite.entrant import FLOOR, OURS
from benchmarks.workloads.bodies import SIZES

__all__ = ("CHARTS", "draw")

OURS_COLOUR, FLOOR_COLOUR, OTHER_COLOUR, GRID = "#3b5bdb", "#2f9e44", "#adb5bd", "#e9ecef"
LINE_COLOURS = ("#2f9e44", "#3b5bdb", "#f08c00", "#c2255c", "#0c8599", "#7048e8", "#868e96")
STYLE: dict[Any, Any] = {
    "svg.hashsalt": "fcgi_async",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Helvetica", "Arial", "sans-serif"],
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#868e96",
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
}


TICKS = tuple(digit * 10**zeros for zeros in range(5) for digit in (1, 2, 5))


def colour(name: str) -> str:
    return OURS_COLOUR if name.startswith(OURS) else FLOOR_COLOUR if name == FLOOR.name else OTHER_COLOUR


def plain(value: float, _: object = None) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:g}"


def log_axis(axes: Axes, which: str) -> None:
    axis = axes.xaxis if which == "x" else axes.yaxis
    getattr(axes, f"set_{which}scale")("log")
    axis.set_major_formatter(FuncFormatter(plain))
    axis.set_minor_formatter(NullFormatter())
    axes.grid(axis=which, color=GRID)  # type: ignore[arg-type]
    axes.set_axisbelow(True)


def title(figure: Figure, text: str) -> None:
    figure.suptitle(text, x=0.01, horizontalalignment="left", fontsize=11, fontweight="bold")


def cost(measured: Measured) -> Figure:
    """Bars: the CPU time per job of each contender, as a multiple of the floor."""
    found = ordered_by_cost(measured)[::-1]
    names, ratios = [name for name, _ in found], [ratio for _, ratio in found]
    figure, axes = pyplot.subplots(figsize=(9, 0.32 * len(found) + 1.3), layout="constrained")
    bars = axes.barh(names, ratios, color=[colour(name) for name in names], height=0.7)
    axes.bar_label(bars, [f"{ratio:.1f} x" if ratio < 100 else f"{ratio:,.0f} x" for ratio in ratios], padding=4)
    log_axis(axes, "x")
    axes.set_xlim(0.7, max(ratios) * 2)
    axes.tick_params(axis="y", length=0)
    title(figure, f"Client CPU time per job, as a multiple of blocking sockets: the smallest job, {HEADLINE_CASE}")
    return figure


def latency(measured: Measured) -> Figure:
    """A line from p50 to p99 for each contender."""
    found = []
    for name, _ in ordered_by_cost(measured)[::-1]:
        rounds = measured.rounds("smallest-job", HEADLINE_CASE, name)
        both = [values(rounds, COLUMNS[column].compute) for column in ("p50", "p99")]
        if all(both):
            found.append((name, median(both[0]), median(both[1])))
    figure, axes = pyplot.subplots(figsize=(9, 0.32 * len(found) + 1.3), layout="constrained")
    for row, (name, low, high) in enumerate(found):
        axes.plot([low, high], [row, row], color=colour(name), linewidth=3, solid_capstyle="round", zorder=2)
        axes.scatter(
            [low, high], [row, row], s=[55, 30], color=[colour(name), "white"], edgecolors=colour(name), zorder=3
        )
    axes.set_yticks(range(len(found)), [name for name, _, _ in found])
    axes.tick_params(axis="y", length=0)
    log_axis(axes, "x")
    title(figure, f"Latency in ms, p50 (filled) to p99: the smallest job, {HEADLINE_CASE} on 4 workers")
    return figure


def lines(axes: Axes, head: str, ticks: Mapping[float, str], series: dict[str, list[tuple[float, float]]]) -> None:
    """Draw a line for each series, on a logarithmic x axis with the ticks that are named."""
    for (name, points), line_colour in zip(series.items(), LINE_COLOURS, strict=False):
        if points:
            axes.plot(*zip(*points, strict=True), marker="o", color=line_colour, label=name, linewidth=2)
    log_axis(axes, "x")
    axes.grid(axis="y", color=GRID)
    axes.set_xticks(list(ticks), list(ticks.values()))
    axes.minorticks_off()
    axes.set_title(head)
    if len(series) > 1:
        axes.legend(frameon=False, fontsize=9)


def points(
    measured: Measured, workload: str, case: str, compute: Callable[..., float | None]
) -> list[tuple[float, float]]:
    """Return (number in the contender's name, median) of each contender of a case."""
    found = measured.workloads[workload].cases.get(case, {}) if workload in measured.workloads else {}
    pairs = [
        (float(name.split()[0].replace(",", "")), values(rounds, compute))
        for name, rounds in found.items()
        if not isinstance(rounds, str)
    ]
    return [(number, median(seen)) for number, seen in pairs if seen]


def ticks(series: dict[str, list[tuple[float, float]]]) -> dict[float, str]:
    return {number: plain(number) for line in series.values() for number, _ in line}


def scale(measured: Measured) -> Figure:
    """CPU time per job by queued entries, and by endpoints."""
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    queued = {f"{way}()": points(measured, "queued", f"{way} (asyncio)", cpu) for way in ("submit", "run")}
    lines(left, "CPU µs per job, by queued entries", ticks(queued), queued)
    endpoints = {"run_all()": points(measured, "endpoints", "64 workers", cpu)}
    lines(right, "CPU µs per job, by endpoints", ticks(endpoints), endpoints)
    for axes in (left, right):
        axes.set_ylim(bottom=0)
    return figure


def bodies(measured: Measured) -> Figure:
    """Megabytes per second by the size of the body, each way."""
    figure, both = pyplot.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
    cases = measured.workloads["bodies"].cases if "bodies" in measured.workloads else {}
    for axes, direction in zip(both, ("download", "upload"), strict=True):
        series: dict[str, list[tuple[float, float]]] = {}
        for body, size in SIZES.items():
            for name, rounds in cases.get(f"{direction}, {body}", {}).items():
                seen = [] if isinstance(rounds, str) else values(rounds, COLUMNS["throughput"].compute)
                if seen and "trio" not in name:
                    series.setdefault(name.removeprefix(OURS), []).append((size, median(seen)))
        lines(axes, f"MB/s, {direction}", {size: body for body, size in SIZES.items()}, series)
        log_axis(axes, "y")
        low, high = axes.get_ylim()
        axes.set_yticks([tick for tick in TICKS if low <= tick <= high])
        axes.minorticks_off()
    return figure


CHARTS: dict[str, tuple[str, Callable[[Measured], Figure]]] = {
    "bench-cost": ("smallest-job", cost),
    "bench-latency": ("smallest-job", latency),
    "bench-bodies": ("bodies", bodies),
    "bench-scale": ("queued", scale),
}


@contextmanager
def style() -> Iterator[None]:
    with mpl.rc_context(STYLE):
        yield


def draw(measured: Measured, folder: Path) -> None:
    """Write the charts of what was measured into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, (workload, make) in CHARTS.items():
        if workload not in measured.workloads:
            continue
        with style():
            figure = make(measured)
            figure.savefig(folder / f"{name}.svg", metadata={"Date": None, "Creator": None}, facecolor="white")
            pyplot.close(figure)

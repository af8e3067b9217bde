"""Measures what jobs cost beside other ways to run PHP, and writes the page, the charts and the figures.

python -m benchmarks                 in full: about a quarter of an hour on an idle machine of two cores
python -m benchmarks --quick         within two minutes
python -m benchmarks report          writes page and charts anew, from figures that are there
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from time import perf_counter

from benchmarks.report.budget import judge
from benchmarks.report.publish import DOCS, publish
from benchmarks.report.results import Measured, WorkloadResults
from benchmarks.suite.programs import machine
from benchmarks.suite.race import FAILED, race
from benchmarks.suite.size import FULL, QUICK, TINY, Size
from benchmarks.suite.surroundings import Surroundings, surroundings
from benchmarks.workloads import WORKLOADS

QUICK_OUTPUT = Path(__file__).parents[1] / "build" / "benchmarks"


def measure(name: str, size: Size, rounds: int | None, around: Surroundings) -> WorkloadResults:
    """Run a workload, and tell how it goes."""
    found = WorkloadResults(size.name, {})
    for case in WORKLOADS[name].cases(size):
        begun = perf_counter()
        times = rounds or case.rounds or size.rounds
        found.cases[case.name] = race(case, times, around)
        print(f"{name}: {case.name}, {perf_counter() - begun:.0f} s", file=sys.stderr, flush=True)
    return found


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", nargs="?", choices=["run", "report"], default="run")
    sizes = parser.add_mutually_exclusive_group()
    sizes.add_argument("--quick", dest="size", action="store_const", const=QUICK, help="less of everything")
    sizes.add_argument("--tiny", dest="size", action="store_const", const=TINY, help=argparse.SUPPRESS)
    parser.add_argument("--only", nargs="+", choices=WORKLOADS, metavar="NAME", help=f"of {', '.join(WORKLOADS)}")
    parser.add_argument("--rounds", type=int, metavar="N", help="how often contenders take turns")
    parser.add_argument("--hollodotme", type=Path, metavar="DIR", help="a checkout of hollodotme/fast-cgi-client")
    parser.add_argument("--output", type=Path, metavar="DIR", help="where results go (default: docs, quick ones build)")
    parser.set_defaults(size=FULL)
    options = parser.parse_args()
    if options.rounds is not None and options.rounds < 1:
        parser.error("there must be a round")
    if options.output is None:
        options.output = DOCS if options.size is FULL else QUICK_OUTPUT
    return options


def main() -> int:
    """Measure and report; the exit code is 1 where a contender failed."""
    options = arguments()
    measured = Measured.read(options.output)
    failed = False
    if options.command == "run":
        if options.only is None:
            measured.workloads.clear()
        measured.machine = machine()
        with surroundings(options.hollodotme and options.hollodotme.resolve()) as around:
            for name in options.only or WORKLOADS:
                measured.workloads[name] = measure(name, options.size, options.rounds, around)
                failed |= any(FAILED in case.values() for case in measured.workloads[name].cases.values())
                measured.write(options.output)
    # from what is stored, as a later report would be
    measured = Measured.read(options.output)
    publish(measured, options.output)
    for seen in judge(measured):
        print(" | ".join(seen.cells()))
    print(f"\n{options.output}/benchmarks.md has the tables")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())

"""Measures what jobs cost beside other ways to run PHP, and writes the page, the chart and the figures.

python -m benchmarks                     in full: within ten minutes on an idle machine of two cores
python -m benchmarks --quick             within two minutes
python -m benchmarks --before CHECKOUT   with another state of this project beside it, in the same rounds
python -m benchmarks report              writes page and chart anew, from figures that are there
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from time import perf_counter

from benchmarks.report.aims import judged
from benchmarks.report.page import cost_chart, page
from benchmarks.report.results import Run, commit_of, machine, read, stored, today, write
from benchmarks.suite.race import FAILED, FULL, QUICK, TINY, Results, Size, race
from benchmarks.suite.surroundings import ROOT, Surroundings, surroundings
from benchmarks.workloads import WORKLOADS

DOCS, QUICK_OUTPUT = ROOT / "docs", ROOT / "build/benchmarks"


def measure(name: str, size: Size, rounds: int | None, around: Surroundings) -> dict[str, Results]:
    """Run a workload, and tell how it goes."""
    found = {}
    for case in WORKLOADS[name].cases(size):
        begun = perf_counter()
        found[case.name] = race(case, rounds or case.rounds or size.rounds, around)
        print(f"{name}: {case.name}, {perf_counter() - begun:.0f} s", file=sys.stderr, flush=True)
    return found


def publish(runs: list[Run], folder: Path) -> None:
    """Write everything that is made of what was measured."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    (folder / "images/bench-cost.svg").write_text(cost_chart(runs))
    (folder / "benchmarks.md").write_text(page(runs))


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
    parser.add_argument("--before", type=Path, metavar="DIR", help="a checkout of another state of this project")
    parser.add_argument("--hollodotme", type=Path, metavar="DIR", help="a checkout of hollodotme/fast-cgi-client")
    parser.add_argument("--output", type=Path, metavar="DIR", help="where results go (default: docs, quick ones build)")
    parser.set_defaults(size=FULL)
    options = parser.parse_args()
    if options.rounds is not None and options.rounds < 1:
        parser.error("--rounds must be at least 1")
    for name, part in (("before", "fcgi_async/__init__.py"), ("hollodotme", "src/Client.php")):
        path = getattr(options, name)
        if path is not None and not (path / part).exists():
            parser.error(f"--{name}: {path} has no {part}; give the folder of a whole checkout")
    if options.output is None:
        options.output = DOCS if options.size is FULL else QUICK_OUTPUT
    return options


def run(options: argparse.Namespace) -> bool:
    """Measure and store after each workload; return whether all contenders ended well."""
    before = options.before and options.before.resolve()
    earlier = read(options.output)
    found = Run(
        machine=machine(),
        date=today(),
        commit=commit_of(ROOT),
        before=before and commit_of(before),
        size=options.size.name,
    )
    if options.only and earlier and (earlier[0].place, earlier[0].commit) == (found.place, found.commit):
        found.workloads = earlier[0].workloads
    with surroundings(options.hollodotme and options.hollodotme.resolve(), before) as around:
        for name in options.only or WORKLOADS:
            found.workloads[name] = measure(name, options.size, options.rounds, around)
            write(options.output, stored(found, earlier))
    measured = [found.workloads[name] for name in options.only or WORKLOADS]
    return not any(FAILED in results.values() for cases in measured for results in cases.values())


def main() -> int:
    """Measure and report; the exit code is 1 where a contender failed."""
    options = arguments()
    well = options.command == "report" or run(options)
    # from what is stored, as a later report would be
    runs = read(options.output)
    publish(runs, options.output)
    for row in judged(runs[0]) if runs else []:
        print(" | ".join(row))
    print(f"\n{options.output}/benchmarks.md has the tables")
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())

"""`python -m tests.fuzz`: give each parser many inputs, and write what was seen into docs/fuzzing.md."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from platform import python_version

from tests.fuzz.run import TARGETS, Figures, fuzz


def table(rows: Sequence[Figures], seed: int) -> str:
    """Return what the page says of a run."""
    total, minutes = sum(row.inputs for row in rows), sum(row.seconds for row in rows) / 60
    lines = [
        f"{total:,} inputs, seed {seed}, {minutes:.1f} minutes on one core, Python {python_version()}, "
        f"Hypothesis {version('hypothesis')}: nothing was wrong with any of them.\n",
        "| parser | inputs | past the first unit | what happened to them | longest | memory of one |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        ends = ", ".join(f"{count / row.inputs:.0%} {end}" for end, count in row.ends.most_common())
        cells = (row.name, f"{row.inputs:,}", f"{row.past_first / row.inputs:.1%}", ends, f"{row.longest:,} bytes")
        lines.append(f"| {' | '.join(cells)} | {row.memory / 1024:,.0f} KiB |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return 1 if something was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--target", action="append", choices=TARGETS, help="fuzz only this one; may be repeated")
    parser.add_argument("--inputs", type=int, default=250_000, help="how many for each target (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="which inputs (default: %(default)s)")
    parser.add_argument("--report", type=Path, metavar="FILE", help="write the figures there if nothing was found")
    options = parser.parse_args(arguments)
    rows = []
    for name in options.target or TARGETS:
        rows.append(fuzz(name, options.inputs, options.seed))
        print(rows[-1].found or f"{name}: {rows[-1].inputs:,} inputs in {rows[-1].seconds:.0f} s", flush=True)
    found = any(row.found for row in rows)
    if options.report is not None and not found:
        marked = r"(?<=<!-- begin:figures -->\n).*(?=<!-- end:figures -->)"
        figures = table(rows, options.seed) + "\n"
        page = options.report.read_text()
        options.report.write_text(re.sub(marked, lambda _: figures, page, flags=re.DOTALL))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())

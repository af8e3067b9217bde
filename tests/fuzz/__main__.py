"""`python -m tests.fuzz`: fuzz the wire, one process for each target, and write what was seen."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.fuzz.loop import Figures
from tests.fuzz.process import fuzz_apart
from tests.fuzz.report import write_report
from tests.fuzz.targets import TARGETS


def replay(name: str, data: bytes) -> int:
    """Give one input to a target, and let what is wrong with it be seen."""
    print(TARGETS[name].drive(data))
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return 1 where something was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--target", action="append", choices=TARGETS, help="fuzz only this one; may be repeated")
    parser.add_argument("--inputs", type=int, default=250_000, help="how many for each target (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="which inputs (default: %(default)s)")
    parser.add_argument("--report", type=Path, metavar="FILE", help="write what was seen, where nothing was found")
    parser.add_argument("--replay", type=bytes.fromhex, metavar="HEX", help="only give this input to the --target")
    options = parser.parse_args(arguments)
    names = options.target or list(TARGETS)
    if options.replay is not None:
        return replay(names[0], options.replay)
    rows: list[Figures] = []
    found = 0
    for name in names:
        seen = fuzz_apart(name, options.inputs, options.seed)
        if isinstance(seen, str):
            found += 1
            print(seen, flush=True)
            continue
        rows.append(seen)
        rate = seen.inputs / max(seen.seconds, 0.001)
        print(
            f"{name}: {seen.inputs} inputs at {rate:.0f}/s, {seen.past_first / seen.inputs:.1%} past the first "
            f"{seen.unit}, {seen.reached} of {seen.branches} branches, {seen.kept} kept",
            flush=True,
        )
    if options.report is not None and not found:
        options.report.write_text(write_report(rows, options.seed))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())

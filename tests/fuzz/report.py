"""The page that says what a run has seen."""

from __future__ import annotations

from collections.abc import Sequence

from tests.fuzz.loop import Figures

HEAD = """\
# Fuzzing

Every byte that a peer sends passes one of these parsers, so each is given inputs from nowhere: `make fuzz` runs them
and writes this page. An input is a finding where the parser raises anything but its own documented error, has no end
after three seconds of processor time, allocates more than 1 MiB and 200 bytes for each byte of the input, or keeps more
than one incomplete record; and where one of these does not hold:

- Bytes mean the same however they are cut. Each input is given whole and in pieces; events, errors and what is written
  are compared.
- At most one event says that the connection is over, it is the last, and every verb behind it is refused. A verb that
  is refused changes nothing and writes nothing.
- Output belongs to a request that was begun and has no end yet, a response ends once, an answer follows a question, and
  no two requests without an end have one id.
- What either half writes are whole records of the types that it may send. Of itself the responder's half answers at
  most twice the bytes that it was told.
- Pairs are those that a second, plain decoder reads. Pairs and heads are the same when they were encoded and read
  again, and a body begins behind the first empty line.

Random bytes would seldom pass a first record. The inputs begin as exchanges that real servers have had
(`tests/wire/test_transcripts.py`), with calls of the verbs between the records, so that requests are in every state and
probes on the way. A grammar of records, pairs or header lines alters their fields and contents, rearranges, repeats and
splices them, and now and then spoils a byte; an input that reaches a new branch, or brings a new order of events, is
kept and altered further. The same seed gives the same inputs, and a finding is printed with the command that shows it
again. The ordinary tests run some thousand inputs, and find faults that they plant (`tests/fuzz/test_fuzz.py`);
what was found stays among them (`tests/fuzz/test_found.py`).

"""
AFTER = """
"Past the first" is the share of inputs whose first record, pair or header line was taken. Branches are those of the
parser, for a half of a connection those of its verbs as well, counted by coverage.py over the inputs that were kept.
The memory of one input is the most that giving it to the parser, in both ways, allocated, measured on one input in 500;
that of the process includes the interpreter and the inputs that were kept.

"""


def write_report(rows: Sequence[Figures], seed: int) -> str:
    """Return the page."""
    total = sum(row.inputs for row in rows)
    lines: list[tuple[str, ...]] = [
        (
            "parser",
            "inputs",
            "past the first",
            "branches reached",
            "inputs kept",
            "longest input",
            "slowest input",
            "memory of one input",
            "memory of the process",
        )
    ]
    lines += [("---",) * len(lines[0])]
    lines += [_cells(row) for row in rows]
    table = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    minutes = sum(row.seconds for row in rows) / 60
    said = f"{total:,} inputs, seed {seed}, {minutes:.1f} minutes on one core: nothing was wrong with any of them.\n\n"
    missing = [f"{row.target} `{name}` ({count})" for row in rows for name, count in row.missing.items()]
    unreached = f"Branches that no input reached: {', '.join(missing)}.\n" if missing else "Every branch was reached.\n"
    return HEAD + said + table + AFTER + unreached


def _cells(row: Figures) -> tuple[str, ...]:
    return (
        row.target,
        f"{row.inputs:,}",
        f"{row.past_first / row.inputs:.1%} (a {row.unit})",
        f"{row.reached} of {row.branches}",
        f"{row.kept}",
        f"{row.longest:,} bytes",
        f"{row.slowest * 1000:.0f} ms",
        f"{row.most_memory / 1024:,.0f} KiB",
        f"{row.peak / 1024:,.0f} MiB",
    )

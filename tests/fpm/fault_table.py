"""A pytest plugin that writes what the fault suite saw as a table: `-p tests.fpm.fault_table --fault-table FILE`.

With `--shuffle SEED` the tests run in an order that the seed decides; 0 draws one, and it is printed.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.fpm.fault import ROWS, Row

HEAD = """\
# Faults

What happened to jobs under each fault, on a real PHP-FPM: by their callers' account (succeeded, failed), and by the
scripts' own, which write down when they begin and end, and their pids (executed, executed twice, most at once, of those
that came to their end). Each fault runs on asyncio, uvloop and trio; where they differ, in that order. A job that
failed and was executed had said that it may have run; none that said it had not did. Only an `idempotent` job is ever
executed twice. The tests are `tests/fpm/test_fault_*.py`; `make faults` runs them and writes this table, `make
faults-soak` runs them 20 times in random order, on one core and on two.

| fault | sent | succeeded | failed | executed | twice | most at once | share |
| --- | --- | --- | --- | --- | --- | --- | --- |
"""

_SEEN: dict[str, list[Row]] = {}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    parser.addoption("--fault-table", metavar="FILE", type=Path, help="write the table of faults")
    parser.addoption("--shuffle", metavar="SEED", type=int, help="run in a random order; 0 draws a seed")


def pytest_report_header(config: pytest.Config) -> str | None:
    """Print the seed."""
    seed = config.getoption("--shuffle")
    if seed is None:
        return None
    config.option.shuffle = seed = seed or random.randrange(1, 2**32)
    return f"shuffled with --shuffle {seed}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Shuffle the tests where that is wanted."""
    if config.getoption("--shuffle") is not None:
        random.Random(config.getoption("--shuffle")).shuffle(items)


def pytest_runtest_teardown(item: pytest.Item) -> None:
    """Give the rows of a test its name."""
    name, _, parameters = item.name.removeprefix("test_").partition("[")
    words = [name.replace("_", " "), *parameters.rstrip("]").split("-")[1:]]
    _SEEN.setdefault(", ".join(words), []).extend(ROWS)
    ROWS.clear()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the table."""
    path = session.config.getoption("--fault-table")
    if path is not None and not session.testsfailed:
        path.write_text(HEAD + "".join(_line(fault, rows) for fault, rows in _SEEN.items() if rows))


def _line(fault: str, rows: list[Row]) -> str:
    failed = ["none" if not row.failed else ", ".join(f"{n} {name}" for name, n in row.failed.items()) for row in rows]
    cells = [
        fault,
        _merged([row.sent for row in rows]),
        _merged([row.succeeded for row in rows]),
        _merged(failed),
        _merged([row.executed for row in rows]),
        _merged([row.twice for row in rows]),
        _merged([row.most_at_once for row in rows]),
        _merged([row.share for row in rows]),
    ]
    return f"| {' | '.join(cells)} |\n"


def _merged(values: list[object] | list[int] | list[str]) -> str:
    texts = [str(value) for value in values]
    return texts[0] if len(set(texts)) == 1 else " / ".join(texts)

"""What the interoperability suite saw, as a pytest plugin: `-p tests.interop.seen --interop-matrix FILE` writes it."""

from __future__ import annotations

from pathlib import Path

import pytest

HEAD = """\
# Interoperability

What servers that others wrote did when asked, as seen by `tests/interop/` on asyncio, uvloop and trio (where they
differed, every answer is given). `make interop` runs the suite and writes this table. The jobs of
the row "at once" wait for each other inside the server, so that all of them are under way together.

"""
AFTER = """
As clients of the project's own server half (`fcgi_async.testing.Responder`), nginx and `cgi-fcgi` of libfcgi get right
answers to requests with and without bodies, nginx over kept connections (`tests/interop/test_clients.py`). A proxy that
records what passes sees up to 1000 requests in flight on one connection to those that multiplex, and never two to
PHP-FPM, with the same settings (`tests/interop/test_one_at_a_time.py`).
"""

_SEEN: dict[str, dict[str, list[str]]] = {}


def saw(server: str, what: str, value: object) -> None:
    """Write down what a server did."""
    values = _SEEN.setdefault(what, {}).setdefault(server, [])
    if str(value) not in values:
        values.append(str(value))


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option."""
    parser.addoption("--interop-matrix", metavar="FILE", type=Path, help="write what each server supports")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the matrix."""
    path = session.config.getoption("--interop-matrix")
    if path is None or session.testsfailed:
        return
    servers = list(dict.fromkeys(server for row in _SEEN.values() for server in row))
    lines = ["", *servers], ["---"] * (len(servers) + 1)
    rows = [[what, *(" / ".join(row.get(server, ["-"])) for server in servers)] for what, row in _SEEN.items()]
    path.write_text(HEAD + "".join(f"| {' | '.join(cells)} |\n" for cells in [*lines, *rows]) + AFTER)

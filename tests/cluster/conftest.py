"""What tests of clusters share: how often each fault is made."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option."""
    parser.addoption("--times", type=int, default=1, help="how often to make each fault of a cluster")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make a test with an argument `time` so many tests."""
    if "time" in metafunc.fixturenames:
        # a run of all tests does not know the option
        metafunc.parametrize("time", range(1, metafunc.config.getoption("--times", 1) + 1))

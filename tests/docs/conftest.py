"""The machine that the pages take for given, started once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from anyio.from_thread import BlockingPortal

from tests.docs import machine as machines


@pytest.fixture(scope="session")
def machine(fpm_portal: BlockingPortal) -> Iterator[machines.Machine]:
    """What stands in for the addresses and paths that pages name."""
    with machines.running(fpm_portal) as machine:
        yield machine

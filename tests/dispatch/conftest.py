"""Where the responders of these tests listen."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.responder import unix_address


@pytest.fixture
def address(tmp_path: Path) -> str:
    """A unix socket of the test's own."""
    return unix_address(tmp_path)

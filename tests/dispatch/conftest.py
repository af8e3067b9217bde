"""Where the responders of these tests listen."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.responder import unix_address


@pytest.fixture
def address(tmp_path: Path) -> str:
    """A unix socket of the test's own."""
    return unix_address(tmp_path)


@pytest.fixture
def known_as_fpm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Responders of the test's own process are taken for PHP-FPM: what they leave unread is a proof."""
    monkeypatch.setattr("fcgi_async.net.listener._is_php", lambda pid: True)

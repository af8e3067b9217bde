"""Where the responders of these tests listen."""

from __future__ import annotations

from pathlib import Path

import pytest

from fcgi_async.pool.manner import Fact
from fcgi_async.pool.peer import Peer
from tests.impatience import impatient
from tests.listening import unix_address

__all__ = ("impatient",)


@pytest.fixture
def address(tmp_path: Path) -> str:
    """A unix socket of the test's own."""
    return unix_address(tmp_path)


@pytest.fixture
def known_as_fpm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Responders of the test's own process are taken for PHP-FPM: what they leave unread is a proof."""
    monkeypatch.setattr("fcgi_async.net.listener._is_php", lambda pid: True)


@pytest.fixture
def never_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """A responder that reads only what it needs is not taken for PHP-FPM: its slots linger, however it goes on."""
    learn = Peer.learn

    def others(peer: Peer, fact: Fact) -> None:
        if fact is not Fact.TAIL_LEFT_UNREAD:
            learn(peer, fact)

    monkeypatch.setattr(Peer, "learn", others)

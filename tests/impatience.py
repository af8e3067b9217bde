"""Less patience with peers that do not answer, for tests which prove what comes after it, and not how long it lasts."""

from __future__ import annotations

import pytest

__all__ = ("impatient",)

# seconds; long enough that a peer in the same process answers in time on a busy machine
PATIENCE = 0.1


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection on which GET_VALUES is not answered is dialled again, or retired, after a tenth of a second."""
    monkeypatch.setattr("fcgi_async.pool.pool._ANSWER_WAIT_MIN", PATIENCE)
    monkeypatch.setattr("fcgi_async.pool.reading_on._ANSWER_SECONDS", PATIENCE)

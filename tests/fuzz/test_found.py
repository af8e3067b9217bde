"""What fuzzing has found: each input, as short as it could be made, and what it showed."""

from __future__ import annotations

import pytest

from tests.fuzz.run import TARGETS
from tests.wire import frames

FOUND = {
    "a request that is aborted among its parameters keeps them": (
        "server",
        frames.begin(1) + frames.params(1, frames.pair(b"QUERY_STRING", b"")) + frames.abort(1),
    ),
}


@pytest.mark.parametrize(("target", "data"), FOUND.values(), ids=FOUND.keys())
def test_found_input(target: str, data: bytes) -> None:
    """What was found once is right now."""
    drive, _ = TARGETS[target]
    assert drive(data)[0]

"""What the end of a connection proves, row by row."""

from __future__ import annotations

from itertools import product

import pytest

from fcgi_async.pool.proof import Ending, may_have_run

ROWS = list(product(Ending, (True, False), (True, False), (True, False)))


@pytest.mark.parametrize(("ending", "written", "responded", "leaves_unread"), ROWS)
def test_one_row_proves_that_php_did_not_start(
    ending: Ending, written: bool, responded: bool, leaves_unread: bool
) -> None:
    """Only a clean EOF, without a byte of response, to a request taken whole, by a peer that reads no further."""
    proven = (ending, written, responded, leaves_unread) == (Ending.EOF, True, False, True)
    ran = may_have_run(ending, written=written, responded=responded, leaves_unread=leaves_unread)
    assert ran is not proven

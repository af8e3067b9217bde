"""How a peer treats what stands behind a request: the table, and what of a real listener it is learned from."""

from __future__ import annotations

import pytest

from fcgi_async.pool.manner import MANNERS, Fact, Manner, learn

U, FPM, ANSWERS, TAILLESS = Manner.UNKNOWN, Manner.FPM, Manner.ANSWERS, Manner.TAILLESS

# drawn once more, so that a change of the table is noticed: columns in the order of Manner
EXPECTED: dict[Fact, tuple[Manner, Manner, Manner, Manner]] = {
    Fact.LISTENER_CHANGED: (U, U, U, U),
    Fact.LISTENER_IS_PHP: (FPM, FPM, FPM, FPM),
    Fact.TAIL_LEFT_UNREAD: (FPM, FPM, FPM, TAILLESS),
    Fact.TAIL_ANSWERED: (ANSWERS, FPM, ANSWERS, TAILLESS),
    Fact.TAIL_DROPPED: (TAILLESS, TAILLESS, TAILLESS, TAILLESS),
    Fact.TAIL_UNANSWERED: (U, FPM, U, TAILLESS),
}


@pytest.mark.parametrize("fact", Fact)
@pytest.mark.parametrize("manner", Manner)
def test_learn(manner: Manner, fact: Fact) -> None:
    """Each fact in each manner leads where the table says."""
    assert learn(manner, fact) is EXPECTED[fact][list(Manner).index(manner)]


def test_every_manner_has_a_row() -> None:
    """The table knows every manner."""
    assert set(MANNERS) == set(Manner)


@pytest.mark.parametrize("manner", [ANSWERS, TAILLESS, U])
def test_a_relay_never_becomes_fpm_by_its_answers(manner: Manner) -> None:
    """An answer, or its absence, is no sign that bytes behind a request stay unread."""
    for fact in (Fact.TAIL_ANSWERED, Fact.TAIL_DROPPED, Fact.TAIL_UNANSWERED, Fact.LISTENER_CHANGED):
        assert learn(manner, fact) is not FPM

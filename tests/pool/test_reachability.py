"""What an endpoint's silence means, with a clock that is a number."""

from __future__ import annotations

import errno
import socket

import pytest

from fcgi_async.errors import RemoteProtocolError
from fcgi_async.pool.advice import explain
from fcgi_async.pool.reachability import Reachability


def test_unknown_endpoint_is_given_up_at_once() -> None:
    """A peer that never answered fails its jobs with the first failed attempt."""
    reachability = Reachability(30.0)
    assert not reachability.away
    assert not reachability.given_up(0.0)
    reachability.failed(0.0)
    assert reachability.away
    assert reachability.given_up(0.0)


def test_known_endpoint_may_be_away_for_a_while() -> None:
    """A peer that has answered before is given up only after reconnect_timeout, counted from the first failure."""
    reachability = Reachability(30.0)
    reachability.answered()
    reachability.failed(100.0)
    assert not reachability.given_up(100.0)
    reachability.failed(120.0)
    assert not reachability.given_up(129.9)
    assert reachability.given_up(130.0)


def test_an_answer_ends_the_absence() -> None:
    """Absences do not add up: the next one counts from its own beginning."""
    reachability = Reachability(30.0)
    reachability.answered()
    reachability.failed(100.0)
    reachability.answered()
    assert not reachability.away
    assert not reachability.given_up(1000.0)
    reachability.failed(200.0)
    assert not reachability.given_up(229.0)
    assert reachability.given_up(230.0)


def test_no_patience_at_all() -> None:
    """With reconnect_timeout=0 a known peer is given up at once."""
    reachability = Reachability(0.0)
    reachability.answered()
    reachability.failed(5.0)
    assert reachability.given_up(5.0)


def test_attempts_back_off() -> None:
    """The wait between attempts doubles from 50 ms to a second, and begins anew after an answer."""
    reachability = Reachability(30.0)
    assert [reachability.failed(0.0) for _ in range(7)] == [0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
    reachability.answered()
    assert reachability.failed(0.0) == 0.05


def test_closed_before_the_answer() -> None:
    """An unknown peer that closes before it answers may be reloading: it is given up when that happens three times
    in a row.
    """
    reachability = Reachability(30.0)
    for _ in range(2):
        reachability.failed(0.0, closed=True)
        assert reachability.away
        assert not reachability.given_up(0.0)
    reachability.failed(0.0, closed=True)
    assert reachability.given_up(0.0)


def test_closes_in_a_row() -> None:
    """Closes with an answer between them are not in a row."""
    reachability = Reachability(30.0)
    for _ in range(2):
        reachability.failed(0.0, closed=True)
    reachability.answered()
    reachability.failed(0.0, closed=True)
    assert not reachability.given_up(0.0)


def test_two_early_closes_may_be_reloads() -> None:
    """A connection or two that close behind their GET_VALUES answer change nothing."""
    reachability = Reachability(30.0)
    reachability.closed_early(0.0)
    reachability.closed_early(0.0)
    assert not reachability.closes_after_values(0.0)


def test_three_early_closes_are_an_old_php() -> None:
    """Three in a row are remembered for a minute, in which a job comes before GET_VALUES; then it is tried again."""
    reachability = Reachability(30.0)
    assert [reachability.closed_early(now) for now in (9.0, 10.0, 10.5, 11.0)] == [False, False, True, False]
    assert reachability.closes_after_values(11.0)
    assert reachability.closes_after_values(70.9)
    assert not reachability.closes_after_values(71.0)


def test_served_request_clears_the_suspicion() -> None:
    """Early closes with a served request between them are not in a row."""
    reachability = Reachability(30.0)
    reachability.closed_early(0.0)
    reachability.closed_early(0.0)
    reachability.served()
    reachability.closed_early(1.0)
    assert not reachability.closes_after_values(1.0)


@pytest.mark.parametrize(
    ("cause", "advice"),
    [
        (OSError(errno.ENOENT, "No such file"), "`listen` in FPM's pool configuration"),
        (OSError(errno.ECONNREFUSED, "refused"), "nothing listens there"),
        (OSError(errno.EACCES, "denied"), "`listen.mode`"),
        (OSError(errno.EPERM, "denied"), "`listen.owner`"),
        (OSError(errno.ECONNRESET, "reset"), "`listen.allowed_clients`"),
        (None, "`listen.allowed_clients`"),
        (TimeoutError(), "the handshake took too long"),
        (OSError(errno.ETIMEDOUT, "timed out"), "the handshake took too long"),
        (OSError(errno.ENETUNREACH, "Network is unreachable"), "Network is unreachable"),
        (socket.gaierror(-2, "Name or service not known"), "Name or service not known"),
        (RemoteProtocolError("version 72 is not FastCGI"), "version 72 is not FastCGI"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else None,
)
def test_advice(cause: Exception | None, advice: str) -> None:
    """Every reason comes with what to look at, and with the address."""
    message = explain("unix:///run/php.sock", cause)
    assert message.startswith("cannot reach PHP-FPM at unix:///run/php.sock: ")
    assert advice in message

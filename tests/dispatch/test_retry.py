"""What may be tried again, and when."""

from __future__ import annotations

from typing import Any

import pytest

from fcgi_async.dispatch.retry import Retry
from fcgi_async.errors import (
    CannotMultiplex,
    ConfigurationError,
    ConnectError,
    ConnectionLost,
    DispatcherClosed,
    FastCGIError,
    JobCancelled,
    JobError,
    JobTimeout,
    Overloaded,
    QueueTimeout,
    RemoteProtocolError,
    ResponseTooLarge,
    UnknownRole,
)

CURABLE = [CannotMultiplex, ConnectError, ConnectionLost, Overloaded, RemoteProtocolError]
FINAL = [DispatcherClosed, JobCancelled, JobError, JobTimeout, QueueTimeout, ResponseTooLarge, UnknownRole]


@pytest.mark.parametrize("kind", CURABLE)
def test_what_did_not_run_is_tried_again(kind: type[FastCGIError]) -> None:
    """Where PHP certainly did not start the job it is tried until its deadline, idempotent or not."""
    for idempotent in (False, True):
        assert Retry().allows(kind("x"), may_have_run=False, idempotent=idempotent, attempts=1000)


@pytest.mark.parametrize("kind", CURABLE)
def test_what_may_have_run_is_tried_again_where_idempotent(kind: type[FastCGIError]) -> None:
    """What may have run is tried again only where that does no harm, and three times in all."""
    retry = Retry()
    assert not retry.allows(kind("x"), may_have_run=True, idempotent=False, attempts=1)
    assert [retry.allows(kind("x"), may_have_run=True, idempotent=True, attempts=n) for n in (1, 2, 3)] == [
        True,
        True,
        False,
    ]


@pytest.mark.parametrize("kind", FINAL)
def test_what_another_attempt_would_not_cure(kind: type[FastCGIError]) -> None:
    """A deadline, a cancellation, a refused role or a limit passed would be met again."""
    for may_have_run in (False, True):
        assert not Retry().allows(kind("x"), may_have_run=may_have_run, idempotent=True, attempts=1)


def test_attempts_can_be_bounded() -> None:
    """One attempt is no retry; a bound for the certain case does not concern the other."""
    retry = Retry(attempts=1, idempotent_attempts=2)
    assert not retry.allows(ConnectionLost("x"), may_have_run=False, idempotent=True, attempts=1)
    assert retry.allows(ConnectionLost("x"), may_have_run=True, idempotent=True, attempts=1)


def test_backoff() -> None:
    """The second attempt comes at once; then the wait doubles up to its maximum, less a random half."""
    retry = Retry(backoff=0.1, backoff_max=0.5)
    assert retry.delay(0) == retry.delay(1) == 0.0
    for attempts, longest in ((2, 0.1), (3, 0.2), (4, 0.4), (5, 0.5), (1000, 0.5)):
        delays = [retry.delay(attempts) for _ in range(50)]
        assert longest / 2 <= min(delays) <= max(delays) <= longest
        assert len(set(delays)) > 1


@pytest.mark.parametrize(
    "arguments",
    [{"attempts": 0}, {"idempotent_attempts": 0}, {"backoff": -1.0}, {"backoff": 2.0, "backoff_max": 1.0}],
    ids=str,
)
def test_out_of_range(arguments: dict[str, Any]) -> None:
    """A job is sent at least once, and waits are ordered."""
    with pytest.raises(ConfigurationError, match="Retry"):
        Retry(**arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"attempts": "3"}, r"Retry\(attempts\) must be a whole number, not '3'"),
        ({"attempts": 1.5}, r"Retry\(attempts\) must be a whole number, not 1.5"),
        ({"idempotent_attempts": None}, r"Retry\(idempotent_attempts\) must be a whole number, not None"),
        ({"backoff": "1"}, r"Retry\(backoff\) must be a number of seconds, not '1'"),
        ({"backoff_max": float("nan")}, r"Retry\(backoff_max\) must be a number of seconds, not nan"),
    ],
    ids=str,
)
def test_values_of_another_type(arguments: dict[str, Any], message: str) -> None:
    """What is no number is refused with its name."""
    with pytest.raises(ConfigurationError, match=message):
        Retry(**arguments)

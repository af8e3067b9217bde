"""Which jobs may be retried, and when."""

from __future__ import annotations

from random import uniform

import attrs

from fcgi_async.errors import (
    CannotMultiplex,
    ConfigurationError,
    ConnectError,
    ConnectionLost,
    FastCGIError,
    Overloaded,
    RemoteProtocolError,
)
from fcgi_async.job.numbers import is_duration, is_whole

__all__ = ("Retry",)


@attrs.frozen
class Retry:
    """How jobs are retried.

    Jobs that PHP certainly did not start are retried until their deadline; jobs that it may have started are retried
    only if they are idempotent.

    Args:
        attempts: most times that a job is sent if it certainly did not run; None: until its deadline.
        idempotent_attempts: most times that an idempotent job is sent if it may have run.
        backoff: seconds before the third attempt; the second comes at once, because usually all it needs is a new
            connection.
        backoff_max: most seconds to wait; the wait doubles up to this, and is shortened by a random amount of up to
            half.
    """

    attempts: int | None = None
    idempotent_attempts: int = 3
    backoff: float = 0.02
    backoff_max: float = 1.0

    def __attrs_post_init__(self) -> None:
        for name in ("attempts", "idempotent_attempts"):
            value: object = getattr(self, name)
            if not (is_whole(value) or (value is None and name == "attempts")):
                raise ConfigurationError(f"Retry({name}) must be a whole number, not {value!r}")
        for name in ("backoff", "backoff_max"):
            if not is_duration(getattr(self, name)):
                raise ConfigurationError(f"Retry({name}) must be a number of seconds, not {getattr(self, name)!r}")
        if (self.attempts is not None and self.attempts < 1) or self.idempotent_attempts < 1:
            raise ConfigurationError(
                f"Retry(attempts={self.attempts}, idempotent_attempts={self.idempotent_attempts}): "
                "each must be at least 1"
            )
        if self.backoff < 0 or self.backoff_max < self.backoff:
            raise ConfigurationError(
                f"Retry(backoff={self.backoff}, backoff_max={self.backoff_max}): give 0 <= backoff <= backoff_max"
            )

    def allows(self, error: FastCGIError, *, may_have_run: bool, idempotent: bool, attempts: int) -> bool:
        """Return whether a job that was sent `attempts` times and failed with `error` is sent again."""
        if not isinstance(error, ConnectionLost | ConnectError | Overloaded | CannotMultiplex | RemoteProtocolError):
            return False
        if may_have_run:
            return idempotent and attempts < self.idempotent_attempts
        return self.attempts is None or attempts < self.attempts

    def delay(self, attempts: int) -> float:
        """Return the seconds to wait before a job that was sent `attempts` times is sent again."""
        if attempts <= 1:
            return 0.0
        delay = min(self.backoff * 2.0 ** min(attempts - 2, 30), self.backoff_max)
        return uniform(delay / 2, delay)

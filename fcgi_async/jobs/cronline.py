"""Compute the times of cron lines, with cronsim."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

try:
    from cronsim import CronSim, CronSimError
except ImportError as error:
    raise ImportError(
        "schedules of durable jobs need cronsim: pip install 'fcgi-async[cron]'", name=error.name, path=error.path
    ) from error

from fcgi_async.errors import ConfigurationError

__all__ = ("simulate",)


def simulate(line: str, begin: datetime) -> Iterator[datetime]:
    """Return the times of a cron line after a moment, for 50 years; see `Cron` about daylight saving time.

    Raises:
        ConfigurationError: it is not a cron line.
    """
    if not isinstance(line, str):
        raise ConfigurationError(f"Cron(line) must be text, not {line!r}")
    try:
        return CronSim(line, begin)
    except CronSimError as error:
        raise ConfigurationError(
            f"Cron(line={line!r}): {error}; write minute, hour, day of month, month and day of week, as 15 3 * * *"
        ) from None

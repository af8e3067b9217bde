"""Cron: a schedule that puts jobs of a task."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import attrs

from fcgi_async.errors import ConfigurationError, InvalidJob
from fcgi_async.jobs.checks import check_name, check_number, to_json
from fcgi_async.jobs.record import NewJob
from fcgi_async.jobs.task import Task

__all__ = ("Cron", "Missed")

Missed = Literal["once", "skip", "all"]

# most missed times with missed="all"; the last ones count
_MOST_MISSED = 1000
_LONGEST_DATA = 1 << 20


@attrs.frozen
class Cron:
    """Puts a job of a task at the times of a cron line, once for each time, with any number of workers.

        nightly = Cron("nightly", "15 3 * * *", report, {"days": 1}, timezone="Europe/Berlin")

    Workers with this in `Worker(schedules=...)` put the jobs, by the database's clock. When clocks go forward, a
    skipped time runs right after the gap; when they go back, a time that comes twice runs the first time. An hourly
    line, or one of every few minutes, runs at every matching time on the clock. The schedule begins with the first
    worker that has it; it begins again if its line or time zone changes.

    Args:
        name: 1 to 100 letters, digits and `_ . : -`; two workers with the same name share its times.
        line: minute, hour, day of month, month and day of week, as in crontab(5); a sixth field in front has seconds.
        task: the task to put.
        data: the data for PHP, as JSON.
        timezone: the name of a time zone, such as "Europe/Berlin".
        missed: what happens to times at which no worker ran: "once" puts one job for all of them, "skip" none, "all"
            one for each, at most 1,000.
        grace: seconds; a time that is noticed within these is not missed.

    Raises:
        ConfigurationError: the line, time zone or another argument is not valid.
        InvalidJob: the data cannot be written as JSON.
        ImportError: the extra `cron` is not installed.
    """

    name: str
    line: str
    task: Task
    data: object = attrs.field(default=None, repr=False)
    timezone: str = attrs.field(default="UTC", kw_only=True)
    missed: Missed = attrs.field(default="once", kw_only=True)
    grace: float = attrs.field(default=60.0, kw_only=True)
    _zone: ZoneInfo = attrs.field(init=False, repr=False)
    _json: str = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        check_name("Cron(name)", self.name)
        check_number("Cron(grace)", self.grace, least=0)
        if not isinstance(self.task, Task):
            raise ConfigurationError(f"Cron(task) must be a Task(name, script), not {self.task!r}")
        if self.missed not in ("once", "skip", "all"):
            raise ConfigurationError(f'Cron(missed={self.missed!r}) must be "once", "skip" or "all"')
        try:
            object.__setattr__(self, "_zone", ZoneInfo(self.timezone))
        except (ZoneInfoNotFoundError, ValueError, TypeError, OSError) as error:
            raise ConfigurationError(
                f"Cron(timezone={self.timezone!r}) is not known here ({error}); write it as Europe/Berlin, or install "
                "tzdata"
            ) from None
        if self.next_after(datetime.now(tz=UTC).timestamp()) is None:
            raise ConfigurationError(f"Cron(line={self.line!r}) means no time of the next 50 years")
        text = to_json(f"the data of Cron {self.name!r}", self.data)
        if len(text) > _LONGEST_DATA:
            raise InvalidJob(f"the data of Cron {self.name!r} is longer than {_LONGEST_DATA} bytes of JSON")
        object.__setattr__(self, "_json", text)

    @property
    def definition(self) -> str:
        """The line and time zone; if they change, its times begin again."""
        return f"{' '.join(self.line.split())} {self.timezone}"

    def next_after(self, moment: float) -> int | None:
        """Return the first time after a moment, in seconds since 1970; None if there is none in 50 years."""
        return next(self._times(moment), None)

    def due(self, after: float, now: float) -> list[int]:
        """Return the times for which to put a job now, in order.

        Args:
            after: times up to this were put before; seconds since 1970.
            now: seconds since 1970.
        """
        found = self._passed(after, now)
        if self.missed == "skip":
            found = [time for time in found if now - time <= self.grace]
        # several times within one check are not missed ones
        keep = {"once": sum(now - time <= self.grace for time in found) or 1, "all": _MOST_MISSED}
        return found[-keep.get(self.missed, _MOST_MISSED) :]

    def job(self, time: int) -> NewJob:
        """Return the job of a time; its id is always the same, so that it is put only once."""
        stamp = datetime.fromtimestamp(time, UTC).strftime("%Y%m%dT%H%M%SZ")
        return NewJob(id=f"{self.name}:{stamp}", task=self.task.name, data=self._json, priority=self.task.priority)

    def _passed(self, after: float, now: float) -> list[int]:
        while True:
            found: list[int] = []
            for time in self._times(after):
                if time > now:
                    return found
                found.append(time)
                if len(found) > 2 * _MOST_MISSED:
                    break
            else:
                return found
            # only the last ones are needed, and there may be millions
            after += (now - after) / 2

    def _times(self, after: float) -> Iterator[int]:
        # local times come twice when clocks go back
        last = after
        for time in self._simulate(after):
            if time > last:
                last = time
                yield time

    def _simulate(self, after: float) -> Iterator[int]:
        begin = datetime.fromtimestamp(int(after), UTC if self.timezone == "UTC" else self._zone)
        # imported only if there is a schedule: cronsim is an extra
        from fcgi_async.jobs.cronline import simulate

        for time in simulate(self.line, begin):
            yield int(time.timestamp())

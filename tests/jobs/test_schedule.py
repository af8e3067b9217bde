"""Times of cron lines, without a database."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from fcgi_async import ConfigurationError, InvalidJob
from fcgi_async.jobs import Cron
from tests.jobs.test_worker import task

MAIL = task("mail")


def at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def cron(line: str = "15 3 * * *", **settings: object) -> Cron:
    return Cron("nightly", line, MAIL, **settings)  # type: ignore[arg-type]


def due(schedule: Cron, after: str, now: str) -> list[str]:
    """The times for which a job is put, in UTC."""
    return [datetime.fromtimestamp(time, UTC).strftime("%m-%d %H:%M:%S") for time in schedule.due(at(after), at(now))]


def test_a_time_is_put_when_it_has_come() -> None:
    nightly = cron()
    assert due(nightly, "2026-01-01T03:00Z", "2026-01-01T03:14:59Z") == []
    assert due(nightly, "2026-01-01T03:00Z", "2026-01-01T03:15Z") == ["01-01 03:15:00"]
    assert due(nightly, "2026-01-01T03:15Z", "2026-01-01T03:15:01Z") == []


@pytest.mark.parametrize(
    ("missed", "found"),
    [("once", ["01-04 03:15:00"]), ("skip", []), ("all", [f"01-0{day} 03:15:00" for day in (1, 2, 3, 4)])],
)
def test_missed_times(missed: str, found: list[str]) -> None:
    assert due(cron(missed=missed), "2026-01-01T00:00Z", "2026-01-04T12:00Z") == found


@pytest.mark.parametrize("missed", ["once", "skip"])
def test_a_time_that_is_noticed_within_the_grace_is_not_missed(missed: str) -> None:
    """Those before are: one job stands for all of them, or none for those."""
    assert due(cron(missed=missed), "2026-01-01T00:00Z", "2026-01-04T03:15:59Z") == ["01-04 03:15:00"]
    assert due(cron(missed=missed, grace=10), "2026-01-03T12:00Z", "2026-01-04T03:15:59Z") == (
        ["01-04 03:15:00"] if missed == "once" else []
    )


def test_times_of_seconds_within_one_look_are_all_put() -> None:
    schedule = cron("*/5 * * * * *")
    assert len(due(schedule, "2026-01-01T00:00Z", "2026-01-01T00:00:10Z")) == 2


def test_a_long_time_away_costs_little() -> None:
    """Some 200 million times were missed: the last thousand at most are put, and they are the last."""
    schedule = cron("* * * * * *", missed="all")
    found = schedule.due(at("2020-01-01T00:00Z"), at("2026-01-01T00:00Z"))
    assert len(found) == 1000
    assert found[-1] == at("2026-01-01T00:00Z")
    assert cron("* * * * *").due(at("2020-01-01T00:00Z"), at("2026-01-01T00:00Z"))[-1] == found[-1]


def test_a_time_zone_is_respected() -> None:
    """In Berlin it is an hour later in winter, and two in summer."""
    berlin = cron(timezone="Europe/Berlin", missed="all")
    assert due(berlin, "2026-01-01T00:00Z", "2026-01-01T12:00Z") == ["01-01 02:15:00"]
    assert due(berlin, "2026-07-01T00:00Z", "2026-07-01T12:00Z") == ["07-01 01:15:00"]


def test_a_time_skipped_by_summer_time_runs_after_the_gap() -> None:
    """On 29 March 2026, 02:00 to 03:00 is no time in Berlin."""
    berlin = cron("30 2 * * *", timezone="Europe/Berlin", missed="all")
    assert due(berlin, "2026-03-28T00:00Z", "2026-03-30T12:00Z") == [
        "03-28 01:30:00",
        "03-29 01:00:00",
        "03-30 00:30:00",
    ]


def test_a_time_that_comes_twice_runs_once() -> None:
    """On 25 October 2026, 02:00 to 03:00 comes twice in Berlin."""
    berlin = cron("30 2 * * *", timezone="Europe/Berlin", missed="all")
    expected = ["10-24 00:30:00", "10-25 00:30:00", "10-26 01:30:00"]
    assert due(berlin, "2026-10-24T00:00Z", "2026-10-26T12:00Z") == expected
    # whenever somebody looks
    assert due(berlin, "2026-10-25T00:30Z", "2026-10-25T12:00Z") == []
    assert due(berlin, "2026-10-25T00:45Z", "2026-10-25T01:59Z") == []


@pytest.mark.parametrize("day", ["2026-03-29", "2026-10-25"])
def test_a_line_of_every_quarter_runs_through_all_of_it(day: str) -> None:
    """However often it is looked, and between any two looks: each quarter once."""
    schedule = cron("*/15 * * * *", timezone="Europe/Berlin", missed="all")
    begin, end = at(f"{day}T00:00Z"), at(f"{day}T06:00Z")
    whole = schedule.due(begin, end)
    assert whole == [int(begin) + 900 * number for number in range(1, 25)]
    parts: list[int] = []
    for minute in range(0, 360, 7):
        parts += schedule.due(begin + minute * 60, min(begin + (minute + 7) * 60, end))
    assert parts == whole


@pytest.mark.parametrize("line", ["30 2 * * *", "0 2 * * *", "5,35 1-3 * * *", "0 */2 * * *"])
@pytest.mark.parametrize("day", ["2026-03-29", "2026-10-25"])
def test_times_do_not_depend_on_when_they_are_computed(line: str, day: str) -> None:
    schedule = cron(line, timezone="Europe/Berlin", missed="all")
    begin = at(f"{day}T00:00Z") - 6 * 3600
    parts: list[int] = []
    for minute in range(0, 18 * 60, 7):
        parts += schedule.due(begin + minute * 60, begin + (minute + 7) * 60)
    assert parts == schedule.due(begin, begin + 155 * 7 * 60)
    assert len(parts) == len(set(parts))


def test_the_id_of_a_time_is_always_the_same() -> None:
    job = cron(data={"to": "ops"}).job(int(at("2026-01-01T03:15Z")))
    assert (job.id, job.task, job.data) == ("nightly:20260101T031500Z", "mail", '{"to":"ops"}')


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"line": "15 3 * *"}, "Wrong number of fields; write minute, hour"),
        ({"line": "61 3 * * *"}, "Bad minute"),
        ({"line": 5}, "must be text"),
        ({"timezone": "Europe/Nowhere"}, "is not known here"),
        ({"timezone": "../../etc/passwd"}, "is not known here"),
        ({"missed": "maybe"}, '"once", "skip" or "all"'),
        ({"grace": -1}, "grace"),
        ({"name": "a b"}, "letters, digits"),
        ({"task": "mail"}, "must be a Task"),
    ],
)
def test_wrong_arguments_of_a_schedule_are_refused(settings: dict[str, object], what: str) -> None:
    with pytest.raises(ConfigurationError, match=what):
        Cron(**{"name": "n", "line": "15 3 * * *", "task": MAIL, **settings})  # type: ignore[arg-type]


def test_data_that_is_not_json_is_refused() -> None:
    with pytest.raises(InvalidJob, match="cannot be written as JSON"):
        cron(data={1, 2})
    with pytest.raises(InvalidJob, match="longer than"):
        cron(data="x" * (1 << 21))

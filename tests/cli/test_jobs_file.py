"""`fcgi-async jobs` on an SQLite file that is not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import RunCommand

ONE = [
    ("list",),
    ("show", "a"),
    ("retry", "a"),
    ("cancel", "a"),
    ("purge", "a"),
    ("pause", "mail"),
    ("resume", "mail"),
    ("counts",),
    ("check",),
    ("web",),
]


@pytest.mark.parametrize("action", ONE, ids=lambda action: action[0])
def test_a_mistyped_file_is_not_made(command: RunCommand, tmp_path: Path, action: tuple[str, ...]) -> None:
    """What looks at jobs, or changes some, says that there is no such file, and makes none."""
    path = tmp_path / "jbos.db"
    result = command("jobs", *action, "--jobs", f"sqlite://{path}")
    assert (result.code, result.out, path.exists()) == (2, b"", False)
    result.assert_one_line()
    assert f"there is no file {path}; `fcgi-async jobs migrate`" in result.err


@pytest.mark.parametrize("action", [("enqueue", "mail"), ("migrate",)], ids=lambda action: action[0])
def test_the_first_job_makes_the_file(command: RunCommand, tmp_path: Path, action: tuple[str, ...]) -> None:
    """Putting a job, or making the tables, makes the file."""
    path = tmp_path / "jobs.db"
    result = command("jobs", *action, "--jobs", f"sqlite://{path}")
    assert (result.code, result.err, path.exists()) == (0, "", True)


def test_three_slashes_are_an_absolute_path(
    command: RunCommand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLAlchemy reads three slashes as a relative path: the line says how one is written here, and that works."""
    monkeypatch.chdir(tmp_path)
    assert command("jobs", "migrate", "--jobs", "sqlite:jobs-here.db").code == 0
    result = command("jobs", "list", "--jobs", "sqlite:///jobs-here.db")
    assert result.code == 2
    assert "there is no file /jobs-here.db" in result.err
    assert result.err.endswith("three slashes begin an absolute path: write sqlite:jobs-here.db for ./jobs-here.db\n")


def test_a_relative_path_as_an_absolute_one_in_no_folder(
    command: RunCommand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the file cannot be made because its folder is missing, the line says so, and how ./data/jobs.db is written."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data-here").mkdir()
    (tmp_path / "data-here" / "jobs.db").touch()
    result = command("jobs", "migrate", "--jobs", "sqlite:///data-here/jobs.db")
    assert result.code == 1
    assert "/data-here/jobs.db: unable to open database file; its folder must be there" in result.err
    assert result.err.endswith("write sqlite:data-here/jobs.db for ./data-here/jobs.db\n")

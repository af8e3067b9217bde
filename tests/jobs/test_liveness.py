"""The files that say which workers of a machine live, and what they have not begun."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fcgi_async.jobs.liveness import WorkerFile, lost_workers


def die(file: WorkerFile) -> None:
    """End the worker as the kernel does at the end of its process: the file stays, and its lock is gone."""
    os.close(file._fd)


def test_a_living_worker_is_recognized(tmp_path: Path) -> None:
    file = WorkerFile(tmp_path, "w")
    with lost_workers(tmp_path) as found:
        assert found == {"w": None}
    file.close()
    with lost_workers(tmp_path) as found:
        assert found == {}


def test_the_unstarted_jobs_of_a_lost_worker_are_known(tmp_path: Path) -> None:
    """Once: then its file is gone."""
    file = WorkerFile(tmp_path, "w")
    file.add([1, 2, 3])
    file.remove(2)
    file.add([4, 1])
    file.remove(1)
    file.remove(99)
    die(file)
    with lost_workers(tmp_path) as found:
        assert found == {"w": frozenset({3, 4})}
    assert list(tmp_path.iterdir()) == []


def test_after_a_reboot_no_job_counts_as_unstarted(tmp_path: Path) -> None:
    file = WorkerFile(tmp_path, "w")
    file.add([1])
    os.pwrite(file._fd, b"another boot" + b" " * 24, 0)
    die(file)
    with lost_workers(tmp_path) as found:
        assert found == {"w": frozenset()}


def test_an_undecided_check_keeps_the_file(tmp_path: Path) -> None:
    die(WorkerFile(tmp_path, "w"))
    with pytest.raises(ValueError, match="no"):
        with lost_workers(tmp_path) as found:
            raise ValueError("no")
    with lost_workers(tmp_path) as found:
        assert found == {"w": frozenset()}


def test_only_one_of_two_checks_decides(tmp_path: Path) -> None:
    die(WorkerFile(tmp_path, "w"))
    with lost_workers(tmp_path) as first, lost_workers(tmp_path) as second:
        assert (first, second) == ({"w": frozenset()}, {"w": None})


def test_many_slots_are_reused(tmp_path: Path) -> None:
    """The file stays as long as what is claimed at once."""
    file = WorkerFile(tmp_path, "w")
    for number in range(1, 5000):
        file.add([number])
        file.remove(number)
    assert (tmp_path / "w.worker").stat().st_size == 64 + 8
    file.close()

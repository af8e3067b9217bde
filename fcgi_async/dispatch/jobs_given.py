"""Check what a caller passes as a job, or as several."""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable, Iterator

from fcgi_async.errors import InvalidJob
from fcgi_async.job.job import Job
from fcgi_async.job.tag import Tag

__all__ = ("Jobs", "iterate", "not_a_job")

Jobs = Iterable[Job[Tag]] | AsyncIterable[Job[Tag]]


def not_a_job(given: object) -> InvalidJob:
    """Return the error for an argument that should be a job and is not."""
    several = "; run_all() and map() take several" if isinstance(given, list | tuple) else ""
    return InvalidJob(f'a job must be a Job, not {type(given).__name__}; write Job("/path/of/script.php"){several}')


def iterate(jobs: Iterable[Job[Tag]]) -> Iterator[Job[Tag]]:
    """Return an iterator over jobs.

    Raises:
        InvalidJob: it is a single job.
    """
    if isinstance(jobs, Job):
        raise InvalidJob("run_all() and map() take an iterable of Jobs, not one Job; use run() for one", job=jobs)
    return iter(jobs)

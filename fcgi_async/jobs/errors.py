"""The errors of durable jobs.

JobsError (FastCGIError)
 +- StoreError                   the database, not the job, is at fault
 |   +- StoreUnavailable         it cannot be reached, opened or written to; tells whether a job may be stored
 |   +- StoreFull                there is no room for what was to be written; nothing of it was
 |   +- StoreRefused             it cannot hold a value that was to be written; nothing was
 |   +- StoreCorrupt             what is in the file is not what SQLite wrote
 |   +- SchemaMismatch           the tables are of a newer version, or not ours
 +- PayloadTooLarge              the data is longer than `Jobs(payload_limit=...)`; nothing was stored
 +- DuplicateJob                 another job holds the unique key; nothing was stored
 +- BatchClosed                  nothing can be added to the batch any more; nothing was stored
 +- UnknownTask                  the task's name is not known here
 +- UnknownJob                   no job of that id is in the database (any more)
 +- UnknownBatch                 no batch of that id is in the database (any more)
 +- JobUnsuccessful              the job whose result was requested is dead, cancelled or in doubt
 +- ResultNotKept                the job is done, and its response was not stored
 +- ResultTimeout (TimeoutError) the job was not done in time; it continues
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fcgi_async.errors import FastCGIError

if TYPE_CHECKING:
    from fcgi_async.jobs.record import Record

__all__ = (
    "BatchClosed",
    "DuplicateJob",
    "JobUnsuccessful",
    "JobsError",
    "PayloadTooLarge",
    "ResultNotKept",
    "ResultTimeout",
    "SchemaMismatch",
    "StoreCorrupt",
    "StoreError",
    "StoreFull",
    "StoreRefused",
    "StoreUnavailable",
    "UnknownBatch",
    "UnknownJob",
    "UnknownTask",
)


class JobsError(FastCGIError):
    """The base of the errors of `fcgi_async.jobs`."""


class StoreError(JobsError):
    """The database is at fault.

    Attributes:
        may_be_stored: whether the data may be in the database nevertheless; False is a promise that it is not. In both
            cases the call may be repeated with the same `id`.
    """

    def __init__(self, message: str, *, may_be_stored: bool = False) -> None:
        super().__init__(message)
        self.may_be_stored = may_be_stored


class StoreUnavailable(StoreError):
    """The database cannot be reached, opened or written to; trying again later may help."""


class StoreFull(StoreError):
    """The disk or the database is full; nothing was stored. It works again when there is room."""


class StoreRefused(StoreError):
    """The database cannot hold a value, such as text that its encoding lacks; nothing was stored."""


class StoreCorrupt(StoreError):
    """The file is not a database, or is damaged; restore it from a backup."""


class SchemaMismatch(StoreError):
    """The tables have a version that this release does not know."""


class PayloadTooLarge(JobsError):
    """The data of a job is longer than the limit; store it elsewhere and put its name into the data."""


class DuplicateJob(JobsError):
    """Another job holds the unique key; nothing was stored.

    Attributes:
        unique: the key.
        id: the id of the job that holds it, or "" if it no longer does.
    """

    def __init__(self, message: str, *, unique: str, id: str) -> None:
        super().__init__(message)
        self.unique = unique
        self.id = id


class BatchClosed(JobsError):
    """Nothing can be added to the batch: it was left or abandoned, or does not exist; nothing was stored."""


class UnknownTask(JobsError):
    """No task of that name is known here."""


class UnknownJob(JobsError):
    """No job of that id is in the database; done jobs are deleted after a time."""


class UnknownBatch(JobsError):
    """No batch of that id is in the database; ended batches are deleted after a time."""


class JobUnsuccessful(JobsError):
    """The job whose result was requested is dead, cancelled or in doubt.

    Attributes:
        record: its record: state, attempts, error, stderr.
    """

    def __init__(self, message: str, *, record: Record) -> None:
        super().__init__(message)
        self.record = record
        self.may_have_run = record.state != "cancelled" or record.failed > 0


class ResultNotKept(JobsError):
    """The job is done, but its response was not stored: its task has no `keep_result`, or it was too long."""

    may_have_run = True


class ResultTimeout(JobsError, TimeoutError):
    """The job was not done in time; it continues."""

"""Durable jobs: jobs that are kept in a database until they are done.

The database is an SQLite file, for workers on one machine, or PostgreSQL, MariaDB or MySQL, for workers on any number.
"""

from fcgi_async.jobs.backoff import Backoff
from fcgi_async.jobs.batches import Batch
from fcgi_async.jobs.chains import Chain
from fcgi_async.jobs.client import Jobs
from fcgi_async.jobs.databases import Databases
from fcgi_async.jobs.errors import (
    BatchClosed,
    DuplicateJob,
    JobsError,
    JobUnsuccessful,
    PayloadTooLarge,
    ResultNotKept,
    ResultTimeout,
    SchemaMismatch,
    StoreCorrupt,
    StoreError,
    StoreFull,
    StoreRefused,
    StoreUnavailable,
    UnknownBatch,
    UnknownJob,
    UnknownTask,
)
from fcgi_async.jobs.handle import JobHandle
from fcgi_async.jobs.intake.intake import Intake
from fcgi_async.jobs.observer import AttemptObservation, WorkerObserver, WorkerStatistics
from fcgi_async.jobs.record import BatchRecord, Counts, Record, State, StoredResponse, WorkerRecord
from fcgi_async.jobs.schedule import Cron
from fcgi_async.jobs.task import Rate, Task
from fcgi_async.jobs.worker import Worker

__all__ = (
    "AttemptObservation",
    "Backoff",
    "Batch",
    "BatchClosed",
    "BatchRecord",
    "Chain",
    "Counts",
    "Cron",
    "Databases",
    "DuplicateJob",
    "Intake",
    "JobHandle",
    "JobUnsuccessful",
    "Jobs",
    "JobsError",
    "PayloadTooLarge",
    "Rate",
    "Record",
    "ResultNotKept",
    "ResultTimeout",
    "SchemaMismatch",
    "State",
    "StoreCorrupt",
    "StoreError",
    "StoreFull",
    "StoreRefused",
    "StoreUnavailable",
    "StoredResponse",
    "Task",
    "UnknownBatch",
    "UnknownJob",
    "UnknownTask",
    "Worker",
    "WorkerObserver",
    "WorkerRecord",
    "WorkerStatistics",
)

"""Durable jobs: jobs that are kept in a database until they are done."""

from fcgi_async.jobs.backoff import Backoff
from fcgi_async.jobs.client import Jobs
from fcgi_async.jobs.errors import (
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
    StoreUnavailable,
    UnknownJob,
    UnknownTask,
)
from fcgi_async.jobs.handle import JobHandle
from fcgi_async.jobs.record import Counts, Record, State, StoredResponse, WorkerRecord
from fcgi_async.jobs.task import Rate, Task
from fcgi_async.jobs.worker import Worker

__all__ = (
    "Backoff",
    "Counts",
    "DuplicateJob",
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
    "StoreUnavailable",
    "StoredResponse",
    "Task",
    "UnknownJob",
    "UnknownTask",
    "Worker",
    "WorkerRecord",
)

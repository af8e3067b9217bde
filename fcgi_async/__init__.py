"""Run PHP jobs on PHP-FPM, many at once, and await their results, on asyncio and trio."""

from fcgi_async.dispatch.dispatcher import Dispatcher
from fcgi_async.dispatch.group import JobGroup
from fcgi_async.dispatch.handle import JobHandle, Outcome
from fcgi_async.dispatch.held_slot import HeldSlot
from fcgi_async.dispatch.observer import JobObservation, JobReport, Observer
from fcgi_async.dispatch.php_function import PHPFunction
from fcgi_async.dispatch.retry import Retry
from fcgi_async.dispatch.statistics import Statistics
from fcgi_async.dispatch.stream import ResponseStream
from fcgi_async.dispatch.view import View
from fcgi_async.errors import (
    CallError,
    CallRefused,
    CannotMultiplex,
    ConfigurationError,
    ConnectError,
    ConnectionLost,
    ContentEncodingError,
    DispatcherClosed,
    DispatchError,
    FastCGIError,
    InvalidJob,
    JobCancelled,
    JobError,
    JobFailed,
    JobNotDone,
    JobTimeout,
    LocalProtocolError,
    Overloaded,
    PHPError,
    PHPExited,
    PHPFatalError,
    ProtocolError,
    QueueFull,
    QueueTimeout,
    RemoteProtocolError,
    RequestRejected,
    ResponseTooLarge,
    ResponseTruncated,
    StatusUnavailable,
    StreamBusy,
    TransportError,
    UnknownRole,
)
from fcgi_async.fpm.config import PoolConfig, read_pool_config
from fcgi_async.fpm.local import LocalFPM
from fcgi_async.fpm.status import PoolStatus, ProcessState, ProcessStatus, StatusPage
from fcgi_async.job.job import Job
from fcgi_async.job.response import Headers, Response, Timing
from fcgi_async.job.settings import UNSET, Limits, Timeouts
from fcgi_async.pool.endpoint import Endpoint, KeepAlive
from fcgi_async.wire.spec import Role

__version__ = "0.1.0"

__all__ = (
    "UNSET",
    "CallError",
    "CallRefused",
    "CannotMultiplex",
    "ConfigurationError",
    "ConnectError",
    "ConnectionLost",
    "ContentEncodingError",
    "DispatchError",
    "Dispatcher",
    "DispatcherClosed",
    "Endpoint",
    "FastCGIError",
    "Headers",
    "HeldSlot",
    "InvalidJob",
    "Job",
    "JobCancelled",
    "JobError",
    "JobFailed",
    "JobGroup",
    "JobHandle",
    "JobNotDone",
    "JobObservation",
    "JobReport",
    "JobTimeout",
    "KeepAlive",
    "Limits",
    "LocalFPM",
    "LocalProtocolError",
    "Observer",
    "Outcome",
    "Overloaded",
    "PHPError",
    "PHPExited",
    "PHPFatalError",
    "PHPFunction",
    "PoolConfig",
    "PoolStatus",
    "ProcessState",
    "ProcessStatus",
    "ProtocolError",
    "QueueFull",
    "QueueTimeout",
    "RemoteProtocolError",
    "RequestRejected",
    "Response",
    "ResponseStream",
    "ResponseTooLarge",
    "ResponseTruncated",
    "Retry",
    "Role",
    "Statistics",
    "StatusPage",
    "StatusUnavailable",
    "StreamBusy",
    "Timeouts",
    "Timing",
    "TransportError",
    "UnknownRole",
    "View",
    "read_pool_config",
)

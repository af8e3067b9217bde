"""What OpenTelemetry's spans and metrics say of a job, in the words of its conventions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fcgi_async.dispatch.observer import JobReport
from fcgi_async.job.job import Job
from fcgi_async.net.address import AddressFamily
from fcgi_async.pool.endpoint import Endpoint

if TYPE_CHECKING:
    from opentelemetry.util.types import AttributeValue

__all__ = ("METHODS", "Attributes", "of_job", "of_report", "of_server")

Attributes = dict[str, "AttributeValue"]

# methods in the OpenTelemetry conventions; arbitrary ones would create unbounded time series
METHODS: Final = frozenset({"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"})


def of_server(endpoint: Endpoint) -> Attributes:
    """Return the attributes of an endpoint's address."""
    address = endpoint.address
    if address.family is AddressFamily.TCP:
        return {"server.address": address.host, "server.port": address.port, "network.transport": "tcp"}
    path = f"@{address.path}" if address.family is AddressFamily.ABSTRACT else address.path
    return {"server.address": path, "network.transport": "unix"}


def of_job(job: Job) -> Attributes:
    """Return the attributes that only spans have: the same for all jobs, or different for each."""
    found: Attributes = {"network.protocol.name": "fastcgi"}
    if job.tag is not None:
        found["fcgi.job.tag"] = str(job.tag)
    if job.method is not None and job.method not in METHODS:
        found["http.request.method_original"] = job.method
    if job.uri is not None:
        found["url.path"] = job.uri.partition("?")[0]
    return found


def of_report(report: JobReport) -> Attributes:
    """Return the attributes that only spans have of a job's end."""
    found: Attributes = {}
    if report.attempts > 1:
        found["http.request.resend_count"] = report.attempts - 1
    if report.error is not None:
        found["fcgi.job.may_have_run"] = report.error.may_have_run
    if report.response is not None and report.response.app_status:
        found["fcgi.app_status"] = report.response.app_status
    return found

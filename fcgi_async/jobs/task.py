"""Task: what a durable job runs. A record in the database names a task, never a file."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote

import attrs

from fcgi_async.errors import ConfigurationError, InvalidJob
from fcgi_async.job.job import Job
from fcgi_async.job.settings import UNSET
from fcgi_async.jobs.backoff import Backoff
from fcgi_async.jobs.checks import check_name, check_number, check_whole
from fcgi_async.jobs.shown import shown

if TYPE_CHECKING:
    from fcgi_async.jobs.record import Claimed

__all__ = ("OnDoubt", "Rate", "Task", "priority_of")

OnDoubt = Literal["hold", "retry", "dead"]

_LARGEST_PRIORITY = 2**31 - 1

# W3C trace context: a client with INSERT must not choose a header
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


@attrs.frozen
class Rate:
    """How many jobs of a task may start in a period, over all workers.

    Args:
        count: number of jobs, 1 or more.
        per: seconds of the period, more than 0.

    Raises:
        ConfigurationError: an argument is out of its range.
    """

    count: int
    per: float = attrs.field(default=1.0, kw_only=True)

    def __attrs_post_init__(self) -> None:
        check_whole("Rate(count)", self.count, least=1)
        check_number("Rate(per)", self.per, least=0.001)


@attrs.frozen(kw_only=True)
class Task:
    """A kind of job, shared by the program that enqueues and the worker.

        mail = Task("mail", "public/index.php", uri="/_jobs/mail", idempotent=True, attempts=8)

    PHP gets the data as a JSON body by POST, the job's id and attempt as `$_SERVER["FCGI_JOB_ID"]` and
    `$_SERVER["FCGI_JOB_ATTEMPT"]`, and the id also in its query string.

    Args:
        name: its name in records: 1 to 100 letters, digits and `_ . : -`.
        script: the file to run, as for `Job`.
        uri: the request target for a front controller, as for `Job`.
        queue: the queue of its jobs, which has a weight in a worker and can be paused.
        idempotent: whether running a job twice does no harm; if so, a job that may have run is retried.
        run_timeout: seconds from the start of an attempt to its response; None for the dispatcher's limit only.
        attempts: most attempts before a job is dead, 1 or more. Attempts that PHP certainly did not start do not count.
        backoff: how long to wait between attempts.
        rate: how many may start in a period, over all workers.
        running: most jobs that may run at once, over all workers.
        keep_result: seconds for which the response is stored after the job is done; None to store none.
        result_limit: most bytes of a response's body that are stored; a longer body is not stored at all.
        on_doubt: what happens to a job that may have run and is not idempotent: "hold" leaves it in_doubt for a person
            to decide, "retry" retries it, "dead" gives it up.
        priority: the default priority of its jobs; higher runs first.
        success_mark: text that must end the body, as for `Job`.
        headers: request headers, as for `Job`.
        params: FastCGI parameters, as for `Job`.
        mark_query: whether the query string has `fcgi_job=ID`, percent-encoded; with it, FPM's status page can show
            what happened to a job whose worker died.

    Raises:
        ConfigurationError: a setting is out of its range.
        InvalidJob: the script, uri, headers or params could never be sent.
    """

    name: str = attrs.field(kw_only=False)
    script: str = attrs.field(kw_only=False, converter=str)
    uri: str | None = None
    queue: str = "default"
    idempotent: bool = False
    run_timeout: float | None = None
    attempts: int = 5
    backoff: Backoff = attrs.field(factory=Backoff)
    rate: Rate | None = None
    running: int | None = None
    keep_result: float | None = None
    result_limit: int = 1 << 20
    on_doubt: OnDoubt = "hold"
    priority: int = 0
    success_mark: str | None = None
    headers: Mapping[str, str] | None = attrs.field(default=None, repr=False)
    params: Mapping[str, str] | None = attrs.field(default=None, repr=False)
    mark_query: bool = True
    # the part that all of its jobs share
    _headers: Mapping[str, str] = attrs.field(init=False, repr=False, eq=False)

    def __attrs_post_init__(self) -> None:
        check_name("Task(name)", self.name)
        check_name("Task(queue)", self.queue)
        check_number("Task(run_timeout)", self.run_timeout, least=0.001, optional=True)
        check_whole("Task(attempts)", self.attempts, least=1)
        check_whole("Task(running)", self.running, least=1, optional=True)
        check_number("Task(keep_result)", self.keep_result, least=0, optional=True)
        check_whole("Task(result_limit)", self.result_limit, least=0)
        check_whole("Task(priority)", self.priority, least=-(1 << 31))
        for name in ("idempotent", "mark_query"):
            if not isinstance(getattr(self, name), bool):
                raise ConfigurationError(f"Task({name}={getattr(self, name)!r}) must be True or False")
        if self.on_doubt not in ("hold", "retry", "dead"):
            raise ConfigurationError(f'Task(on_doubt={self.on_doubt!r}) must be "hold", "retry" or "dead"')
        object.__setattr__(self, "_headers", {"Content-Type": "application/json", **(self.headers or {})})
        self._job("0", 1, "null", None, None)

    @property
    def on_loss(self) -> Literal["again", "hold", "dead"]:
        """What happens to a job that may have run; it is stored when the job is claimed."""
        if self.idempotent or self.on_doubt == "retry":
            return "again"
        return self.on_doubt

    def job(self, claimed: Claimed, params: Mapping[str, str] | None = None) -> Job[str]:
        """Return the job that runs a record of this task.

        Args:
            claimed: the record.
            params: FastCGI parameters that tell PHP the database.

        Raises:
            InvalidJob: the record's data is not JSON.
        """
        try:
            json.loads(claimed.data)
        except (ValueError, RecursionError) as error:
            raise InvalidJob(f"the data of job {claimed.id!r} is not JSON: {error}; put it again as JSON") from None
        return self._job(claimed.id, claimed.attempt, claimed.data, claimed.trace, params)

    def _job(self, id: str, attempt: int, data: str, trace: str | None, params: Mapping[str, str] | None) -> Job[str]:
        # a client with INSERT may have chosen any id, and must not choose parameters
        mark = f"fcgi_job={quote(id, safe=':')}" if self.mark_query else ""
        uri, query = self.uri, None
        if uri is None:
            query = mark or None
        elif mark:
            uri = f"{uri}{'&' if '?' in uri else '?'}{mark}"
        headers = self._headers
        if trace is not None and _TRACEPARENT.fullmatch(trace):
            headers = {**headers, "Traceparent": trace}
        own = {"FCGI_JOB_ID": id, "FCGI_JOB_ATTEMPT": str(attempt), "FCGI_JOB_TASK": self.name}
        return Job(
            self.script,
            uri=uri,
            query=query,
            content=data.encode("utf-8", "surrogatepass"),
            headers=headers,
            params={**(self.params or {}), **(params or {}), **own},
            run_timeout=UNSET if self.run_timeout is None else self.run_timeout,
            success_mark=self.success_mark,
            method="POST",
            tag=shown(id),
        )


def priority_of(task: Task, given: int | None = None) -> int:
    """Return the priority of a job of a task: that which is given, else the task's.

    Raises:
        ConfigurationError: it is no task, or the priority is out of its range.
    """
    if not isinstance(task, Task):
        raise ConfigurationError(f"a job is put for a Task, not for {task!r}; write Task(name, script)")
    if given is not None:
        check_whole("priority", given, least=-_LARGEST_PRIORITY)
    wanted = task.priority if given is None else given
    if wanted > _LARGEST_PRIORITY:
        raise ConfigurationError(f"priority must be at most {_LARGEST_PRIORITY}, not {wanted}")
    return wanted

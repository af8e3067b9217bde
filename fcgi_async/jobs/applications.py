"""The ASGI applications of durable jobs: a page for people, and an intake for programs."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fcgi_async.jobs.intake.http import HTTPIntake
    from fcgi_async.jobs.page import JobsPage
    from fcgi_async.jobs.task import Task

__all__ = ("Applications",)


class Applications:
    """The methods of `Jobs` that make ASGI applications, to mount in a service that has entered it."""

    def page(
        self, *, actions: bool = False, token: str | None = None, hosts: Collection[str] | None = None
    ) -> JobsPage:
        """Return an ASGI application that shows the jobs. Mount it at any path of a service that has entered this.

            app.mount("/jobs", jobs.page(token=os.environ["JOBS_TOKEN"]))

        Args:
            actions: whether visitors may retry and cancel jobs, and pause queues; otherwise the page only shows them.
            token: the password for HTTP basic authentication, with any name, or the Bearer token; None if the service
                around it decides who may see the page.
            hosts: the only host names that are served, without ports; None for any.

        Raises:
            ConfigurationError: the token is empty.
        """
        from fcgi_async.jobs.page import JobsPage

        return JobsPage(self, actions, token, hosts)  # type: ignore[arg-type]  # who inherits it is a Jobs

    def intake(self, *, tasks: Iterable[Task], token: str | None = None) -> HTTPIntake:
        """Return an ASGI application that puts jobs by POST. Mount it in a service that has entered this.

            app.mount("/put", jobs.intake(tasks=[mail], token=os.environ["INTAKE_TOKEN"]))

        A request has a job as JSON, `{"task": "mail", "data": {...}}`, with `delay`, `priority`, `unique`, `unique_for`
        and `id` as for `enqueue()`; or a list of up to 1,000 jobs, which are all put or none. 202 with the ids means
        that they are on disk. A header `Idempotency-Key` names a single job, so that the request may be repeated.

        Args:
            tasks: the tasks whose jobs may be put.
            token: the Bearer token; None if the service around it decides who may put jobs.

        Raises:
            ConfigurationError: the token is empty, or there is no task.
        """
        from fcgi_async.jobs.intake.http import HTTPIntake

        return HTTPIntake(self, tuple(tasks), token)  # type: ignore[arg-type]  # who inherits it is a Jobs

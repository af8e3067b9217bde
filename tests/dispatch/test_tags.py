"""The type of a job's tag goes with its response; the type checker reads the `assert_type` lines."""

from __future__ import annotations

from typing import assert_type

import pytest

from fcgi_async import Dispatcher, FastCGIError, Job, JobHandle, Outcome, Response
from fcgi_async.testing import Responder
from tests.handlers import ok

pytestmark = pytest.mark.anyio


def tag_of(job: Job) -> object:
    """A plain `Job` is a job of whatever tag."""
    return assert_type(job.tag, object)


async def test_a_tag_keeps_its_type(address: str) -> None:
    """Whichever way a job is run, its response's tag is known to be what the job's was."""
    jobs = [Job("/a.php", tag=number) for number in range(3)]
    assert_type(jobs, list[Job[int]])
    async with Responder(ok, address), Dispatcher(address, max_children=1) as php:
        response = await php.run(jobs[0])
        assert_type(response, Response[int])
        assert assert_type(response.raise_for_status().job.tag, int) == 0
        assert [assert_type(one.job.tag, int) for one in await php.run_all(jobs)] == [0, 1, 2]
        either = await php.run_all(jobs, return_exceptions=True)
        assert_type(either, list[Response[int] | FastCGIError])
        async with php.map(jobs) as outcomes:
            tags = [assert_type(outcome, Outcome[int]).result().job.tag async for outcome in outcomes]
        assert assert_type(tags, list[int]) == [0, 1, 2]
        handle = await php.submit(jobs[1])
        assert_type(handle, JobHandle[int])
        assert assert_type((await handle).job.tag, int) == 1
        async with php.group() as group:
            assert assert_type((await (await group.submit(jobs[2]))).job.tag, int) == 2


async def test_a_plain_job_needs_no_type(address: str) -> None:
    """Jobs of different tags, and of none, go together, and need no annotation."""
    jobs: list[Job] = [Job("/a.php"), Job("/b.php", tag="b"), Job[int]("/c.php", tag=3)]
    assert [tag_of(job) for job in jobs] == [None, "b", 3]
    async with Responder(ok, address), Dispatcher(address, max_children=1) as php:
        responses: list[Response] = await php.run_all(jobs)
    assert [response.job.tag for response in responses] == [None, "b", 3]

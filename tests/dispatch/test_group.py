"""Jobs with handles: submit, and groups."""

from __future__ import annotations

import gc
import logging
from typing import Any

import anyio
import pytest

from fcgi_async import (
    ConfigurationError,
    ConnectionLost,
    Dispatcher,
    DispatcherClosed,
    Endpoint,
    FastCGIError,
    InvalidJob,
    Job,
    JobCancelled,
    JobGroup,
    JobHandle,
    JobNotDone,
)
from fcgi_async.testing import Request, Reset, Responder, Stall
from tests.dispatch.settled import settled
from tests.eventually import eventually
from tests.handlers import HEAD, Held, echo, ok

pytestmark = pytest.mark.anyio

GOOD, BAD, SLOW = Job("/good.php", tag="good"), Job("/bad.php", tag="bad"), Job("/slow.php", tag="slow")


async def mixed(request: Request) -> None:
    """A script that answers, kills its worker, or takes until the caller has gone."""
    await request.body()
    if request.script == "/bad.php":
        await request.fault(Reset())
    if request.script == "/slow.php":
        await request.fault(Stall())
    await request.write_stdout(HEAD + b"good")


def endpoint(address: str, max_children: int = 2) -> Endpoint:
    """An endpoint that does not wait for abandoned scripts."""
    return Endpoint(address, max_children=max_children, on_cancel="close", linger=0.0)


# handles


async def test_handle(address: str) -> None:
    """A handle is awaited for its response, as often as one likes and by whomever; before that there is none.

    The error says whether PHP may have begun.
    """
    held = Held()
    async with Responder(held, address), Dispatcher(address, max_children=1) as php:
        handle = await php.submit(GOOD)
        assert handle.job is GOOD
        assert not handle.done()
        assert "good.php" in repr(handle)
        for ask in (handle.result, handle.exception):
            with pytest.raises(JobNotDone, match="await its handle") as caught:
                ask()
            assert caught.value.job is GOOD
            assert not caught.value.may_have_run
        await eventually(lambda: held.running)
        for ask in (handle.result, handle.exception):
            with pytest.raises(JobNotDone) as caught:
                ask()
            assert caught.value.may_have_run
            assert "PHP may have run it" in str(caught.value)
        texts: list[str] = []

        async def wait() -> None:
            texts.append((await handle).text)

        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(wait)
            held.release()
        assert texts == ["/good.php"] * 3
        assert handle.done()
        assert handle.exception() is None
        assert handle.result() is await handle
        assert "done" in repr(handle)


async def test_handle_of_a_failed_job(address: str) -> None:
    """A failed job's handle raises its error, or returns it."""
    async with Responder(mixed, address), Dispatcher(endpoint(address)) as php:
        handle = await php.submit(BAD)
        with pytest.raises(ConnectionLost):
            await handle
        error = handle.exception()
        assert isinstance(error, ConnectionLost)
        assert (error.job, error.may_have_run, error.endpoint) == (BAD, True, address)
        with pytest.raises(ConnectionLost):
            handle.result()


async def test_cancelled_handle(address: str) -> None:
    """cancel() is synchronous: the job is over when it returns, and result() raises JobCancelled."""
    held = Held()
    async with Responder(held, address) as responder, Dispatcher(address, max_children=1) as php:
        running = await php.submit(GOOD)
        await eventually(lambda: held.running)
        queued = await php.submit(GOOD)
        assert queued.cancel()
        assert queued.done()
        assert running.cancel()
        assert not running.cancel()
        for handle, may_have_run in ((running, True), (queued, False)):
            with pytest.raises(JobCancelled) as caught:
                handle.result()
            assert caught.value.may_have_run is may_have_run
        held.release()
        await settled(php)
        assert len(responder.requests) == 1
        done = await php.submit(GOOD)
        await done
        assert not done.cancel()
        assert done.result().text == "/good.php"


async def test_cancelling_who_awaits_does_not_cancel_the_job(address: str) -> None:
    """A task that awaits a handle may be cancelled; the job runs on, and can be awaited again."""
    held = Held()
    async with Responder(held, address), Dispatcher(address, max_children=1) as php:
        handle = await php.submit(GOOD)

        async def wait() -> None:
            await handle

        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(wait)
                await eventually(lambda: held.running)
                scope.cancel()
        assert not handle.done()
        held.release()
        assert (await handle).text == "/good.php"


async def test_submitted_job_belongs_to_the_dispatcher(address: str) -> None:
    """Nobody needs to keep a handle: the job runs, and leaving the dispatcher waits for it."""
    held = Held()
    async with Responder(held, address) as responder, anyio.create_task_group() as tasks:
        async with Dispatcher(address, max_children=1) as php:
            for _ in range(3):
                await php.submit(GOOD)
            gc.collect()
            await eventually(lambda: held.running)
            held.release()
            tasks.start_soon(anyio.lowlevel.checkpoint)
        assert len(responder.requests) == 3
        assert php.statistics().completed == 3


async def test_error_nobody_retrieved(address: str, caplog: pytest.LogCaptureFixture) -> None:
    """A submitted job whose error nobody asked for is logged at ERROR with all its facts, and given to on_job_error."""
    reported: list[FastCGIError] = []
    async with Responder(mixed, address), Dispatcher(endpoint(address), on_job_error=reported.append) as php:
        await php.submit(BAD)
        await php.join()
        gc.collect()
        await eventually(lambda: reported)
        (error,) = reported
        assert isinstance(error, ConnectionLost)
        (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
        for fact in ("'/bad.php'", "(tag 'bad')", address, "PHP may have run it"):
            assert fact in record.getMessage()


@pytest.mark.parametrize("way", ["awaited", "asked", "cancelled", "completed"])
async def test_what_is_not_reported(address: str, way: str, caplog: pytest.LogCaptureFixture) -> None:
    """What somebody asked for, cancelled, or what went well is not reported."""
    reported: list[FastCGIError] = []
    async with Responder(mixed, address), Dispatcher(endpoint(address), on_job_error=reported.append) as php:
        handle: JobHandle | None = await php.submit(GOOD if way == "completed" else BAD)
        assert handle is not None
        if way == "awaited":
            with pytest.raises(ConnectionLost):
                await handle
        elif way == "cancelled":
            handle.cancel()
        await php.join()
        if way == "asked":
            assert handle.exception()
        handle = None
        gc.collect()
    assert not reported
    assert not [record for record in caplog.records if record.levelno == logging.ERROR]


async def test_cancelling_too_late_is_not_asking(address: str) -> None:
    """cancel() of a job that had failed already retrieves nothing: its error is still reported."""
    reported: list[FastCGIError] = []
    async with Responder(mixed, address), Dispatcher(endpoint(address), on_job_error=reported.append) as php:
        handle: JobHandle | None = await php.submit(BAD)
        await php.join()
        assert handle is not None
        assert not handle.cancel()
        handle = None
        gc.collect()
        await eventually(lambda: len(reported) == 1)


async def test_submit_of_an_invalid_job(address: str) -> None:
    """What can never be sent is refused by submit() itself."""
    async with Dispatcher(address, max_children=1) as php:
        with pytest.raises(InvalidJob):
            await php.submit(Job("relative.php"))
        async with php.group() as group:
            with pytest.raises(InvalidJob):
                await group.submit(Job("relative.php"))


# groups


async def test_group(address: str) -> None:
    """A group's jobs are done when its block is left."""
    async with Responder(echo, address), Dispatcher(address, max_children=2) as php:
        async with php.group() as group:
            handles = [await group.submit(Job("/a.php", content=str(n))) for n in range(10)]
        assert [handle.result().text for handle in handles] == [str(n) for n in range(10)]


async def test_first_failure_cancels_the_group(address: str) -> None:
    """With on_error="cancel" the first failure cancels the other jobs and the block, and an ExceptionGroup tells of
    it.
    """
    reached: list[str] = []
    async with Responder(mixed, address), Dispatcher(endpoint(address)) as php:
        with pytest.raises(ExceptionGroup, match=r"1 job\(s\) of the group failed") as caught:
            async with php.group() as group:
                slow = await group.submit(SLOW)
                queued = [await group.submit(SLOW) for _ in range(3)]
                await group.submit(Job("/bad.php", priority=1))
                await anyio.sleep_forever()
                reached.append("behind")
        (error,) = caught.value.exceptions
        assert isinstance(error, ConnectionLost)
        assert not reached
        for handle in (slow, *queued):
            assert isinstance(handle.exception(), JobCancelled)
        await settled(php)
        assert (await php.run(GOOD)).text == "good"


async def test_failure_while_the_block_waits_at_its_end(address: str) -> None:
    """A failure after the block's last line is told in the same way."""
    async with Responder(mixed, address), Dispatcher(endpoint(address)) as php:
        with pytest.raises(ExceptionGroup) as caught:
            async with php.group() as group:
                slow = await group.submit(SLOW)
                await group.submit(BAD)
        assert [type(error) for error in caught.value.exceptions] == [ConnectionLost]
        assert isinstance(slow.exception(), JobCancelled)


async def test_failure_that_the_block_met_itself(address: str) -> None:
    """An error that the block raised out of a handle stands in the group once."""
    async with Responder(mixed, address), Dispatcher(endpoint(address)) as php:
        with pytest.raises(ExceptionGroup) as caught:
            async with php.group() as group:
                handle = await group.submit(BAD)
                await handle
        assert [type(error) for error in caught.value.exceptions] == [ConnectionLost]
        assert caught.value.exceptions[0] is handle.exception()


async def test_block_that_fails_too(address: str) -> None:
    """The jobs' errors and the block's own come together."""
    async with Responder(mixed, address), Dispatcher(endpoint(address)) as php:
        with pytest.raises(ExceptionGroup) as caught:
            async with php.group() as group:
                await group.submit(BAD)
                try:
                    await anyio.sleep_forever()
                finally:
                    raise LookupError("mine")
        assert [type(error) for error in caught.value.exceptions] == [ConnectionLost, LookupError]


@pytest.mark.parametrize("on_error", ["cancel", "collect"])
async def test_block_that_fails_alone(address: str, on_error: Any) -> None:
    """A block that raises cancels its jobs, and its exception goes on: in a group as from a task group, or plain."""
    async with Responder(mixed, address), Dispatcher(endpoint(address)) as php:
        with pytest.raises((LookupError, ExceptionGroup)) as caught:
            async with php.group(on_error=on_error) as group:
                handle = await group.submit(SLOW)
                raise LookupError("mine")
        error = caught.value
        if on_error == "cancel":
            assert isinstance(error, ExceptionGroup)
            assert [type(inner) for inner in error.exceptions] == [LookupError]
        else:
            assert isinstance(error, LookupError)
        assert isinstance(handle.exception(), JobCancelled)


async def test_group_that_closes_while_a_submit_waits(address: str) -> None:
    """A submit() in another task that waits for room when the group is left hands nothing in."""
    held = Held()
    results: list[object] = []

    async def submit(group: JobGroup) -> None:
        try:
            results.append(await group.submit(GOOD))
        except FastCGIError as error:
            results.append(error)

    async with Responder(held, address) as responder, Dispatcher(address, max_children=2) as php:
        async with anyio.create_task_group() as tasks:
            with pytest.raises(LookupError):
                async with php.group(limit=1, on_error="collect") as group:
                    await group.submit(GOOD)
                    await eventually(lambda: held.running)
                    tasks.start_soon(submit, group)
                    await anyio.wait_all_tasks_blocked()
                    raise LookupError
        assert isinstance(results[0], DispatcherClosed)
        held.release()
        await settled(php)
        assert len(responder.requests) == 1


async def test_collect(address: str) -> None:
    """With on_error="collect" nothing is raised for a job, and nothing cancelled."""
    async with Responder(mixed, address), Dispatcher(endpoint(address)) as php:
        async with php.group(on_error="collect") as group:
            handles = [await group.submit(job) for job in (GOOD, BAD, GOOD, BAD)]
        assert [type(handle.exception()) for handle in handles] == [type(None), ConnectionLost] * 2


async def test_cancelled_handle_is_no_error_of_its_group(address: str) -> None:
    """Cancelling one handle leaves the others and the block alone."""
    async with Responder(mixed, address), Dispatcher(endpoint(address)) as php:
        async with php.group() as group:
            slow = await group.submit(SLOW)
            good = await group.submit(GOOD)
            slow.cancel()
        assert good.result().text == "good"
        assert isinstance(slow.exception(), JobCancelled)


async def test_outer_cancellation(address: str) -> None:
    """A cancellation from outside cancels the jobs and stays a cancellation, in the block and at its end."""
    for at_the_end in (False, True):
        async with Responder(mixed, address + str(at_the_end)) as responder:
            async with Dispatcher(endpoint(responder.address)) as php, anyio.create_task_group() as tasks:
                handles: list[JobHandle] = []

                async def use(at_the_end: bool, php: Dispatcher, handles: list[JobHandle]) -> None:
                    async with php.group() as group:
                        handles.append(await group.submit(SLOW))
                        if not at_the_end:
                            await anyio.sleep_forever()

                with anyio.CancelScope() as scope:
                    async with anyio.create_task_group() as inner:
                        inner.start_soon(use, at_the_end, php, handles)
                        await eventually(lambda: responder.running)
                        scope.cancel()
                assert scope.cancelled_caught
                assert isinstance(handles[0].exception(), JobCancelled)
                tasks.cancel_scope.cancel()


async def test_outer_cancellation_together_with_a_failure(address: str) -> None:
    """Where a job failed and the outside cancels at the same time, the cancellation goes on."""
    after: list[str] = []
    async with Responder(mixed, address), Dispatcher(endpoint(address)) as php:
        with anyio.CancelScope() as scope:
            async with php.group(on_error="collect") as group:
                handle = await group.submit(BAD)
                await eventually(handle.done)
                scope.cancel()
                await anyio.sleep_forever()
            after.append("reached")
        assert scope.cancelled_caught
        assert not after


async def test_errors_that_a_cancellation_hides_are_reported(address: str) -> None:
    """A cancellation from outside goes on as it is, and the errors of the group's jobs are given to on_job_error."""
    reported: list[FastCGIError] = []
    async with Responder(mixed, address), Dispatcher(endpoint(address), on_job_error=reported.append) as php:
        with anyio.CancelScope() as scope:
            async with php.group() as group:
                handle = await group.submit(BAD)
                handle._when_done(lambda _: scope.cancel())
                await anyio.sleep_forever()
        assert scope.cancelled_caught
        await eventually(lambda: reported)
        assert [type(error) for error in reported] == [ConnectionLost]


async def test_limit(address: str) -> None:
    """No more of a group's jobs are outstanding than its limit, however many tasks submit."""
    held = Held()
    async with Responder(held, address), Dispatcher(address, max_children=2) as php:
        async with php.group(limit=3) as group, anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(group.submit, GOOD)
            await eventually(lambda: len(held.running) == 2)
            await anyio.wait_all_tasks_blocked()
            now = php.statistics()
            assert now.queued + now.running == 3
            held.release()
        assert php.statistics().completed == 20


async def test_full_queue_is_the_backpressure(address: str) -> None:
    """group.submit() waits while the dispatcher's queue is full."""
    held = Held()
    async with Responder(held, address), Dispatcher(address, max_children=1, max_queued=1) as php:
        async with php.group() as group, anyio.create_task_group() as tasks:
            for _ in range(2):
                await group.submit(GOOD)
                await eventually(lambda: held.running)
            submitted: list[JobHandle] = []

            async def submit() -> None:
                submitted.append(await group.submit(GOOD))

            tasks.start_soon(submit)
            await anyio.wait_all_tasks_blocked()
            assert not submitted
            held.release()
        assert submitted[0].result().text == "/good.php"


async def test_as_completed(address: str) -> None:
    """Handles come as their jobs end, each once, and no more when nothing is outstanding; more may be submitted
    meanwhile.
    """
    held = Held()

    async def script(request: Request) -> None:
        await (held(request) if request.script == "/slow.php" else ok(request))

    async with Responder(script, address), Dispatcher(address, max_children=2) as php, php.group() as group:
        await group.submit(SLOW)
        await group.submit(Job("/1.php"))
        scripts = []
        async for handle in group.as_completed():
            assert handle.done()
            scripts.append(handle.job.script)
            if len(scripts) == 1:
                await group.submit(Job("/2.php"))
            else:
                held.release()
        assert sorted(scripts) == ["/1.php", "/2.php", "/slow.php"]
        assert scripts[0] == "/1.php"
        assert [handle async for handle in group.as_completed()] == []
        await group.submit(Job("/3.php"))
        assert [handle.job.script async for handle in group.as_completed()] == ["/3.php"]


async def test_as_completed_of_a_group_that_fails(address: str) -> None:
    """A job that fails while one iterates cancels the block, as everywhere in it."""
    async with Responder(mixed, address), Dispatcher(endpoint(address)) as php:
        with pytest.raises(ExceptionGroup):
            async with php.group() as group:
                await group.submit(SLOW)
                await group.submit(BAD)
                async for _ in group.as_completed():
                    pass
                await anyio.sleep_forever()


async def test_group_is_over_with_its_block(address: str) -> None:
    """A group takes jobs inside its block only."""
    async with Responder(ok, address), Dispatcher(address, max_children=1) as php:
        group: JobGroup = php.group()
        with pytest.raises(DispatcherClosed, match="submit inside its `async with` block") as caught:
            await group.submit(GOOD)
        assert caught.value.job is GOOD
        async with group:
            await group.submit(GOOD)
        with pytest.raises(DispatcherClosed, match="the group is not open"):
            await group.submit(GOOD)


async def test_submit_that_is_late(address: str) -> None:
    """Leaving waits for a submit() that is under way in another task, and for its job."""
    held = Held()
    async with Responder(held, address), Dispatcher(address, max_children=1) as php, anyio.create_task_group() as tasks:
        handles: list[JobHandle] = []

        async def submit(group: JobGroup) -> None:
            handles.append(await group.submit(GOOD))

        async with php.group(limit=1) as group:
            await group.submit(GOOD)
            tasks.start_soon(submit, group)
            await eventually(lambda: held.running)
            await anyio.wait_all_tasks_blocked()
            held.release()
        assert handles[0].result().text == "/good.php"


@pytest.mark.parametrize(
    ("arguments", "message"), [({"limit": 0}, "limit must be at least 1"), ({"on_error": "ignore"}, "'ignore'")]
)
async def test_bad_group(address: str, arguments: dict[str, Any], message: str) -> None:
    """What a group cannot be is refused."""
    async with Dispatcher(address, max_children=1) as php:
        with pytest.raises(ConfigurationError, match=message):
            php.group(**arguments)

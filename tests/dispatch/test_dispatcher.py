"""A dispatcher's life, and one job at a time."""

from __future__ import annotations

import logging
from typing import Any

import anyio
import pytest

from fcgi_async import (
    UNSET,
    ConfigurationError,
    ConnectError,
    Dispatcher,
    DispatcherClosed,
    DispatchError,
    Endpoint,
    FastCGIError,
    InvalidJob,
    Job,
    KeepAlive,
    Limits,
    QueueFull,
    QueueTimeout,
    ResponseTooLarge,
    Timeouts,
)
from fcgi_async.dispatch.request import RequestEncoder
from fcgi_async.job.settings import Unset
from fcgi_async.pool.worker import Worker
from fcgi_async.testing import Close, Drip, Request, Responder, ServedConnection, Stall
from tests.dispatch.settled import settled, slots
from tests.eventually import eventually
from tests.handlers import HEAD, Held, echo, ok
from tests.wire import frames

pytestmark = pytest.mark.anyio

JOB = Job("/a.php", tag="t")


async def keep(results: list[Any], php: Dispatcher, job: Job, **options: Any) -> None:
    """Run a job and keep what became of it."""
    try:
        results.append(await php.run(job, **options))
    except FastCGIError as error:
        results.append(error)


# one job


async def test_run(address: str) -> None:
    """A job is sent, answered, and its response says everything that came back."""

    async def script(request: Request) -> None:
        await request.write_stderr(b"PHP message: ")
        await request.write_stdout(
            b"Status: 404 Not Found\r\nContent-type: text/plain\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n"
        )
        await request.write_stderr(b"warning")
        await request.write_stdout(b"\r\n" + await request.body())
        await request.end(app_status=7)

    async with Responder(script, address), Dispatcher(address, max_children=1) as php:
        job = Job("/a.php", content=b"hello")
        response = await php.run(job)
        assert (response.status, response.content, response.stderr) == (404, b"hello", b"PHP message: warning")
        assert response.headers.get_list("set-cookie") == ["a", "b"]
        assert "status" not in response.headers
        assert (response.app_status, response.ok, response.stderr_truncated) == (7, False, False)
        assert (response.job, response.endpoint, response.attempts) == (job, address, 1)
        timing = response.timing
        assert 0 <= timing.connect <= timing.queued <= timing.total
        assert 0 <= timing.first_byte <= timing.total - timing.queued


async def test_what_php_gets(address: str) -> None:
    """The peer gets the job's parameters, asked to keep the connection."""
    async with Responder(ok, address) as responder:
        endpoint = Endpoint(address, max_children=1, root="/srv", params={"APP": "x"}, headers={"X-E": "e"})
        async with Dispatcher(endpoint) as php:
            await php.run(Job("job.php", uri="/orders/7?x=1", headers={"X-A": "1"}, json={}))
        (request,) = responder.requests
        assert request.keep_conn
        assert (
            request.params.items()
            >= {
                "SCRIPT_FILENAME": "/srv/job.php",
                "REQUEST_URI": "/orders/7?x=1",
                "PATH_INFO": "",
                "APP": "x",
                "HTTP_X_E": "e",
                "HTTP_X_A": "1",
                "CONTENT_LENGTH": "2",
            }.items()
        )


@pytest.mark.parametrize("size", [0, 1, 65535, 65536, 200_000, 5_000_000])
async def test_bodies_both_ways_at_once(address: str, size: int) -> None:
    """A body of any size goes out while its echo comes in, without one waiting for the other."""

    async def script(request: Request) -> None:
        await request.write_stdout(HEAD)
        while part := await request.read_part():
            await request.write_stdout(part)

    body = bytes(i * 7 % 251 for i in range(997)) * (size // 997 + 1)
    async with Responder(script, address), Dispatcher(address, max_children=1) as php:
        assert (await php.run(Job("/a.php", content=body[:size]))).content == body[:size]
        assert (await settled(php)).idle == 1


async def test_byte_by_byte(address: str) -> None:
    """A response that comes one byte at a time is the same response."""
    async with Responder(echo, address, fault=Drip()), Dispatcher(address, max_children=1) as php:
        assert (await php.run(Job("/a.php", content=b"0"))).content == b"0"
        assert (await php.run(Job("/a.php", content=b"1"))).content == b"1"


@pytest.mark.parametrize("where", ["tcp", "tcp6"])
async def test_tcp(where: str) -> None:
    """TCP, v4 and v6, serves as well."""
    async with Responder(echo, where) as responder, Dispatcher(responder.address, max_children=2) as php:
        assert (await php.run(Job("/a.php", content=b"x" * 100_000))).content == b"x" * 100_000
        assert (await settled(php)).idle == 1


async def test_connection_is_reused(address: str) -> None:
    """One job after the other goes over one connection; only the first pays for connecting."""
    async with Responder(ok, address) as responder, Dispatcher(address, max_children=1) as php:
        timings = [(await php.run(JOB)).timing for _ in range(5)]
        assert len(responder.connections) == 1
        assert timings[0].connect > 0
        assert [timing.connect for timing in timings[1:]] == [0] * 4


async def test_never_more_than_the_share(address: str) -> None:
    """Whatever waits, no more connections are open and no more scripts run than the share."""
    held = Held()
    async with Responder(held, address, workers=8) as responder, Dispatcher(address, max_children=5, reserve=2) as php:
        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(php.run, JOB)
            await eventually(lambda: len(held.running) == 3)
            assert slots(php.statistics()) == 3
            await anyio.wait_all_tasks_blocked()
            assert (responder.open_connections, responder.running) == (3, 3)
            held.release()
        assert (responder.most_connections, responder.most_at_once) == (3, 3)


async def test_priority(address: str) -> None:
    """Of those that wait the highest priority is next, then who came first."""
    held = Held()
    async with Responder(held, address), Dispatcher(address, max_children=1) as php, anyio.create_task_group() as tasks:
        tasks.start_soon(php.run, Job("/first.php"))
        await eventually(lambda: held.running)
        for name, priority in (("low", -1), ("normal", 0), ("high", 5), ("high too", 5)):
            tasks.start_soon(php.run, Job(f"/{name}", priority=priority))
            await eventually(lambda: php.statistics().queued > 0)
            await anyio.wait_all_tasks_blocked()
        held.release()
        await eventually(lambda: len(held.running) == 5)
        assert [request.script for request in held.running[1:]] == ["/high", "/high too", "/normal", "/low"]


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (Limits(response=999), r"longer than Limits.response, 999 bytes; stream\(\) has no such limit"),
        (Limits(head=20), "longer than Limits.head, 20 bytes"),
    ],
    ids=["response", "head"],
)
async def test_response_too_large(address: str, limits: Limits, message: str) -> None:
    """A response over its limit fails at once; a worker that does not end is left, and the next job runs."""

    async def script(request: Request) -> None:
        if request.script == "/small.php":
            await request.write_stdout(b"A: b\r\n\r\ns")
            return
        await request.write_stdout(HEAD + bytes(1000))
        await request.fault(Stall())

    endpoint = Endpoint(address, max_children=1, linger=0.0, drain_timeout=0.01)
    async with Responder(script, address), Dispatcher(endpoint, limits=limits) as php:
        with pytest.raises(ResponseTooLarge, match=message) as caught:
            await php.run(JOB)
        assert (caught.value.job, caught.value.endpoint, caught.value.may_have_run) == (JOB, address, True)
        assert (await php.run(Job("/small.php"))).content == b"s"


async def test_limits_are_inclusive(address: str) -> None:
    """A response that is as long as the limit is not too long."""
    async with Responder(echo, address), Dispatcher(address, max_children=1, limits=Limits(response=1000)) as php:
        assert len((await php.run(Job("/a.php", content=bytes(1000)))).content) == 1000


async def test_stderr_is_cut(address: str) -> None:
    """STDERR over its limit is dropped, and the response says so."""

    async def script(request: Request) -> None:
        for _ in range(3):
            await request.write_stderr(b"12345")
        await request.write_stdout(HEAD + b"ok")

    async with Responder(script, address), Dispatcher(address, max_children=1, limits=Limits(stderr=7)) as php:
        response = await php.run(JOB)
        assert (response.stderr, response.stderr_truncated, response.content) == (b"1234512", True, b"ok")


async def test_invalid_job_is_refused_before_anything_is_sent(address: str) -> None:
    """What an endpoint does not allow never reaches it, and carries its job."""
    async with Responder(ok, address) as responder, Dispatcher(address, max_children=1) as php:
        job = Job("/a.php", params={"PHP_VALUE": "memory_limit=-1"})
        with pytest.raises(InvalidJob, match="PHP_VALUE is refused") as caught:
            await php.run(job)
        assert caught.value.job is job
        with pytest.raises(InvalidJob, match="a job must be a Job, not str"):
            await php.run("/a.php")  # type: ignore[arg-type]
        assert len(responder.connections) == 0


async def test_fault_of_ours_is_not_called_the_jobs(
    address: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What goes wrong while a job is begun says that it is no fault of the job; its traceback is logged, and others
    run.
    """
    original = Worker.start

    def start(self: Worker, *args: Any) -> bool:
        monkeypatch.setattr(Worker, "start", original)
        raise LookupError("ours")

    endpoint = Endpoint(address, max_children=1, linger=0.0)
    async with Responder(ok, address) as responder, Dispatcher(endpoint) as php:
        monkeypatch.setattr(Worker, "start", start)
        with pytest.raises(DispatchError, match="a fault in fcgi_async, not in the job: LookupError") as caught:
            await php.run(Job("/a.php"))
        assert caught.value.may_have_run
        assert isinstance(caught.value.__cause__, LookupError)
        assert any(record.exc_info and record.levelno == logging.ERROR for record in caplog.records)
        assert (await php.run(Job("/b.php"))).text == "ok"
        # nobody knows what was written to the first
        assert len(responder.connections) == 2
        await settled(php)


@pytest.mark.parametrize("kept", [{}, {10: 1}], ids=["none kept", "one kept"])
async def test_job_that_cannot_be_encoded(address: str, monkeypatch: pytest.MonkeyPatch, kept: dict[int, int]) -> None:
    """What fails while it is encoded makes the job invalid, and leaves the connection, new or kept, to the next one."""

    def encode(self: RequestEncoder, job: Job, script: object) -> None:
        monkeypatch.undo()
        raise LookupError("odd")

    endpoint = Endpoint(address, max_children=2, kept=kept)
    async with Responder(ok, address) as responder, Dispatcher(endpoint) as php:
        for _ in range(2):
            monkeypatch.setattr(RequestEncoder, "_encode_own", encode)
            with pytest.raises(InvalidJob, match=r"could not be encoded: LookupError\('odd'\)") as caught:
                await php.run(Job("/a.php", query={"a": 1}))
            assert not caught.value.may_have_run
            assert (await php.run(Job("/b.php"))).text == "ok"
            await settled(php)
        assert len(responder.connections) == 1
        assert php.statistics().idle == 1


# after the response


async def test_response_before_the_script_ends(address: str) -> None:
    """The caller has the response at END_REQUEST; the slot is held until the worker says that it is free."""
    held = anyio.Event()

    async def script(request: Request) -> None:
        await request.write_stdout(HEAD + b"done")
        await request.end()
        await held.wait()

    async with Responder(script, address) as responder, Dispatcher(address, max_children=1) as php:
        assert (await php.run(JOB)).content == b"done"
        assert php.statistics().finishing == 1
        results: list[Any] = []
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(keep, results, php, JOB)
            await eventually(lambda: php.statistics().queued == 1)
            await anyio.wait_all_tasks_blocked()
            assert len(responder.requests) == 1
            held.set()
        assert results[0].content == b"done"
        assert len(responder.connections) == 1


async def test_waiting_for_the_worker(address: str) -> None:
    """With finishes_early=False the caller waits for the worker, not only for the response."""
    held = anyio.Event()

    async def script(request: Request) -> None:
        await request.write_stdout(HEAD + b"done")
        await request.end()
        await held.wait()

    results: list[Any] = []
    async with Responder(script, address), Dispatcher(address, max_children=1) as php:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(keep, results, php, Job("/a.php", finishes_early=False))
            await eventually(lambda: php.statistics().finishing == 1)
            await anyio.wait_all_tasks_blocked()
            assert not results
            held.set()
        assert results[0].content == b"done"


async def test_strays_reach_nobody(address: str) -> None:
    """What a script prints after finishing is dropped and counted, and is not in the next response."""

    async def script(request: Request) -> None:
        await request.write_stdout(HEAD + b"mine")
        await request.end()
        await request.send_raw(frames.stdout(request.request_id, b"SECRET"))
        await request.send_raw(frames.stdout(request.request_id, b"SECRET"))

    async with Responder(script, address), Dispatcher(address, max_children=1) as php:
        for _ in range(3):
            assert (await php.run(JOB)).content == b"mine"
        assert (await settled(php)).stray_records == 6


async def test_worker_that_does_not_come_back(address: str) -> None:
    """A worker that is not free within drain_timeout is closed on, and its slot lingers before it is given away."""

    async def script(request: Request) -> None:
        await request.write_stdout(HEAD + b"done")
        await request.end()
        if request.script == "/slow.php":
            await request.fault(Stall())

    endpoint = Endpoint(address, max_children=1, drain_timeout=0.01, linger=0.02)
    async with Responder(script, address) as responder, Dispatcher(endpoint) as php:
        await php.run(Job("/slow.php"))
        assert (await php.run(Job("/quick.php"))).content == b"done"
        assert len(responder.connections) == 2


async def test_idle_connection_is_closed(address: str) -> None:
    """A kept connection pins a worker, and so is closed after keepalive.idle."""
    endpoint = Endpoint(address, max_children=2, keepalive=KeepAlive(idle=0.02))
    async with Responder(ok, address) as responder, Dispatcher(endpoint) as php:
        await php.run(JOB)
        await eventually(lambda: slots(php.statistics()) == 0)
        await eventually(lambda: responder.open_connections == 0)
        await php.run(JOB)
        assert len(responder.connections) == 2


async def test_idle_zero(address: str) -> None:
    """With idle=0 a connection is kept only while a job is waiting for it."""
    endpoint = Endpoint(address, max_children=1, keepalive=KeepAlive(idle=0))
    async with Responder(ok, address) as responder, Dispatcher(endpoint) as php:
        await php.run_all([JOB] * 5)
        assert (await settled(php)).idle == 0
        assert len(responder.connections) == 1
        await php.run(JOB)
        assert len(responder.connections) == 2


async def test_connection_serves_so_many(address: str) -> None:
    """A connection that has served max_requests is replaced."""
    endpoint = Endpoint(address, max_children=1, keepalive=KeepAlive(max_requests=2))
    async with Responder(ok, address) as responder, Dispatcher(endpoint) as php:
        await php.run_all([JOB] * 5)
        assert len(responder.connections) == 3


async def test_without_handshake(address: str) -> None:
    """A peer that knows no GET_VALUES is served with one connection per job, freed by END_REQUEST."""
    endpoint = Endpoint(address, max_children=2, handshake=False)
    async with Responder(echo, address, values=Stall()) as responder, Dispatcher(endpoint) as php:
        jobs = [Job("/a.php", content=str(i)) for i in range(6)]
        assert [response.text for response in await php.run_all(jobs)] == list("012345")
        assert len(responder.connections) == 6
        assert responder.most_at_once <= 2
        assert not any(request.keep_conn for request in responder.requests)
        assert slots(await settled(php)) == 0


async def test_php_that_closes_behind_get_values(address: str, caplog: pytest.LogCaptureFixture) -> None:
    """PHP before 8.2.13 answers GET_VALUES and closes: every job is served, none is run twice; that is said once."""
    async with (
        Responder(echo, address, closes_after_values=True) as responder,
        Dispatcher(address, max_children=2) as php,
    ):
        jobs = [Job("/a.php", content=str(i)) for i in range(10)]
        assert [response.text for response in await php.run_all(jobs)] == list("0123456789")
        assert len(responder.requests) == 10
        assert responder.most_at_once <= 2
    (said,) = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert said.startswith(f"{address} closes the connection after answering GET_VALUES, as PHP before 8.2.13 does")


# life


def test_configuration_is_checked_at_once() -> None:
    """What cannot work is refused where the dispatcher is made."""
    for arguments, message in (
        ({"endpoints": []}, "no endpoint was given"),
        ({"endpoints": "nonsense"}, "is not an address"),
        ({"endpoints": ["unix:///a", "unix:///b"], "max_children": 2}, "are for one endpoint"),
        ({"endpoints": ["unix:///a", "unix:///b"], "reserve": 1}, "are for one endpoint"),
        ({"max_children": 2, "reserve": 2}, "leaves no worker"),
        ({"max_queued": 0}, "max_queued must be at least 1"),
        ({"timeouts": 5}, r"timeouts must be a Timeouts"),
        ({"limits": 100}, r"limits must be a Limits\(...\), not 100"),
        ({"retry": 3}, r"retry must be a Retry\(...\), not 3"),
        ({"max_queued": "many"}, "max_queued must be a whole number of jobs, not 'many'"),
        ({"max_children": "8"}, "max_children must be a whole number, not '8'"),
        ({"reserve": "2"}, "reserve must be a whole number of workers, not '2'"),
        ({"reserve": None}, "reserve must be a whole number of workers, not None"),
        ({"on_job_error": "log"}, "on_job_error must be a function that takes the error, not 'log'"),
        ({"endpoints": ["unix:///a", 7]}, "an endpoint must be an Endpoint, or an address such as .* not int"),
        ({"overflow": "drop"}, """overflow must be "wait" or "reject", not 'drop'"""),
        ({"shutdown_timeout": -1}, "shutdown_timeout must be a number of seconds"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            Dispatcher(**({"endpoints": "unix:///a"} | arguments))


def test_settings_are_checked_at_once() -> None:
    """So are deadlines and limits."""
    with pytest.raises(ConfigurationError, match="Timeouts: queue must be a number of seconds"):
        Timeouts(queue=-1.0)
    with pytest.raises(ConfigurationError, match="must be a whole number of bytes, 0 or more"):
        Limits(stderr=-1)
    with pytest.raises(ConfigurationError, match=r"Timeouts: total must be a number of seconds .* not '5'"):
        Timeouts(total="5")  # type: ignore[arg-type]
    for value in ("1", 1.5, None, True):
        with pytest.raises(ConfigurationError, match=r"Limits\(head\) must be a whole number of bytes"):
            Limits(head=value)  # type: ignore[arg-type]
    assert repr(UNSET) == "UNSET"
    assert UNSET is Unset.UNSET


async def test_unknown_size(address: str) -> None:
    """Entering without a number of workers says where to find it."""
    with pytest.raises(ConfigurationError, match=r"pm\.max_children"):
        async with Dispatcher(address):
            pass


async def test_forbidden_endpoint_params(address: str) -> None:
    """Entering with an endpoint that no job could use is refused."""
    with pytest.raises(ConfigurationError, match="PHP_VALUE is refused"):
        async with Dispatcher(Endpoint(address, max_children=1, params={"PHP_VALUE": "x"})):
            pass


async def test_not_entered(address: str) -> None:
    """A dispatcher that was not entered says how to."""
    php = Dispatcher(address, max_children=1)
    with pytest.raises(DispatcherClosed, match="use `async with Dispatcher") as caught:
        await php.run(JOB)
    assert caught.value.job is JOB
    with pytest.raises(DispatcherClosed, match="not entered"):
        php.statistics()
    await php.aclose()


async def test_closed(address: str) -> None:
    """A closed dispatcher refuses everything, says why, and still tells its statistics."""
    async with Responder(ok, address):
        async with Dispatcher(address, max_children=1) as php:
            await php.run(JOB)
        for refused in (php.run(JOB), php.submit(JOB), php.run_all([JOB]), php.join(), php.ping()):
            with pytest.raises(DispatcherClosed, match="the dispatcher is closed"):
                await refused
        for call in (php.pause, php.resume, php.group, lambda: php.map([JOB])):
            with pytest.raises(DispatcherClosed, match="the dispatcher is closed"):
                call()
        with pytest.raises(DispatcherClosed, match="the dispatcher is closed"):
            async with php.stream(JOB):
                pass
        assert php.statistics().completed == 1
        assert slots(php.statistics()) == 0
        with pytest.raises(ConfigurationError, match="entered only once"):
            await php.__aenter__()
        assert repr(php) == f"<Dispatcher {address}: closed>"
        await php.aclose()


async def test_nothing_is_connected_before_there_is_a_job(address: str) -> None:
    """Entering and leaving alone touches no peer."""
    async with Dispatcher(address, max_children=1) as php:
        assert php.statistics().connections_opened == 0


async def test_leaving_finishes_what_there_is(address: str) -> None:
    """Leaving normally refuses new jobs, and finishes those that run and those that wait, paused or not."""
    held = Held()
    results: list[Any] = []
    async with Responder(held, address), anyio.create_task_group() as tasks:
        async with Dispatcher(address, max_children=1) as php:
            for _ in range(3):
                tasks.start_soon(keep, results, php, JOB)
            await eventually(lambda: held.running)
            php.pause()
            tasks.start_soon(held_release_when_closing, php, held, results)
        assert [result.content for result in results[1:]] == [b"/a.php"] * 3
        assert isinstance(results[0], DispatcherClosed)


async def held_release_when_closing(php: Dispatcher, held: Held, results: list[Any]) -> None:
    """Offer one job more to a dispatcher that is closing, then let the others end."""
    await eventually(lambda: "closing" in repr(php))
    await keep(results, php, JOB)
    held.release()


async def test_shutdown_timeout(address: str, caplog: pytest.LogCaptureFixture) -> None:
    """What is not done within shutdown_timeout ends: queued jobs never ran, running ones may have; the log says so."""
    caplog.set_level(logging.INFO, "fcgi_async")
    held = Held()
    results: list[Any] = []
    async with Responder(held, address), anyio.create_task_group() as tasks:
        async with Dispatcher(address, max_children=1, shutdown_timeout=0.02) as php:
            tasks.start_soon(keep, results, php, Job("/running.php"))
            await eventually(lambda: held.running)
            for tag in range(7):
                tasks.start_soon(keep, results, php, Job("/queued.php", tag=tag))
                await eventually(lambda tag=tag: php.statistics().queued == tag + 1)  # type: ignore[misc]
        assert slots(php.statistics()) == 0
        await eventually(lambda: len(results) == 8)
    assert {error.job.script: error.may_have_run for error in results} == {"/running.php": True, "/queued.php": False}
    assert all(type(error) is DispatcherClosed for error in results)
    messages = [record.getMessage() for record in caplog.records]
    queued = ", ".join(f"'/queued.php' tag {tag}" for tag in range(5))
    jobs = f"1 job(s) running ('/running.php') and 7 queued ({queued}, ...)"
    assert f"closing: waiting for {jobs}" in messages
    assert f"closing with {jobs}" in messages


async def test_leaving_on_an_exception(address: str) -> None:
    """An exception ends the jobs now, and goes on as it was."""
    held = Held()
    results: list[Any] = []
    async with Responder(held, address), anyio.create_task_group() as tasks:
        with pytest.raises(LookupError, match="mine"):
            async with Dispatcher(address, max_children=1) as php:
                tasks.start_soon(keep, results, php, JOB)
                await eventually(lambda: held.running)
                raise LookupError("mine")
        await eventually(lambda: results)
    assert type(results[0]) is DispatcherClosed


async def test_leaving_on_a_cancellation(address: str) -> None:
    """A cancellation ends the jobs now, and stays a cancellation."""
    held = Held()
    results: list[Any] = []
    async with Responder(held, address), anyio.create_task_group() as tasks:
        with anyio.CancelScope() as scope:
            async with Dispatcher(address, max_children=1) as php:
                tasks.start_soon(keep, results, php, JOB)
                await eventually(lambda: held.running)
                scope.cancel()
                await anyio.sleep_forever()
        assert scope.cancelled_caught
        await eventually(lambda: results)
    assert type(results[0]) is DispatcherClosed


async def test_leaving_is_cancelled(address: str) -> None:
    """Leaving that waits for a job can be cancelled; the job ends then."""
    held = Held()
    results: list[Any] = []
    async with Responder(held, address), anyio.create_task_group() as tasks:
        with anyio.CancelScope() as scope:
            async with Dispatcher(address, max_children=1) as php:
                tasks.start_soon(keep, results, php, JOB)
                await eventually(lambda: held.running)
                tasks.start_soon(cancel_when_closing, php, scope)
        assert scope.cancelled_caught
        await eventually(lambda: results)
    assert type(results[0]) is DispatcherClosed
    assert slots(php.statistics()) == 0


async def cancel_when_closing(php: Dispatcher, scope: anyio.CancelScope) -> None:
    """Cancel who waits for the dispatcher's end."""
    await eventually(lambda: "closing" in repr(php))
    scope.cancel()


@pytest.mark.parametrize("timeout", [0, 0.01, None])
async def test_aclose(address: str, timeout: float | None) -> None:
    """aclose() waits as long as it is told to: not at all, for a time, or for as long as it takes."""
    held = Held()
    results: list[Any] = []
    async with Responder(held, address), anyio.create_task_group() as tasks:
        php = await Dispatcher(address, max_children=1).__aenter__()
        tasks.start_soon(keep, results, php, JOB)
        await eventually(lambda: held.running)
        if timeout is None:
            tasks.start_soon(release_when_closing, php, held)
        await php.aclose(timeout=timeout)
        await eventually(lambda: results)
    assert isinstance(results[0], DispatcherClosed) is (timeout is not None)


async def release_when_closing(php: Dispatcher, held: Held) -> None:
    """Let jobs end once the dispatcher waits for them."""
    await eventually(lambda: "closing" in repr(php))
    held.release()


async def test_scripts_without_a_caller_are_not_waited_for(address: str) -> None:
    """Leaving closes kept connections and those whose scripts run on by themselves, at once."""

    async def script(request: Request) -> None:
        await request.write_stdout(HEAD + b"done")
        await request.end()
        await anyio.sleep_forever()

    async with Responder(script, address):
        with anyio.fail_after(20):
            async with Dispatcher(address, max_children=1) as php:
                await php.run(JOB)
                assert php.statistics().finishing == 1


async def test_leaving_while_connecting(address: str) -> None:
    """A connection that waits for its first answer is closed with the dispatcher."""
    async with Responder(ok, address, values=Stall()):
        async with Dispatcher(address, max_children=1, shutdown_timeout=0.0) as php:
            handle = await php.submit(JOB)
            await eventually(lambda: php.statistics().connecting == 1)
        assert isinstance(handle.exception(), DispatcherClosed)
        assert slots(php.statistics()) == 0


# the queue


async def test_overflow_wait(address: str) -> None:
    """Where the queue is full, submit() waits for room: that is the backpressure."""
    held = Held()
    async with Responder(held, address), Dispatcher(address, max_children=1, max_queued=2) as php:
        await php.submit(JOB)
        await eventually(lambda: held.running)
        for _ in range(2):
            await php.submit(JOB)
        submitted: list[bool] = []

        async def submit() -> None:
            await php.submit(JOB)
            submitted.append(True)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(submit)
            await anyio.wait_all_tasks_blocked()
            assert not submitted
            assert php.statistics().queued == 3
            held.release()
        await php.join()
        assert php.statistics().completed == 4


async def test_cancelled_while_the_queue_is_full(address: str) -> None:
    """A submit() that is cancelled while it waits for room has handed nothing in."""
    held = Held()
    async with Responder(held, address) as responder, Dispatcher(address, max_children=1, max_queued=1) as php:
        await php.submit(JOB)
        await eventually(lambda: held.running)
        await php.submit(JOB)
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(php.submit, Job("/never.php"))
                await anyio.wait_all_tasks_blocked()
                scope.cancel()
        assert php.statistics().queued == 1
        held.release()
        await php.join()
        assert [request.script for request in responder.requests] == ["/a.php", "/a.php"]


async def test_overflow_reject(address: str) -> None:
    """Where the dispatcher rejects, one job more than fits is refused at once, and the refused job never ran."""
    held = Held()
    async with Responder(held, address), Dispatcher(address, max_children=1, max_queued=1, overflow="reject") as php:
        await php.submit(JOB)
        await eventually(lambda: held.running)
        await php.submit(JOB)
        for refused in (php.run(JOB), php.submit(JOB)):
            with pytest.raises(QueueFull, match="the queue is full: 1 jobs wait for a worker") as caught:
                await refused
            assert (caught.value.job, caught.value.may_have_run) == (JOB, False)
        with pytest.raises(QueueFull):
            async with php.stream(JOB):
                pass
        held.release()
        # what brings its own backpressure is never rejected
        assert len(await php.run_all([JOB] * 10)) == 10


async def test_pause_and_resume(address: str) -> None:
    """Paused, what runs goes on and nothing is begun; resumed, the queue is worked off."""
    held = Held()
    results: list[Any] = []
    async with Responder(held, address) as responder, Dispatcher(address, max_children=2) as php:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(keep, results, php, JOB)
            await eventually(lambda: held.running)
            php.pause()
            held.release()
            for _ in range(3):
                tasks.start_soon(keep, results, php, JOB)
            await eventually(lambda: len(results) == 1)
            await anyio.wait_all_tasks_blocked()
            assert php.statistics().queued == 3
            assert len(responder.requests) == 1
            php.resume()
        assert len(results) == 4


async def test_join(address: str) -> None:
    """join() ends when nothing is queued or running, or raises TimeoutError; it ends at once where there is nothing."""
    held = Held()
    async with Responder(held, address), Dispatcher(address, max_children=1) as php:
        await php.join()
        for _ in range(3):
            await php.submit(JOB)
        with pytest.raises(TimeoutError):
            await php.join(timeout=0.01)
        assert php.statistics().completed == 0
        held.release()
        await php.join(timeout=20)
        assert php.statistics().completed == 3


async def test_statistics(address: str) -> None:
    """Gauges show the moment, counters what has been; the slots never sum to more than the share."""
    held = Held()
    async with Responder(held, address), Dispatcher(address, max_children=2) as php:
        handles = [await php.submit(JOB) for _ in range(5)]
        await eventually(lambda: len(held.running) == 2)
        now = php.statistics()
        assert (now.share, now.queued, now.running, now.busy) == (2, 3, 2, 2)
        handles[-1].cancel()
        held.release()
        await php.join()
        now = await settled(php)
        assert (now.completed, now.cancelled, now.failed, now.queued, now.running) == (4, 1, 0, 0, 0)
        assert (now.idle, now.connections_opened) == (2, 2)


# ping


async def test_ping(address: str) -> None:
    """ping() returns the seconds until a worker answered, over a new connection or a kept one, and runs nothing."""
    async with Responder(ok, address) as responder, Dispatcher(address, max_children=1) as php:
        assert await php.ping() >= 0
        await php.run(JOB)
        assert await php.ping() >= 0
        assert len(responder.connections) == 1
        assert len(responder.requests) == 1
        assert (await settled(php)).idle == 1


async def test_ping_goes_ahead_of_all_jobs(address: str) -> None:
    """A ping has the next worker that is free, whatever waits."""
    held = Held()
    async with Responder(held, address), Dispatcher(address, max_children=1) as php:
        for _ in range(3):
            await php.submit(Job("/a.php", priority=99))
        await eventually(lambda: held.running)
        seconds: list[float] = []

        async def ping() -> None:
            seconds.append(await php.ping())
            php.pause()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ping)
            await anyio.wait_all_tasks_blocked()
            assert not seconds
            held.release()
        assert len(held.running) < 3
        php.resume()


async def test_ping_times_out(address: str) -> None:
    """A ping that no worker answers is a QueueTimeout, and leaves the dispatcher as it was."""
    held = Held()
    async with Responder(held, address), Dispatcher(address, max_children=1) as php:
        await php.submit(JOB)
        await eventually(lambda: held.running)
        with pytest.raises(QueueTimeout, match=r"no worker answered a ping within 0\.01 s") as caught:
            await php.ping(timeout=0.01)
        assert caught.value.endpoint == address
        held.release()
        await php.join()
        await php.ping()


async def test_ping_where_nobody_is(address: str) -> None:
    """A ping of a missing socket says what a job would say."""
    async with Dispatcher(address, max_children=1) as php:
        with pytest.raises(ConnectError, match="there is no such socket"):
            await php.ping()


async def test_ping_of_a_peer_that_closes_behind_get_values(address: str) -> None:
    """An old PHP answers a ping as well."""
    async with Responder(ok, address, closes_after_values=True), Dispatcher(address, max_children=1) as php:
        for _ in range(6):
            await php.ping()


async def test_ping_of_a_connection_that_goes(address: str) -> None:
    """A kept connection that closes instead of answering is no answer: another worker is asked."""
    seen: dict[int, int] = {}

    async def values(connection: ServedConnection) -> Close | None:
        number = connection.number
        seen[number] = seen.get(number, 0) + 1
        return Close() if number == 1 and seen[1] == 4 else None

    async with Responder(ok, address, values=values) as responder, Dispatcher(address, max_children=1) as php:
        await php.run(JOB)
        await settled(php)
        assert seen == {1: 3}
        await php.ping()
        assert len(responder.connections) == 2


async def test_ping_while_paused(address: str) -> None:
    """A paused dispatcher still answers whether a worker is there."""
    async with Responder(ok, address), Dispatcher(address, max_children=1) as php:
        php.pause()
        await php.ping()


async def test_closing_ends_a_ping(address: str) -> None:
    """A ping that waits when the dispatcher is closed fails with it."""
    held = Held()
    results: list[object] = []

    async def ping(php: Dispatcher) -> None:
        try:
            results.append(await php.ping())
        except FastCGIError as error:
            results.append(error)

    async with Responder(held, address), anyio.create_task_group() as tasks:
        async with Dispatcher(address, max_children=1, shutdown_timeout=0.0) as php:
            tasks.start_soon(keep, [], php, JOB)
            await eventually(lambda: held.running)
            tasks.start_soon(ping, php)
            await anyio.wait_all_tasks_blocked()
        await eventually(lambda: results)
    assert isinstance(results[0], DispatcherClosed)

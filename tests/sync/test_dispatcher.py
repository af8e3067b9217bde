"""Jobs from threads, on a real PHP-FPM."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import pytest

from fcgi_async import (
    ConfigurationError,
    DispatcherClosed,
    Endpoint,
    InvalidJob,
    Job,
    JobFailed,
    JobReport,
    JobTimeout,
    LocalFPM,
    StatusPage,
    StatusUnavailable,
    Timeouts,
)
from fcgi_async.sync import Dispatcher
from tests.eventually import soon

THREADS = 8


def said(text: object) -> Job:
    """A script that says this."""
    return Job("respond.php", query={"body": str(text)})


def gated(gate: Path, **settings: Any) -> Job:
    """A script that runs until a file is there."""
    return Job("gate.php", query={"gate": str(gate)}, **settings)


def test_eight_threads(php: Dispatcher) -> None:
    """Each gets its own answers by every way to hand in jobs, and all of them together no more than the share."""
    most: list[int] = []

    def work(thread: int) -> list[str]:
        got = []
        for turn in range(5):
            name = f"{thread}.{turn}"
            got.append(php.run(said(name)).text)
            got += [response.text for response in php.run_all([said(f"{name}.{n}") for n in range(5)])]
            got += [outcome.result().text for outcome in php.map(said(f"{name}.{n}") for n in range(5))]
            got.append(php.submit(said(name)).result().text)
            most.append(php.statistics().busy)
        return got

    with ThreadPoolExecutor(THREADS) as pool:
        found = list(pool.map(work, range(THREADS)))
    for thread, got in enumerate(found):
        expected = []
        for turn in range(5):
            name = f"{thread}.{turn}"
            expected += [name, *[f"{name}.{n}" for n in range(5)] * 2, name]
        assert got == expected
    assert max(most) <= 4
    assert php.statistics().completed == THREADS * 5 * 12


def test_errors_arrive_as_they_are(php: Dispatcher, gate: Path) -> None:
    """The same classes, with their facts."""
    with pytest.raises(JobFailed) as failed:
        php.run(Job("respond.php", query={"status": 500})).raise_for_status()
    assert failed.value.response.status == 500
    with pytest.raises(InvalidJob):
        php.run(Job("a.php", params={"PHP_VALUE": "x"}))
    job = gated(gate, tag="mine", run_timeout=0.1)
    with pytest.raises(JobTimeout, match=r"tag 'mine'") as late:
        php.run(job)
    assert late.value.job is job
    assert late.value.may_have_run
    with pytest.raises(InvalidJob, match="tag 'second'"):
        php.run_all([said("ok"), Job("a.php", params={"PHP_VALUE": "x"}, tag="second")])


def test_errors_in_their_place(php: Dispatcher) -> None:
    """run_all() gives them back if asked to, map() always."""
    wrong = Job("a.php", params={"PHP_VALUE": "x"})
    first, second = php.run_all((job for job in [said("ok"), wrong]), return_exceptions=True)
    assert isinstance(second, InvalidJob)
    assert not isinstance(first, InvalidJob)
    with php.map([wrong, said("ok")]) as outcomes:
        assert [type(outcome.error) for outcome in outcomes] == [InvalidJob, type(None)]


USES: dict[str, Callable[[Dispatcher], object]] = {
    "run": lambda php: php.run(said("a")),
    "run_all": lambda php: php.run_all([said("a")]),
    "run_all of an iterator": lambda php: php.run_all(iter([said("a")])),
    "map": lambda php: next(php.map([said("a")])),
    "stream": lambda php: php.stream(said("a")).__enter__().close(),
    "submit": lambda php: php.submit(said("a")),
    "ping": lambda php: php.ping(),
    "status": lambda php: php.status(),
    "join": lambda php: php.join(),
    "view": lambda php: php.view(priority=1).run(said("a")),
}


@pytest.mark.parametrize("use", USES)
def test_before_and_after(endpoint: Endpoint, use: str) -> None:
    """Each method says what to do first, or that it is over."""
    php = Dispatcher(endpoint)
    with pytest.raises(DispatcherClosed, match=r"not entered yet; use `with Dispatcher\(\.\.\.\) as php:`"):
        USES[use](php)
    assert not php.closed
    with php:
        pass
    assert php.closed
    with pytest.raises(DispatcherClosed, match="the dispatcher is closed; make a new one"):
        USES[use](php)


def test_statistics_before_and_after(endpoint: Endpoint) -> None:
    """They are kept after the end."""
    php = Dispatcher(endpoint)
    with pytest.raises(DispatcherClosed, match="not entered yet"):
        php.statistics()
    php.close()
    with php:
        php.run(said("a"))
    php.close()
    assert php.statistics().completed == 1
    with pytest.raises(DispatcherClosed, match="make a new one"):
        php.open()


def test_opened_by_many_threads(endpoint: Endpoint) -> None:
    """The first one that needs it opens it, and the others use what that has opened."""
    before = threading.active_count()
    php = Dispatcher(endpoint)
    together = threading.Barrier(THREADS)

    def work(number: int) -> str:
        together.wait(20)
        return php.open().run(said(number)).text

    with ThreadPoolExecutor(THREADS) as pool:
        assert list(pool.map(work, range(THREADS))) == [str(number) for number in range(THREADS)]
    assert [thread.name for thread in threading.enumerate()].count("fcgi_async") == 1
    php.close()
    assert threading.active_count() == before


def test_opening_again_after_a_failure(fpm: LocalFPM, backend: Literal["asyncio", "trio"], tmp_path: Path) -> None:
    """What could not be entered, since FPM was not there, can be tried again; no thread is left."""
    php = Dispatcher(Endpoint(fpm.address, status=StatusPage(f"unix://{tmp_path}/none.sock")), backend=backend)
    for _ in range(2):
        with pytest.raises(StatusUnavailable):
            php.open()
    assert "fcgi_async" not in [thread.name for thread in threading.enumerate()]
    assert not php.closed


def test_jobs_are_read_by_the_thread_that_brings_them(php: Dispatcher) -> None:
    """So that its database and its thread-locals are the right ones; it may run jobs meanwhile."""
    threads: list[threading.Thread] = []

    def jobs() -> Iterator[Job]:
        for number in range(20):
            threads.append(threading.current_thread())
            yield said(php.run(said(number)).text)

    assert [response.text for response in php.run_all(jobs())] == [str(number) for number in range(20)]
    assert [outcome.result().text for outcome in php.map(jobs())] == [str(number) for number in range(20)]
    assert set(threads) == {threading.current_thread()}


def test_jobs_are_read_as_workers_become_free(php: Dispatcher, tmp_path: Path) -> None:
    """An endless source is read no further than is needed."""
    read = 0

    def jobs() -> Iterator[Job]:
        nonlocal read
        while True:
            read += 1
            yield said(read)

    # without a limit, outcomes that come before their turn let more be read
    with php.map(jobs(), limit=10) as outcomes:
        assert read == 0
        assert [next(outcomes).result().text for _ in range(3)] == ["1", "2", "3"]
    assert 3 <= read <= 3 + 10
    assert list(outcomes) == []


def test_an_error_of_the_source(php: Dispatcher) -> None:
    """It arrives where the jobs were asked for, as it is."""

    def jobs() -> Iterator[Job]:
        yield said("a")
        raise LookupError("no more")

    with pytest.raises(LookupError, match="no more"):
        php.run_all(jobs())
    outcomes = php.map(jobs())
    assert next(outcomes).result().text == "a"
    with pytest.raises(LookupError, match="no more"):
        next(outcomes)
    assert php.run(said("b")).text == "b"


def test_outcomes_as_they_come(php: Dispatcher, gate: Path) -> None:
    """A slow job holds up nothing if they are not ordered."""
    jobs = [gated(gate), said("a"), said("b")]
    with php.map(jobs, ordered=False) as outcomes:
        assert {next(outcomes).result().text for _ in range(2)} == {"a", "b"}
        gate.touch()
        assert next(outcomes).job is jobs[0]
    with pytest.raises(ConfigurationError, match="limit"):
        next(php.map(jobs, limit=0))


def leave_with(php: Dispatcher, job: Job) -> None:
    with php.map([job, said("a")], ordered=False) as outcomes:
        for _ in outcomes:
            break


def leave_by_break(php: Dispatcher, job: Job) -> None:
    # the job is read before the one that is answered; one after it might not be read yet
    for _ in php.map((job for job in [job, said("a")]), ordered=False):
        break


def leave_by_an_error(php: Dispatcher, job: Job) -> None:
    def jobs() -> Iterator[Job]:
        yield job
        raise LookupError

    with pytest.raises(LookupError):
        php.run_all(jobs())


@pytest.mark.parametrize("leave", [leave_with, leave_by_break, leave_by_an_error])
def test_what_is_left_is_cancelled(php: Dispatcher, gate: Path, leave: Callable[[Dispatcher, Job], None]) -> None:
    """A job that runs is given up when nobody waits for it any more."""
    leave(php, gated(gate))
    soon(lambda: php.statistics().cancelled == 1)
    gate.touch()
    soon(lambda: not php.statistics().busy)


def test_async_iterables_are_refused(php: Dispatcher) -> None:
    """No thread can read them."""

    async def jobs() -> Any:
        yield said("a")

    for use in (php.run_all, php.map):
        wrong: Any = jobs()
        with pytest.raises(ConfigurationError, match="async iterable"):
            use(wrong)


def test_views(php: Dispatcher, gate: Path) -> None:
    """A view, and a view of it, have defaults of their own on the same workers."""
    view = php.view(timeouts=Timeouts(run=0.1)).view(params={"SERVER_NAME": "mine"})
    with pytest.raises(JobTimeout):
        view.run(gated(gate))
    assert "mine" in view.submit(Job("inspect.php", run_timeout=20)).result().text
    assert php.statistics().job_timeouts == 1
    assert "unix://" in repr(view) or "tcp://" in repr(view)


def test_ping_join_and_status(php: Dispatcher, endpoint: Endpoint) -> None:
    """What a dispatcher tells beside jobs."""
    assert 0 < php.ping() < 5
    php.join(timeout=20)
    assert php.endpoints == (endpoint,)
    with pytest.raises(StatusUnavailable):
        php.status()
    assert "open" in repr(php)


def test_the_context_of_the_caller(php: Dispatcher) -> None:
    """Observers, and so traces, see the context variables of the thread that hands in the job."""
    request: ContextVar[str] = ContextVar("request", default="none")
    seen: list[str] = []

    class Reader:
        params: Mapping[str, str] = MappingProxyType({})

        def job_submitted(self, job: Job) -> Reader:
            seen.append(request.get())
            return self

        def done(self, report: JobReport) -> None:
            pass

    php.observe(Reader())
    request.set("mine")
    php.run(said("a"))
    php.run_all(iter([said("a")]))
    php.submit(said("a")).result()
    list(php.map([said("a")]))
    assert seen == ["mine"] * 4


def test_wrong_settings(endpoint: Endpoint) -> None:
    """They are refused when it is made."""
    wrong: Any = "twisted"
    with pytest.raises(ConfigurationError, match=r'backend=\'twisted\' is neither "asyncio" nor "trio"'):
        Dispatcher(endpoint, backend=wrong)
    with pytest.raises(ConfigurationError, match="max_queued"):
        Dispatcher(endpoint, max_queued=0)
    with Dispatcher(endpoint) as php, pytest.raises(ConfigurationError, match="timeout"):
        php.close(-1)

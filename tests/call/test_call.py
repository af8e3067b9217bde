"""PHP functions that are called from Python, on a real PHP-FPM."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import anyio
import pytest

import fcgi_async.jobs
from fcgi_async import (
    CallError,
    CallRefused,
    ConfigurationError,
    Dispatcher,
    Endpoint,
    InvalidJob,
    Job,
    JobTimeout,
    LocalFPM,
    PHPError,
    PHPExited,
    PHPFatalError,
    Timeouts,
    sync,
)
from fcgi_async.call.php_file import PHP_FILE
from fcgi_async.testing import Reply, Responder
from tests.conftest import StartFPM
from tests.eventually import eventually

# what is tested is PHP, and what is made of its answers
pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])]

SCRIPTS = Path(__file__).parent / "scripts"
CALLS = SCRIPTS / "calls.php"


def endpoint(fpm: LocalFPM, **params: str) -> Endpoint:
    """A pool whose script finds the library where it is in the package."""
    return Endpoint(fpm.address, max_children=2, params={"CALL_LIBRARY": str(PHP_FILE), **params})


@pytest.fixture
async def php(anyio_backend: object, fpm: LocalFPM) -> AsyncIterator[Dispatcher]:
    """A dispatcher that knows the script."""
    async with Dispatcher(endpoint(fpm), call_script=CALLS) as dispatcher:
        yield dispatcher


async def test_arguments_by_place_and_name(php: Dispatcher) -> None:
    """As PHP's own calls have them."""
    assert await php.call("Shop\\Price::of", 7, currency="CHF") == {"id": 7, "currency": "CHF", "factor": 1.0}
    assert await php.call("\\Shop\\Price::of", factor=2.5, id=8) == {"id": 8, "currency": "EUR", "factor": 2.5}
    assert await php.call("Shop\\total", 1, 2, 3) == 6
    assert await php.call("strtoupper", "ä b") == "ä B"


async def test_what_may_be_called(php: Dispatcher) -> None:
    """Methods of an object that the application makes, marked methods of a class on the list, and aliases."""
    assert await php.call("Shop\\Price::unit") == "made"
    assert await php.call("Shop\\Reports::marked") == "marked"
    assert await php.call("a name", 4) == 8


@pytest.mark.parametrize(
    ("function", "why"),
    [
        ("system", r"system is not what FcgiCall::serve\(\) allows in .*calls\.php"),
        ("Shop\\Reports::unmarked", "is not what"),
        ("Shop\\Reports::markedAndPrivate", "no such public method"),
        ("Shop\\Reports", "allowed, and there is no such function"),
        ("Shop\\Late::__construct", "is not what"),
        ("shop\\price::of", "is not what"),
        ("Shop\\Price::of\0", "is not what"),
        ("Shop\\Price::hidden", "allowed, and there is no such public method"),
        ("Shop\\Price::missing", "allowed, and there is no such public method"),
        ("Shop\\missing", "allowed, and there is no such function"),
        ("Missing\\Class::method", "allowed, and there is no such public method"),
        ("", "is not what"),
    ],
)
async def test_what_is_refused(php: Dispatcher, function: str, why: str) -> None:
    """What is not on the list, exactly, and what is on it and not there."""
    with pytest.raises(CallRefused, match=why) as refused:
        await php.call(function)
    assert "it was not called" in str(refused.value)
    assert refused.value.function == function


async def test_no_class_is_loaded_for_a_name_off_the_list(fpm: LocalFPM, tmp_path: Path) -> None:
    """An autoloader never hears of what a client makes up."""
    loader = tmp_path / "loader.php"
    loader.write_text(
        f"<?php spl_autoload_register(fn ($c) => file_put_contents('{tmp_path}/loaded', $c, FILE_APPEND));"
    )
    async with Dispatcher(endpoint(fpm, CALL_AUTOLOAD=str(loader)), call_script=CALLS) as php:
        for function in ("Made\\Up::method", "Made\\Up"):
            with pytest.raises(CallRefused):
                await php.call(function)
        assert not (tmp_path / "loaded").exists()
        with pytest.raises(CallRefused):
            await php.call("Missing\\Class::method")
    assert "Missing\\Class" in (tmp_path / "loaded").read_text()


async def test_a_method_without_an_object(fpm: LocalFPM) -> None:
    """The refusal says what serve() needs."""
    async with Dispatcher(endpoint(fpm, CALL_NO_MAKE="1"), call_script=CALLS) as php:
        with pytest.raises(CallRefused, match=r"is not static.*make:"):
            await php.call("Shop\\Price::unit")


async def test_a_web_server_finds_nothing(php: Dispatcher) -> None:
    """A request without the parameter that only FastCGI can send gets what a missing script does."""
    body = {"function": "strtoupper", "args": ["a"], "named": {}}
    response = await php.run(Job(CALLS, json=body, headers={"FCGI-CALL": "1"}))
    assert (response.status, response.text) == (404, "File not found.\n")


@pytest.mark.parametrize(
    "value",
    [None, True, False, 0, -(2**63), 2**63 - 1, 0.1, 1e300, -0.5, "ü€😀", "", [], [1, [2]], {"a": {"b": [None]}}],
)
async def test_values_there_and_back(php: Dispatcher, value: object) -> None:
    """They keep their value and their type."""
    found = await php.call("Shop\\echoed", value)
    assert (found, type(found)) == (value, type(value))


async def test_values_as_php_sees_them(php: Dispatcher) -> None:
    """Floats stay floats, and whole keys become integers."""
    assert await php.call("Shop\\exported", 7.0) == "7.0"
    assert await php.call("Shop\\exported", (1,)) == "array (\n  0 => 1,\n)"
    assert await php.call("Shop\\exported", {5: True}) == "array (\n  5 => true,\n)"
    assert await php.call("Shop\\does", "whole float") == 7.0
    assert isinstance(await php.call("Shop\\does", "whole float"), float)
    assert await php.call("Shop\\does", "big float") == 2.0**80
    assert await php.call("Shop\\does", "third") == 1 / 3
    assert await php.call("Shop\\does", "int") == -(2**63)


def itself() -> list[object]:
    """A list that contains itself."""
    found: list[object] = []
    found.append(found)
    return found


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (2**63, r"argument 1\[0\] is an integer of more than 64 bits"),
        (float("nan"), "is nan, which is not JSON"),
        (float("inf"), "is inf, which is not JSON"),
        (b"\xff", "is bytes, which is not JSON; give text, or base64"),
        ({1}, "is set, which is not JSON"),
        (Decimal("0.1"), "is Decimal, which is not JSON"),
        ({1.5: "a"}, "has the key 1.5"),
        ({True: "a"}, "has the key True"),
        (itself(), "nested more than 500 levels deep, or contains itself"),
        ("\ud800", "cannot be expressed in JSON"),
    ],
)
async def test_arguments_that_cannot_be_sent(php: Dispatcher, value: object, why: str) -> None:
    """They are refused before anything is sent, with the place."""
    with pytest.raises(InvalidJob, match=why) as refused:
        await php.call("Shop\\echoed", [value])
    assert not refused.value.may_have_run
    assert php.statistics().completed == 0


@pytest.mark.parametrize("what", ["nan", "bytes", "resource", "closure", "generator"])
async def test_results_that_cannot_be_sent(php: Dispatcher, what: str) -> None:
    """The function ran; the error says why its result is not there."""
    with pytest.raises(CallError, match=r"Shop\\does\(\) returned what JSON cannot express: \w+") as failed:
        await php.call("Shop\\does", what)
    assert type(failed.value) is CallError
    assert failed.value.may_have_run


async def test_an_exception(php: Dispatcher) -> None:
    """It arrives with its class, message, code, place, and the one before it."""
    with pytest.raises(PHPError) as thrown:
        await php.call("Shop\\does", "throw")
    error = thrown.value
    assert type(error) is PHPError
    assert (error.class_name, error.message, error.code) == ("RuntimeException", "no price", 3)
    source = (SCRIPTS / "functions.php").read_text().splitlines()
    assert error.file == str(SCRIPTS / "functions.php")
    assert "'throw' =>" in source[error.line - 1]
    assert error.previous is not None
    assert (error.previous.class_name, error.previous.message) == ("LogicException", "café")
    assert error.__cause__ is error.previous
    assert error.job is not None
    assert (error.job.tag, error.function, error.may_have_run) == ("Shop\\does", "Shop\\does", True)
    assert str(error).startswith(
        f"Shop\\does() threw RuntimeException: no price (code 3) in {error.file}:{error.line} ["
    )
    again = pickle.loads(pickle.dumps(error))
    assert (again.message, again.line, again.previous.message) == (error.message, error.line, "café")


async def test_errors_of_php_itself(php: Dispatcher) -> None:
    """Wrong arguments, and messages that are no text."""
    for call, kind in [
        (("Shop\\Price::of", "7"), "TypeError"),
        (("Shop\\Price::of",), "ArgumentCountError"),
        (("Shop\\does", "type error"), "TypeError"),
        (("Shop\\does", "throw bytes"), "RuntimeException"),
    ]:
        with pytest.raises(PHPError) as thrown:
            await php.call(*call)
        assert thrown.value.class_name == kind
    assert thrown.value.message == "\ufffd"
    with pytest.raises(PHPError, match=r"Unknown named parameter \$colour"):
        await php.call("Shop\\Price::of", 1, colour="red")


@pytest.mark.parametrize("display_errors", ["on", "off"])
async def test_how_a_function_ends_without_returning(start_fpm: StartFPM, display_errors: str) -> None:
    """Fatal errors and exit() are told apart, whatever PHP is set up to print."""
    fpm = await start_fpm(max_children=1, ini={"display_errors": display_errors})
    async with Dispatcher(endpoint(fpm), call_script=CALLS) as php:
        with pytest.raises(PHPExited, match=r"Shop\\does\(\) did not return.*exit\(\) \[") as exited:
            await php.call("Shop\\does", "exit")
        assert exited.value.output == ""
        with pytest.raises(PHPExited, match="after it printed 'bye'"):
            await php.call("Shop\\does", "exit with text")
        with pytest.raises(PHPFatalError, match="Allowed memory size") as memory:
            await php.call("Shop\\does", "memory")
        assert (memory.value.file, memory.value.code) == (str(SCRIPTS / "functions.php"), 1)
        with pytest.raises(PHPFatalError, match="Maximum execution time"):
            await php.call("Shop\\does", "time")
        assert await php.call("strtoupper", "a") == "A"


async def test_a_fault_of_the_bootstrap(fpm: LocalFPM) -> None:
    """A file that is not there is reported as what a function does is."""
    async with Dispatcher(endpoint(fpm, CALL_AUTOLOAD="/none.php"), call_script=CALLS) as php:
        with pytest.raises(PHPError, match=r"none\.php"):
            await php.call("strtoupper", "a")


@pytest.mark.parametrize("what", ["print", "flush", "destructor", "status"])
async def test_what_a_function_prints(php: Dispatcher, what: str) -> None:
    """It is not a part of the result, whenever it is printed; nor is a status that it sets."""
    await php.call("Shop\\does", what)


async def test_a_function_that_ends_the_request(php: Dispatcher) -> None:
    """The result cannot arrive any more, and the error names what does that."""
    with pytest.raises(
        CallError, match=r"status 200, is not one of fcgi_call\.php; it is empty.*fastcgi_finish_request"
    ):
        await php.call("Shop\\does", "finish")


async def test_other_answers(fpm: LocalFPM, scripts: Path) -> None:
    """A script that is not there, and one that is another, are named."""
    async with Dispatcher(endpoint(fpm), call_script=scripts / "none.php") as php:
        with pytest.raises(CallError, match=r"status 404.*is .*/none\.php there, as FPM sees its files"):
            await php.call("strtoupper", "a")
        with pytest.raises(CallError, match=r"does .*inspect\.php call FcgiCall::serve\(\)"):
            await php.function("strtoupper", script=scripts / "inspect.php")("a")
    async with Responder() as responder, Dispatcher(responder.address, max_children=1, call_script="/c.php") as php:
        responder.on().reply(Reply(json={"fcgi_call": 1, "more": 2}), Reply(json={"fcgi_call": 2, "result": 2}))
        with pytest.raises(CallError, match="does not know"):
            await php.call("f")
        with pytest.raises(CallError, match="is not one of"):
            await php.call("f")
        responder.assert_asked("/c.php", json={"function": "f", "args": [], "named": {}}, params={"FCGI_CALL": "1"})


async def test_a_request_that_is_not_whole(php: Dispatcher) -> None:
    """PHP does not guess at a body that was cut."""
    response = await php.run(Job(CALLS, content='{"function": "strt', params={"FCGI_CALL": "1"}))
    assert response.status == 400
    assert "the request is not whole" in response.text


@pytest.mark.parametrize(
    ("returns", "value", "result"),
    [
        (int, 7, 7),
        (float, 7, 7.0),
        (float, 0.5, 0.5),
        (str, "a", "a"),
        (bool, True, True),
        (list, [1], [1]),
        (list[int], [1], [1]),
        (dict, {"a": 1}, {"a": 1}),
        (dict, {}, {}),
        (Decimal, "0.1", Decimal("0.1")),
        (len, [1, 2], 2),
    ],
)
async def test_types_of_results(php: Dispatcher, returns: Any, value: object, result: object) -> None:
    """They are checked, or made of the result."""
    found = await php.function("Shop\\echoed", returns=returns)(value)
    assert (found, type(found)) == (result, type(result))


@pytest.mark.parametrize(
    ("returns", "value", "why"),
    [
        (int, "7", "returned '7', which is not int"),
        (int, True, "returned True, which is not int"),
        (float, "7", "which is not float"),
        (str, None, "returned None, which is not str"),
        (dict, [1], "which is not dict"),
        (Decimal, "x", "returned 'x', which Decimal refused"),
    ],
)
async def test_results_of_another_type(php: Dispatcher, returns: Any, value: object, why: str) -> None:
    """They are an error that shows them."""
    with pytest.raises(CallError, match=why):
        await php.function("Shop\\echoed", returns=returns)(value)


async def test_deadlines_priority_and_retries(php: Dispatcher, tmp_path: Path) -> None:
    """They are the job's; a view's defaults hold too."""
    gate = str(tmp_path / "gate")
    job = php.function("f", priority=3, timeout=4, queue_timeout=5, run_timeout=6, idempotent=True).job(1, a=2)
    assert (job.priority, job.timeout, job.queue_timeout, job.run_timeout, job.idempotent) == (3, 4, 5, 6, True)
    assert job.json == {"function": "f", "args": (1,), "named": {"a": 2}}
    with pytest.raises(JobTimeout):
        await php.function("Shop\\does", run_timeout=0.1)("wait", gate)
    with pytest.raises(JobTimeout):
        await php.view(timeouts=Timeouts(run=0.1)).call("Shop\\does", "wait", gate=gate)
    (tmp_path / "gate").touch()
    await eventually(lambda: not php.statistics().draining)


async def test_calls_as_jobs(php: Dispatcher) -> None:
    """Many at once, by every way to hand in jobs."""
    total = php.function("Shop\\total", returns=int)
    responses = await php.run_all(total.job(n, 1) for n in range(20))
    assert [total.result(response) for response in responses] == list(range(1, 21))


async def test_a_relative_script(fpm: LocalFPM) -> None:
    """It is under the root, a view's too."""
    async with Dispatcher(endpoint(fpm), call_script="calls.php") as php:
        assert await php.view(root=SCRIPTS).call("strtoupper", "a") == "A"


async def test_no_script(fpm: LocalFPM) -> None:
    """The error says how to name it, and where to get what it requires."""
    async with Dispatcher(fpm.address, max_children=1) as php:
        with pytest.raises(ConfigurationError, match=r"call_script=.*python -m fcgi_async\.call"):
            await php.call("strtoupper", "a")


async def test_from_threads(fpm: LocalFPM) -> None:
    """The same without an event loop, with the same errors."""

    def work() -> None:
        with sync.Dispatcher(endpoint(fpm), call_script=CALLS) as php:
            assert php.call("Shop\\Price::of", 7, currency="CHF") == {"id": 7, "currency": "CHF", "factor": 1.0}
            total = php.function("Shop\\total", returns=int)
            assert total.name == "Shop\\total"
            assert total(1, 2) == 3
            assert [total.result(response) for response in php.run_all([total.job(1), total.job(2)])] == [1, 2]
            assert php.view(priority=1).call("strtoupper", "a") == "A"
            with pytest.raises(PHPError, match="no price"):
                php.call("Shop\\does", "throw")

    await anyio.to_thread.run_sync(work)


@pytest.mark.parametrize(
    ("module", "file"),
    [("fcgi_async.call", PHP_FILE), ("fcgi_async.jobs", Path(fcgi_async.jobs.__path__[0]) / "fcgi_jobs.php")],
)
async def test_the_file_is_copied(tmp_path: Path, module: str, file: Path) -> None:
    """The command prints where it is, or copies it into a folder."""

    def run(*arguments: object) -> str:
        command = [sys.executable, "-m", module, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()

    assert run() == str(file)
    assert run(tmp_path) == str(tmp_path / file.name)
    assert (tmp_path / file.name).read_bytes() == await anyio.Path(file).read_bytes()
    assert run(tmp_path / "none") == ""

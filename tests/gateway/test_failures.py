"""What clients are told when something goes wrong: nothing is silent, and nothing runs twice."""

from __future__ import annotations

import os
import signal
from functools import partial
from pathlib import Path

import anyio
import pytest

from fcgi_async import (
    ConnectError,
    ConnectionLost,
    Dispatcher,
    Endpoint,
    InvalidJob,
    Job,
    JobTimeout,
    LocalFPM,
    Overloaded,
    QueueTimeout,
    Retry,
    Timeouts,
)
from fcgi_async.gateway import Gateway
from fcgi_async.wire.records import BEGIN_BODY, END_BODY, encode_pair
from fcgi_async.wire.records import encode_record as record
from fcgi_async.wire.spec import KEEP_CONN, ProtocolStatus, RecordType, Role
from tests.conftest import StartFPM
from tests.eventually import eventually
from tests.fpm.marks import started
from tests.fpm.raw_client import STDOUT, raw_bytes, raw_connect, raw_request, read_records

pytestmark = pytest.mark.anyio

ONCE = Retry(attempts=1)


def waiting(tmp_path: Path) -> Job:
    """A job that marks its stay, and runs until the gate is there."""
    return Job("wait.php", query={"marks": str(tmp_path / "marks"), "gate": str(tmp_path / "gate")})


async def test_a_full_queue_is_overloaded(fpm: LocalFPM, scripts: Path, tmp_path: Path) -> None:
    """One request more than the gateway takes is refused, and did not run; a web server gets 503."""
    async with (
        Dispatcher(fpm.address, max_children=1, max_queued=1) as back,
        Gateway(back, f"unix://{tmp_path}/gateway.sock", requests=10) as gateway,
        Dispatcher(Endpoint(gateway.address, root=str(scripts)), retry=ONCE) as php,
    ):
        handles = [await php.submit(waiting(tmp_path))]
        await eventually(lambda: started(tmp_path / "marks") == 1)
        handles.append(await php.submit(waiting(tmp_path)))
        await eventually(lambda: back.statistics().queued == 1)
        with pytest.raises(Overloaded) as caught:
            await php.run(Job("respond.php"))
        assert not caught.value.may_have_run
        answer = await anyio.to_thread.run_sync(raw_request, gateway.address, scripts / "respond.php")
        assert answer.head.startswith("Status: 503 ")
        assert gateway.statistics().refused == 2
        (tmp_path / "gate").touch()
        for handle in handles:
            await handle


async def test_an_overloaded_job_is_sent_again(fpm: LocalFPM, scripts: Path, tmp_path: Path) -> None:
    """By itself a client waits until there is room."""
    async with (
        Dispatcher(fpm.address, max_children=1, max_queued=1) as back,
        Gateway(back, f"unix://{tmp_path}/gateway.sock", requests=10) as gateway,
        Dispatcher(Endpoint(gateway.address, root=str(scripts))) as php,
    ):
        handles = [await php.submit(waiting(tmp_path)) for _ in range(4)]
        await eventually(lambda: gateway.statistics().refused >= 2)
        (tmp_path / "gate").touch()
        for handle in handles:
            assert (await handle).ok
    assert started(tmp_path / "marks") == 4


async def test_a_worker_that_dies_is_told(client: Endpoint, tmp_path: Path, gateway: Gateway, scripts: Path) -> None:
    """A job whose worker is killed fails as it does without a gateway: ConnectionLost, and it may have run."""
    query = {"marks": str(tmp_path / "marks"), "name": "it", "do": "kill itself"}
    async with Dispatcher(client) as php:
        with pytest.raises(ConnectionLost, match="gateway") as caught:
            await php.run(Job("fault.php", query=query))
        assert caught.value.may_have_run
        assert (await php.run(Job("respond.php", query={"body": "x"}))).text == "x"
        assert started(tmp_path / "marks") == 1
        # whoever made the job decides whether it may run again
        with pytest.raises(ConnectionLost):
            await php.run(Job("fault.php", query=query, idempotent=True))
        assert started(tmp_path / "marks") == 4


async def test_a_web_server_gets_502_for_a_worker_that_dies(gateway: Gateway, scripts: Path, tmp_path: Path) -> None:
    """Who asks for no values gets a response that names the error."""
    params = {"QUERY_STRING": f"marks={tmp_path}/marks&name=it&do=kill+itself"}
    answer = await anyio.to_thread.run_sync(lambda: raw_request(gateway.address, scripts / "fault.php", params=params))
    assert answer.head.startswith("Status: 502 ")
    assert "X-FCGI-Async-Error: ConnectionLost" in answer.head


async def test_a_response_that_breaks_off_is_told(
    gateway: Gateway, client: Endpoint, scripts: Path, tmp_path: Path
) -> None:
    """When a worker dies in the middle of its response the client fails the job, and a web server sees no end."""
    query = {"gate": str(tmp_path / "gate")}
    async with Dispatcher(client) as php:
        async with php.stream(Job("gate.php", query=query)) as response:
            pid = int(await anext(aiter(response)))
            os.kill(pid, signal.SIGKILL)
            with pytest.raises(ConnectionLost, match="in the middle") as caught:
                await response.aread()
            assert caught.value.may_have_run

    def kill_in_the_middle() -> list[int]:
        params = {"SCRIPT_FILENAME": str(scripts / "gate.php"), "REQUEST_METHOD": "GET"}
        params["QUERY_STRING"] = f"gate={tmp_path}/gate"
        with raw_connect(gateway.address) as connection:
            connection.sendall(raw_bytes(params))
            kinds = []
            for kind, content in read_records(connection):
                kinds.append(kind)
                if kind == STDOUT:
                    os.kill(int(content.rpartition(b"\r\n\r\n")[2]), signal.SIGKILL)
            return kinds

    assert await anyio.to_thread.run_sync(kill_in_the_middle) == [STDOUT]


async def test_no_fpm_is_a_connect_error(scripts: Path, tmp_path: Path) -> None:
    """Nobody listens behind the gateway: the job did not run, and the message says where to look; a server gets 503."""
    async with (
        Dispatcher(f"unix://{tmp_path}/nobody.sock", max_children=1) as back,
        Gateway(back, f"unix://{tmp_path}/gateway.sock") as gateway,
        Dispatcher(Endpoint(gateway.address, root=str(scripts))) as php,
    ):
        with pytest.raises(ConnectError, match=r"nobody\.sock") as caught:
            await php.run(Job("respond.php"))
        assert not caught.value.may_have_run
        answer = await anyio.to_thread.run_sync(raw_request, gateway.address, scripts / "respond.php")
        assert answer.head.startswith("Status: 503 ")


async def test_the_gateways_own_deadlines(fpm: LocalFPM, scripts: Path, tmp_path: Path) -> None:
    """A dispatcher's deadlines hold for what it is handed by a gateway: before a worker took it, and after."""
    timeouts = Timeouts(queue=0.05, run=0.2)
    async with (
        Dispatcher(fpm.address, max_children=1, timeouts=timeouts) as back,
        Gateway(back, f"unix://{tmp_path}/gateway.sock") as gateway,
        Dispatcher(Endpoint(gateway.address, root=str(scripts))) as php,
    ):
        running = await php.submit(waiting(tmp_path))
        await eventually(lambda: back.statistics().busy == 1)
        with pytest.raises(QueueTimeout) as never_ran:
            await php.run(Job("respond.php"))
        with pytest.raises(JobTimeout) as ran:
            await running
        assert (never_ran.value.may_have_run, ran.value.may_have_run) == (False, True)
        (tmp_path / "gate").touch()


async def test_what_endangers_workers_is_refused(fpm: LocalFPM, scripts: Path, tmp_path: Path) -> None:
    """php.ini settings in parameters, and a wrong length, reach no worker; what is allowed by name does."""
    permissive = Endpoint(fpm.address, max_children=1, allow_params={"PHP_VALUE"})
    respond = scripts / "respond.php"
    async with Dispatcher(fpm.address, max_children=1) as strict, Dispatcher(permissive) as lax:
        async with (
            Gateway(strict, f"unix://{tmp_path}/strict.sock") as one,
            Gateway(lax, f"unix://{tmp_path}/lax.sock") as other,
        ):

            def ask(
                gateway: Gateway, params: dict[str, str], script: Path = respond, body: bytes = b""
            ) -> tuple[str, str]:
                response = raw_request(gateway.address, script, params=params, body=body)
                return response.head, response.text

            in_thread = anyio.to_thread.run_sync
            for name, value in (("PHP_VALUE", "memory_limit=1M"), ("CONTENT_LENGTH", "3"), ("CONTENT_LENGTH", "x")):
                head, text = await in_thread(partial(ask, one, {name: value}, body=b"ab"))
                assert head.startswith("Status: 400 ")
                assert name in text
            head, _ = await in_thread(partial(ask, other, {"PHP_VALUE": "memory_limit=99M"}))
            assert "Status" not in head
            # a visitor's header is left out, and a length that is missing is added
            head, text = await in_thread(
                partial(ask, one, {"HTTP_PROXY": "http://evil", "CONTENT_LENGTH": ""}, scripts / "inspect.php", b"abc")
            )
            assert "HTTP_PROXY" not in text
            assert '"CONTENT_LENGTH":"3"' in text
            async with Dispatcher(Endpoint(one.address, root=str(scripts), allow_params={"PHP_VALUE"})) as php:
                with pytest.raises(InvalidJob, match="PHP_VALUE") as caught:
                    await php.run(Job("respond.php", params={"PHP_VALUE": "memory_limit=1M"}))
                assert not caught.value.may_have_run


async def test_a_body_that_is_too_long_is_refused(fpm: LocalFPM, scripts: Path, tmp_path: Path) -> None:
    """More than `max_body` reaches no worker; and where temporary files have no room, a client comes again later."""
    async with Dispatcher(fpm.address, max_children=1) as back:
        async with (
            Gateway(back, f"unix://{tmp_path}/small.sock", max_body=100_000) as small,
            Gateway(back, f"unix://{tmp_path}/full.sock", body_buffer=1000, max_spooled=50_000) as full,
        ):
            big = Job("inspect.php", content=b"x" * 200_000)
            async with Dispatcher(Endpoint(small.address, root=str(scripts))) as php:
                with pytest.raises(InvalidJob, match="max_body"):
                    await php.run(big)
            async with Dispatcher(Endpoint(full.address, root=str(scripts)), retry=ONCE) as php:
                with pytest.raises(Overloaded):
                    await php.run(big)


async def test_garbage_ends_its_connection_alone(gateway: Gateway, client: Endpoint) -> None:
    """Who does not speak FastCGI is closed, and so is who leaves in the middle; others are served."""
    path = gateway.address.removeprefix("unix://")
    async with Dispatcher(client) as php:
        for data in (
            b"GET / HTTP/1.1\r\n\r\n",
            b"\x01\x05\x00\x01\x00\x00\x00\x00",
            b"\x01\x01\x00\x01\x00\x08\x00\x00\x00\x01",
        ):
            async with await anyio.connect_unix(path) as stream:
                await stream.send(data)
        await eventually(lambda: gateway.statistics().connections <= 1)
        assert (await php.run(Job("respond.php", query={"body": "x"}))).text == "x"


async def test_leaving_finishes_what_it_has(fpm: LocalFPM, scripts: Path, tmp_path: Path) -> None:
    """A gateway that is left ends what runs and waits, takes nothing new, and its clients go on with the next one."""
    address = f"unix://{tmp_path}/gateway.sock"
    client = Endpoint(address, root=str(scripts), max_children=10)
    async with Dispatcher(fpm.address, max_children=1) as back, Dispatcher(client) as php:
        async with Gateway(back, address, requests=10) as first:
            handles = [await php.submit(waiting(tmp_path)) for _ in range(2)]
            await eventually(lambda: back.statistics().queued == 1)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(first.aclose)
                await eventually(lambda: not (tmp_path / "gateway.sock").exists())
                late = await php.submit(Job("respond.php", query={"body": "late"}))
                await eventually(lambda: first.statistics().refused > 0)
                (tmp_path / "gate").touch()
                for handle in handles:
                    assert (await handle).ok
        async with Gateway(back, address):
            assert (await late).text == "late"


async def test_what_comes_at_the_last_moment_is_refused(back: Dispatcher, tmp_path: Path) -> None:
    """A request that a gateway has not read when it closes is refused, and none can be written after that."""
    address = f"unix://{tmp_path}/gateway.sock"
    params = record(RecordType.PARAMS, 1, encode_pair(b"SCRIPT_FILENAME", b"/a.php"))
    begin = record(RecordType.BEGIN_REQUEST, 1, BEGIN_BODY.pack(Role.RESPONDER, KEEP_CONN))
    request = begin + params + record(RecordType.PARAMS, 1) + record(RecordType.STDIN, 1)
    async with Gateway(back, address) as gateway, await anyio.connect_unix(f"{tmp_path}/gateway.sock") as stream:
        await stream.send(record(RecordType.GET_VALUES, 0))
        assert await stream.receive()
        sock = stream.extra(anyio.abc.SocketAttribute.raw_socket)
        sock.send(request)
        await gateway.aclose()
        with pytest.raises(BrokenPipeError):
            sock.send(request)
        assert await stream.receive() == record(RecordType.END_REQUEST, 1, END_BODY.pack(0, ProtocolStatus.OVERLOADED))
        with pytest.raises(anyio.EndOfStream):
            await stream.receive()
    assert back.statistics().completed == 0


async def test_a_reloaded_pool_is_waited_for(start_fpm: StartFPM, scripts: Path, tmp_path: Path) -> None:
    """While PHP-FPM is reloaded, requests wait in the gateway; none fails."""
    fpm = await start_fpm(max_children=2)
    async with (
        Dispatcher(fpm.address, max_children=2) as back,
        Gateway(back, f"unix://{tmp_path}/gateway.sock") as gateway,
        Dispatcher(Endpoint(gateway.address, root=str(scripts))) as php,
    ):
        job = Job("work.php", query={"marks": str(tmp_path / "marks"), "seconds": "0.002"})
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(php.run_all, [job] * 200)
            await eventually(lambda: started(tmp_path / "marks") > 20)
            await fpm.reload()
    assert started(tmp_path / "marks") == 200

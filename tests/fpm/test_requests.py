"""What PHP sees of a job, and what the caller sees of PHP's answer."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
import pytest

from fcgi_async import (
    ConnectError,
    Dispatcher,
    Endpoint,
    Job,
    JobFailed,
    Limits,
    LocalFPM,
    Response,
    ResponseTooLarge,
)

pytestmark = pytest.mark.anyio

SIZES = [0, 1, 65535, 65536, 200_000, 20_000_000]


def seen(response: Response) -> Any:
    """Return what inspect.php or front.php saw."""
    assert response.status == 200, response
    return response.json()


async def parts(body: bytes, size: int) -> AsyncIterator[bytes]:
    """Yield a body in parts."""
    for start in range(0, len(body), size):
        yield body[start : start + size]


@pytest.mark.parametrize("size", SIZES)
async def test_bytes_come_back_whole(php: Dispatcher, size: int) -> None:
    """A body of bytes is written while the answer is read, whatever its size."""
    body = os.urandom(size)
    response = await php.run(Job("echo.php", content=body))
    assert (response.status, len(response.content)) == (200, size)
    assert response.content == body


@pytest.mark.parametrize("size", SIZES)
async def test_an_iterable_comes_back_whole(php: Dispatcher, size: int) -> None:
    """A body in parts is written while the answer is read, whatever its size."""
    body = os.urandom(size)
    response = await php.run(Job("echo.php", content=parts(body, 50_000), content_length=size))
    assert hashlib.md5(response.content).digest() == hashlib.md5(body).digest()


async def test_a_body_of_zero_is_a_body(php: Dispatcher) -> None:
    """A body of "0" arrives, although it is false to PHP."""
    assert (await php.run(Job("echo.php", content="0"))).content == b"0"


async def test_an_unread_body_leaves_the_connection_usable(php: Dispatcher) -> None:
    """A script that does not read its large body spoils nothing for the next job."""
    responses = await php.run_all(Job("respond.php", content=b"x" * 300_000, query={"body": str(n)}) for n in range(20))
    assert [response.text for response in responses] == [str(n) for n in range(20)]


async def test_three_thousand_parameters(php: Dispatcher) -> None:
    """Parameters over many records all arrive."""
    params = {f"X_{n}": f"value {n}" for n in range(3000)}
    server = seen(await php.run(Job("inspect.php", params=params)))["server"]
    assert {name: server[name] for name in params} == params


async def test_a_parameter_of_40000_bytes(php: Dispatcher) -> None:
    """A long parameter arrives whole, though its neighbours fill the record."""
    params = {"BEFORE": "b" * 30_000, "LONG": "x" * 40_000}
    server = seen(await php.run(Job("inspect.php", params=params)))["server"]
    assert server["LONG"] == params["LONG"]
    assert server["BEFORE"] == params["BEFORE"]


async def test_default_parameters(php: Dispatcher, scripts: Path) -> None:
    """PHP gets what a web server would have told it."""
    server = seen(await php.run(Job("inspect.php", query="a=1")))["server"]
    expected = {
        "SCRIPT_FILENAME": f"{scripts}/inspect.php",
        "SCRIPT_NAME": "/inspect.php",
        "PHP_SELF": "/inspect.php",
        "DOCUMENT_ROOT": str(scripts),
        "REQUEST_URI": "/inspect.php?a=1",
        "QUERY_STRING": "a=1",
        "REQUEST_METHOD": "GET",
        "GATEWAY_INTERFACE": "CGI/1.1",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_NAME": "localhost",
        "HTTP_HOST": "localhost",
        "REMOTE_ADDR": "127.0.0.1",
        "FCGI_ROLE": "RESPONDER",
    }
    assert {name: server.get(name) for name in expected} == expected


async def test_json_form_and_query(php: Dispatcher) -> None:
    """Each kind of body and the query arrive as PHP programs expect them."""
    as_json = seen(await php.run(Job("inspect.php", json={"id": 7, "name": "ü"})))
    assert as_json["server"]["CONTENT_TYPE"] == "application/json"
    assert as_json["server"]["REQUEST_METHOD"] == "POST"
    assert as_json["md5"] == hashlib.md5('{"id":7,"name":"ü"}'.encode()).hexdigest()
    as_form = seen(await php.run(Job("inspect.php", form={"a": "1 & 2", "list": ["x", "y"]}, query={"q": "ü"})))
    assert as_form["post"] == {"a": "1 & 2", "list": ["x", "y"]}
    assert as_form["get"] == {"q": "ü"}


async def test_files_as_php_sees_them(php: Dispatcher, tmp_path: Path) -> None:
    """Files given as bytes, by path and as an iterable arrive in $_FILES, fields beside them in $_POST."""
    content = os.urandom(300_000)
    path = tmp_path / "photo.jpg"
    path.write_bytes(content)
    files = {
        "bytes": ("a.txt", b"hello", "text/plain"),
        "path": ("photo.jpg", path, "image/jpeg"),
        "iterable": ('q"uote.bin', parts(content, 7000), "application/octet-stream", len(content)),
    }
    answer = seen(await php.run(Job("inspect.php", files=files, form={"field": "value"})))
    md5 = hashlib.md5(content).hexdigest()
    assert answer["files"] == {
        "bytes": {"name": "a.txt", "type": "text/plain", "size": 5, "md5": hashlib.md5(b"hello").hexdigest()},
        "path": {"name": "photo.jpg", "type": "image/jpeg", "size": 300_000, "md5": md5},
        "iterable": {"name": "q%22uote.bin", "type": "application/octet-stream", "size": 300_000, "md5": md5},
    }
    assert answer["post"] == {"field": "value"}


async def test_request_headers(php: Dispatcher) -> None:
    """Headers arrive as HTTP_*, the content type under its own name, and override those sent by default."""
    headers = {"X-Request-Id": "abc", "Content-Type": "text/csv", "Host": "shop.example"}
    server = seen(await php.run(Job("inspect.php", content="a,b", headers=headers)))["server"]
    assert (server["HTTP_X_REQUEST_ID"], server["CONTENT_TYPE"], server["HTTP_HOST"]) == (
        "abc",
        "text/csv",
        "shop.example",
    )


async def test_endpoint_params_and_headers(fpm: LocalFPM, scripts: Path) -> None:
    """What an endpoint sends with every job, a job may override."""
    endpoint = Endpoint(
        fpm.address, max_children=1, root=str(scripts), params={"APP_ENV": "prod", "A": "1"}, headers={"X-Via": "us"}
    )
    async with Dispatcher(endpoint) as php:
        server = seen(await php.run(Job("inspect.php", params={"A": "2"})))["server"]
    assert (server["APP_ENV"], server["A"], server["HTTP_X_VIA"]) == ("prod", "2", "us")


@pytest.mark.parametrize("status", [200, 201, 204, 302, 404, 418, 500, 503])
async def test_status(php: Dispatcher, status: int) -> None:
    """Whatever PHP answers is a response; only raise_for_status() makes an error of it."""
    response = await php.run(Job("respond.php", query={"status": str(status), "body": "text"}))
    assert response.status == status
    assert response.ok is (status < 400)
    if response.ok:
        assert response.raise_for_status() is response
    else:
        with pytest.raises(JobFailed, match=f"status {status}") as failure:
            response.raise_for_status()
        assert failure.value.may_have_run


async def test_repeated_headers(php: Dispatcher) -> None:
    """Equal names are kept apart, in their order."""
    cookies = ["Set-Cookie: a=1", "Set-Cookie: b=2"]
    response = await php.run(Job("respond.php", query={"headers": cookies}))
    assert response.headers.get_list("set-cookie") == ["a=1", "b=2"]
    assert response.headers["Set-Cookie"] == "a=1"


async def test_compressed_answer(php: Dispatcher) -> None:
    """What PHP compresses, since the job accepts it, is read as text and JSON, and kept as it was sent."""
    body = json.dumps({"a": "é" * 1000})
    headers = {"Accept-Encoding": "gzip"}
    response = await php.run(Job("respond.php", query={"body": body, "compress": True}, headers=headers))
    assert response.headers["content-encoding"] == "gzip"
    assert len(response.content) < len(body) / 10
    assert response.text == body
    assert response.json() == {"a": "é" * 1000}


async def test_bomb_of_php(fpm: LocalFPM, scripts: Path) -> None:
    """`Limits.response` bounds the text of a compressed answer too."""
    endpoint = Endpoint(fpm.address, max_children=1, root=scripts)
    async with Dispatcher(endpoint, limits=Limits(response=50_000)) as php:
        query = {"body": "x" * 50_001, "compress": True}
        response = await php.run(Job("respond.php", query=query, headers={"Accept-Encoding": "gzip"}))
        with pytest.raises(ResponseTooLarge, match=r"Limits\.response, 50000 bytes"):
            _ = response.text
        assert (await php.run(Job("respond.php", query={"body": "next"}))).text == "next"


async def test_stderr_apart(php: Dispatcher) -> None:
    """What PHP logs comes beside the body, not in it."""
    response = await php.run(Job("respond.php", query={"log": "something is off", "body": "fine"}))
    assert response.content == b"fine"
    assert b"something is off" in response.stderr


async def test_front_controller_routes_by_uri(php: Dispatcher, scripts: Path) -> None:
    """A front controller finds its route in REQUEST_URI, its arguments in $_GET."""
    answer = seen(await php.run(Job("front.php", uri="/orders/7?x=1&y=a%20b")))
    assert answer == {
        "order": 7,
        "query": {"x": "1", "y": "a b"},
        "path_info": "",
        "script_name": "/front.php",
        "script_filename": f"{scripts}/front.php",
        "method": "GET",
    }
    missing = await php.run(Job("front.php", uri="/nothing"))
    assert (missing.status, missing.text) == (404, "no route for /nothing")


async def test_a_wrong_script_is_a_404(php: Dispatcher) -> None:
    """A script that is not there is an answer of FPM's, with its reason on stderr."""
    response = await php.run(Job("nothing.php"))
    assert response.status == 404
    assert b"Primary script unknown" in response.stderr
    assert not response.ok


async def test_timing_and_provenance(php: Dispatcher, fpm: LocalFPM) -> None:
    """A response tells where it was made, in how many attempts, and where the time went."""
    response = await php.run(Job("respond.php", tag="mine"))
    timing = response.timing
    assert (response.endpoint, response.attempts, response.job.tag) == (fpm.address, 1, "mine")
    assert 0 <= timing.connect <= timing.queued <= timing.total
    assert 0 <= timing.first_byte <= timing.total


async def test_an_http_server_is_not_fastcgi() -> None:
    """A peer that answers with something else is a typed error, not a hang."""

    async def speak_http(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            await stream.receive()
            await stream.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, speak_http)
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        async with Dispatcher(f"tcp://127.0.0.1:{port}", max_children=1) as php:
            with pytest.raises(ConnectError, match="does not speak FastCGI") as failure:
                await php.run(Job("/x.php"))
            assert not failure.value.may_have_run
        tasks.cancel_scope.cancel()

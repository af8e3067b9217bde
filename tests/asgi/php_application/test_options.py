"""Each option of PHPApplication: what it changes, and what is refused in its place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from fcgi_async import ConfigurationError, Dispatcher
from fcgi_async.asgi import HIDDEN, PHPApplication
from fcgi_async.testing import Close, Reply, Request, Stall
from fcgi_async.testing.request import Answer as Scripted
from tests.asgi.client import Client
from tests.asgi.php_application.site import HOST, Site, ask

pytestmark = pytest.mark.anyio


async def test_root_that_is_a_link(site: Site, tmp_path: Path) -> None:
    """It is followed for each request, so that a deploy shows at once, and PHP gets real paths."""
    releases = [tmp_path / "one", tmp_path / "two"]
    for release in releases:
        release.mkdir()
        (release / "index.php").touch()
    current = tmp_path / "current"
    current.symlink_to(releases[0])
    app = PHPApplication(current, dispatcher=site.php)
    for release in releases:
        (tmp_path / "new").symlink_to(release)
        (tmp_path / "new").rename(current)
        params = (await ask(app)).params()
        assert (params["DOCUMENT_ROOT"], params["SCRIPT_FILENAME"]) == (str(release), f"{release}/index.php")


async def test_release_that_is_renamed(site: Site, tmp_path: Path) -> None:
    """The link leads to the same folder, under another name."""
    current, one, two = tmp_path / "current", tmp_path / "one", tmp_path / "two"
    one.mkdir()
    (one / "index.php").touch()
    current.symlink_to(one)
    app = PHPApplication(current, dispatcher=site.php)
    assert (await ask(app)).params()["DOCUMENT_ROOT"] == str(one)
    one.rename(two)
    current.unlink()
    current.symlink_to(two)
    assert (await ask(app)).params()["DOCUMENT_ROOT"] == str(two)


async def test_root_that_is_gone(site: Site, tmp_path: Path) -> None:
    """404, until it is there."""
    app = PHPApplication(tmp_path / "later", dispatcher=site.php)
    assert (await ask(app)).status == 404
    (tmp_path / "later").mkdir()
    (tmp_path / "later" / "index.php").touch()
    assert (await ask(app)).status == 200


async def test_fpm_root(site: Site) -> None:
    """The paths on FPM's side; files are looked for on ours."""
    params = (await site.ask("/page.php", fpm_root="/var/www/html")).params()
    assert (params["SCRIPT_FILENAME"], params["DOCUMENT_ROOT"]) == ("/var/www/html/page.php", "/var/www/html")
    assert (await site.ask("/nowhere.php", fpm_root="/var/www/html")).status == 404


async def test_no_front_controller(site: Site) -> None:
    """404 for what nothing answers."""
    assert (await site.ask("/nowhere", front=None)).status == 404
    assert (await site.ask("/page.php", front=None)).status == 200


async def test_front_controller_of_another_name(site: Site) -> None:
    """Below the root."""
    assert (await site.ask("/nowhere", front="blog/index.php")).params()["SCRIPT_NAME"] == "/blog/index.php"
    assert (await site.ask("/nowhere", front="not/there.php")).status == 404


async def test_index(site: Site) -> None:
    """The first that is there."""
    assert (await site.ask("/blog/", index=["page.html", "index.php"])).params()["SCRIPT_NAME"] == "/blog/index.php"
    assert (await site.ask("/blog/", index=[])).params()["SCRIPT_NAME"] == "/index.php"
    assert (await site.ask("/blog/", index=["../page.txt"[3:]])).params()["SCRIPT_NAME"] == "/index.php"


SCRIPTS: list[tuple[Any, str, bool]] = [
    ("front", "/index.php/x", True),
    ("front", "/nowhere", True),
    ("front", "/page.php", False),
    ("front", "/blog/index.php", False),
    (["/page.php"], "/page.php", True),
    (["page.php"], "/page.php", True),
    (["/page.php"], "/blog/index.php", False),
    (["/page.php"], "/nowhere", True),
    (["/wp-admin/*.php"], "/wp-admin/a.php", True),
    (["/wp-admin/*.php"], "/page.php", False),
    (["/PAGE.php"], "/page.php", False),
    (lambda name: name == "/page.php", "/page.php", True),
    (lambda name: name == "/page.php", "/wp-admin/a.php", False),
    (lambda name: True, "/uploads/evil.php", False),
    (["/uploads/evil.php"], "/uploads/evil.php", False),
]


@pytest.mark.parametrize(("scripts", "target", "runs"), SCRIPTS)
async def test_scripts(site: Site, scripts: Any, target: str, runs: bool) -> None:
    """Only those run that may; the others are not there."""
    answer = await site.ask(target, scripts=scripts)
    assert answer.status == (200 if runs else 404)
    assert len(site.responder.requests) == runs


async def test_index_that_may_not_run(site: Site) -> None:
    """The front controller answers for it."""
    assert (await site.ask("/blog/", scripts="front")).params()["SCRIPT_NAME"] == "/index.php"


async def test_no_scripts(site: Site) -> None:
    """Other folders, or none."""
    assert (await site.ask("/page.php", no_scripts=["/page"])).status == 404
    assert (await site.ask("/uploads/evil.php", no_scripts=[])).status == 200


async def test_missing_script(site: Site) -> None:
    """The front controller makes the error page of the site; what must not run is not made up for."""
    assert (await site.ask("/nowhere.php/x", missing_script="front")).params()["PATH_INFO"] == ""
    assert (await site.ask("/uploads/evil.php", missing_script="front")).status == 404


async def test_hidden(site: Site) -> None:
    """More, fewer and other patterns."""
    assert (await site.ask("/style.css", hidden=[*HIDDEN, "*.css"])).status == 404
    assert (await site.ask("/STYLE.CSS", hidden=[*HIDDEN, "*.css"])).status == 404
    assert (await site.ask("/.git/config", hidden=())).status == 200
    assert (await site.ask("/dump.sql", hidden=[".*", "!.well-known"])).status == 200
    # whatever is hidden: it is source
    assert (await site.ask("/UPPER.PHP", hidden=())).status == 404


async def test_links_that_lead_out(site: Site) -> None:
    """follow_symlinks=False: they are not there; those that stay inside are."""
    (site.root / "inner").symlink_to(site.root / "blog")
    assert (await site.ask("/link/secret.txt", follow_symlinks=False)).params()["SCRIPT_NAME"] == "/index.php"
    assert (await site.ask("/link/secret.php", follow_symlinks=False)).status == 404
    assert (await site.ask("/inner/", follow_symlinks=False)).params()["SCRIPT_NAME"] == "/inner/index.php"
    assert (await site.ask("/link/secret.php")).status == 200


SERVED = ["site.test", "*.example.org", "[::1]"]


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("site.test", 200),
        ("SITE.TEST:81", 200),
        ("site.test.", 200),
        ("[::1]:8000", 200),
        ("a.example.org", 200),
        ("a.b.example.org", 200),
        ("example.org", 421),
        ("evilexample.org", 421),
        ("other.test", 421),
        ("site.test.evil.test", 421),
    ],
)
async def test_hosts(site: Site, host: str, status: int) -> None:
    """Only the hosts of the list are served."""
    assert (await site.ask("/page.php", headers=[("host", host)], hosts=SERVED)).status == status


async def test_hosts_of_targets(site: Site) -> None:
    """The host of an absolute target counts, whatever the header says, and none is none of the list."""
    assert (await site.ask("http://evil.test/page.php", hosts=SERVED)).status == 421
    assert (await site.ask("/page.php", headers=[], version="1.0", hosts=SERVED)).status == 400


async def test_params_and_headers(site: Site) -> None:
    """They are the application's, and a client cannot set the same."""
    answer = await site.ask(
        "/page.php",
        params={"APP_ENV": "prod", "HTTP_X_PARAM": "ours", "HTTPS": "on"},
        headers=[*HOST, ("x-tenant", "theirs"), ("x-param", "theirs"), ("x-other", "theirs")],
    )
    params = answer.params()
    assert (params["APP_ENV"], params["HTTP_X_PARAM"], params["HTTPS"]) == ("prod", "ours", "on")
    assert params["HTTP_X_OTHER"] == "theirs"
    app = site.app(headers={"X-Tenant": "ours"})
    assert (await ask(app, "/page.php", headers=[*HOST, ("x-tenant", "theirs")])).params()["HTTP_X_TENANT"] == "ours"


async def test_server_software(site: Site) -> None:
    """By default WordPress takes it for nginx."""
    assert "nginx" in (await site.ask("/page.php")).params()["SERVER_SOFTWARE"]
    assert (await site.ask("/page.php", server_software="x")).params()["SERVER_SOFTWARE"] == "x"


async def test_priority_and_queue_timeout(site: Site) -> None:
    """A request that no worker takes in time is answered with 503."""
    async with site.php.slot(), site.php.slot(), site.php.slot(), site.php.slot():
        answer = await site.ask("/page.php", queue_timeout=0.05)
        assert (answer.status, answer.header("retry-after")) == (503, "1")
    assert site.app().priority == 10


async def test_run_timeout(site: Site) -> None:
    """A script that takes too long is answered with 504."""
    site.responder.fault = Stall()
    assert (await site.ask("/page.php", run_timeout=0.05)).status == 504


@pytest.mark.parametrize(
    ("method", "retry", "status"),
    [("GET", "never", 502), ("GET", "get", 200), ("HEAD", "get", 200), ("POST", "get", 502), ("PUT", "get", 502)],
)
async def test_retry(site: Site, method: str, retry: str, status: int) -> None:
    """GET and HEAD are run again if their worker was lost; 502 otherwise."""
    site.responder.fault = {1: Close(after=0)}

    async def handle(request: Request) -> Scripted:
        return Reply(body=b"ok")

    site.handle = handle
    # on a connection that has served a request, the loss of the worker is not taken for one that had left before
    answer = await site.ask(
        "/page.php", method=method, retry=retry, headers=[*HOST, ("content-length", "1")], body=[b"x"]
    )
    assert answer.status == status


ACCELS: list[tuple[str, int]] = [
    ("X-Accel-Redirect: /protected/a.txt", 200),
    ("X-Accel-Redirect: /protected/b%20c.txt", 200),
    ("X-Accel-Redirect: /protected/a.txt?x=1", 200),
    ("X-Accel-Redirect: /protected/sub/../a.txt", 200),
    ("X-Accel-Redirect: /protected/../outside.txt", 404),
    ("X-Accel-Redirect: /protected/%2e%2e/outside.txt", 404),
    ("X-Accel-Redirect: /protected//etc/passwd", 404),
    ("X-Accel-Redirect: /protected/link", 404),
    ("X-Accel-Redirect: /protected/%00", 404),
    ("X-Accel-Redirect: /protected/", 404),
    ("X-Accel-Redirect: /protected/fifo", 404),
    ("X-Accel-Redirect: /protected/nowhere", 404),
    ("X-Accel-Redirect: /elsewhere/a.txt", 404),
    ("X-Accel-Redirect: @named", 404),
    ("X-Sendfile: {files}/a.txt", 200),
    ("X-Sendfile: {files}/../outside.txt", 404),
    ("X-Sendfile: /etc/passwd", 404),
    ("X-Sendfile: a.txt", 404),
    ("X-Sendfile: {files}2/x", 404),
]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder of protected files."""
    import os

    folder = tmp_path / "files"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.txt").write_bytes(b"0123456789")
    (folder / "b c.txt").write_bytes(b"0123456789")
    (tmp_path / "outside.txt").write_bytes(b"outside")
    (tmp_path / "files2").mkdir()
    (tmp_path / "files2/x").write_bytes(b"outside")
    (folder / "link").symlink_to(tmp_path / "outside.txt")
    os.mkfifo(folder / "fifo")
    return folder


@pytest.mark.parametrize(("header", "status"), ACCELS)
async def test_accel(site: Site, files: Path, header: str, status: int) -> None:
    """PHP may have files sent that are in the folders named, and no others."""
    line = header.format(files=files)
    name, _, value = line.partition(": ")

    async def handle(request: Request) -> Scripted:
        own = {"Content-Type": "a/b", "Set-Cookie": "a=1", "Content-Security-Policy": "sandbox", "ETag": '"php"'}
        return Reply(headers={name: value, **own}, body=b"accel")

    site.handle = handle
    answer = await site.ask("/page.php", accel={"/protected/": files})
    assert answer.status == status
    assert b"outside" not in answer.body
    if status == 200:
        assert answer.body == b"0123456789"
        assert (answer.header("content-type"), answer.header("set-cookie")) == ("a/b", "a=1")
        # what protects the file's reader stays, and what tells of PHP's own body does not
        assert answer.header("content-security-policy") == "sandbox"
        assert answer.header("etag") != '"php"'
        part = await site.ask("/page.php", accel={"/protected/": files}, headers=[*HOST, ("range", "bytes=2-3")])
        assert (part.status, part.body) == (206, b"23")


async def test_accel_of_a_post(site: Site, files: Path) -> None:
    """Whatever was asked by: the file answers."""

    async def handle(request: Request) -> Scripted:
        return Reply(headers={"X-Accel-Redirect": "/protected/a.txt"})

    site.handle = handle
    answer = await site.ask("/page.php", method="POST", accel={"/protected/": files})
    assert (answer.status, answer.body) == (200, b"0123456789")


async def test_errors(site: Site) -> None:
    """The body is made for the status; one that fails does not hide the error."""

    def page(status: int, scope: Any) -> str:
        return f"<h1>{status} {scope['path']}"

    answer = await site.ask("/.env", errors=page)
    assert (answer.status, answer.body) == (404, b"<h1>404 /.env")
    assert answer.header("content-type") == "text/html; charset=utf-8"
    assert (await site.ask("/.env", method="HEAD", errors=page)).body == b""
    assert (await site.ask("/.env", errors=lambda status, scope: 1 / 0)).body == b"404 Not Found\n"


async def test_error_without_a_page(site: Site) -> None:
    """A line that says no more than the status."""
    answer = await site.ask("/.env")
    assert (answer.body, answer.header("content-type")) == (b"404 Not Found\n", "text/plain; charset=utf-8")


# dispatchers


async def test_dispatcher_of_the_state(site: Site) -> None:
    """By default the one that `lifespan()` has put there."""
    for name, options in {"php": {}, "other": {"dispatcher": "other"}}.items():
        answer = await ask(PHPApplication(site.root, **options), "/page.php", state={name: site.php})  # type: ignore[arg-type]
        assert answer.status == 200


async def test_no_dispatcher(site: Site) -> None:
    """The error says where it is looked for."""
    with pytest.raises(ConfigurationError, match="'php' in the request's state"):
        await ask(PHPApplication(site.root), "/page.php")


async def test_dispatcher_that_is_closed(site: Site) -> None:
    """503, as when the process is about to end."""
    other = Dispatcher(site.responder.address, max_children=1)
    async with other:
        pass
    assert (await ask(PHPApplication(site.root, dispatcher=other), "/page.php")).status == 503


async def test_dispatcher_of_its_own(site: Site) -> None:
    """A function that makes one: the application opens and closes it with the server's lifespan."""
    made: list[Dispatcher] = []

    def make() -> Dispatcher:
        made.append(Dispatcher(site.responder.address, max_children=1))
        return made[0]

    app = PHPApplication(site.root, dispatcher=make)
    client = Client([{"type": "lifespan.startup"}])
    async with anyio.create_task_group() as group:
        group.start_soon(app, {"type": "lifespan"}, client._receive, client._send)
        with anyio.fail_after(20):
            while not client.sent:
                await anyio.lowlevel.checkpoint()
        assert (await ask(app, "/page.php")).status == 200
        client.say({"type": "lifespan.shutdown"})
    assert made[0].closed
    assert [message["type"] for message in client.sent] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


async def test_lifespan_of_somebody_elses_dispatcher(site: Site) -> None:
    """It is answered, and nothing is done."""
    client = Client([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])
    await site.app()({"type": "lifespan"}, client._receive, client._send)
    assert [message["type"] for message in client.sent] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert not site.php.closed


async def test_websocket(site: Site) -> None:
    """403: by an answer where the server can give one."""
    client = Client([{"type": "websocket.connect"}])
    await site.app()({"type": "websocket", "path": "/"}, client._receive, client._send)
    assert [message["type"] for message in client.sent] == ["websocket.close"]
    client = Client([{"type": "websocket.connect"}])
    scope = {"type": "websocket", "path": "/", "extensions": {"websocket.http.response": {}}}
    await site.app()(scope, client._receive, client._send)
    assert (client.sent[0]["type"], client.status) == ("websocket.http.response.start", 403)


async def test_two_applications_of_one_dispatcher(site: Site) -> None:
    """Each has its own root."""
    other = PHPApplication(site.root / "blog", dispatcher=site.php)
    assert (await ask(other, "/index.php")).params()["DOCUMENT_ROOT"] == str(site.root / "blog")
    assert (await site.ask("/blog/index.php")).params()["DOCUMENT_ROOT"] == str(site.root)


WRONG: dict[str, list[Any]] = {
    "root": ["", 1, "a\0b"],
    "fpm_root": ["relative", 1],
    "front": ["index.html", "../index.php", 1, ""],
    "index": ["index.php", [1], ["a/b"], [""], 1],
    "scripts": ["all", [1], 1],
    "no_scripts": ["/uploads/", ["uploads/"], [1]],
    "missing_script": [403, "404", None],
    "hidden": [".*", ["a/b"], [1], ["!"]],
    "follow_symlinks": ["yes", 1],
    "hosts": ["site.test", ["site.test:80"], ["a b"], [1], [""]],
    "priority": ["high", 1.5],
    "queue_timeout": [-1, "1", float("nan")],
    "run_timeout": [-1, "1"],
    "retry": ["post", True],
    "max_body": [-1, 1.5, "1", True],
    "request_buffer": [-1],
    "body_timeout": [-1],
    "response_buffer": [-1],
    "response_file": [-1],
    "max_spooled": [-1],
    "on_disconnect": ["close"],
    "params": [{"": "x"}, {"A": 1}, []],
    "headers": [{"a b": "x"}, 1],
    "server_software": [1, "a\0b"],
    "accel": [{"protected/": "/srv"}, {"/protected": "/srv"}, {"/protected/": "srv"}, ["/srv"]],
    "static": ["yes"],
    "precompressed": ["br", ["zip"]],
    "errors": ["404.html"],
    "dispatcher": [1, None],
}


@pytest.mark.parametrize(("option", "value"), [(name, value) for name, values in WRONG.items() for value in values])
async def test_option_that_is_wrong(site: Site, option: str, value: Any) -> None:
    """It is refused when the application is made, and the message names it."""
    root = site.root
    with pytest.raises(ConfigurationError, match=option):
        make: Callable[..., PHPApplication] = PHPApplication
        if option == "root":
            make(value)
        else:
            make(root, **{"dispatcher": site.php, option: value})


@pytest.mark.parametrize("options", [{"params": {"PHP_VALUE": "a=b"}}, {"headers": {"Proxy": "x"}}])
async def test_parameter_that_is_refused(site: Site, options: Any) -> None:
    """What an endpoint would refuse is refused, at the latest by the first request."""
    with pytest.raises(ConfigurationError, match=r"PHP_VALUE|HTTP_PROXY"):
        site.app(**options)
    with pytest.raises(ConfigurationError, match=r"PHP_VALUE|HTTP_PROXY"):
        await ask(PHPApplication(site.root, **options), "/page.php", state={"php": site.php})

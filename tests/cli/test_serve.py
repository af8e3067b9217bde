"""`fcgi-async serve`: a site on a private PHP-FPM or on one that is there, in one process."""

from __future__ import annotations

import json
import signal
import socket
import stat
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from fcgi_async.cli import make_parser
from fcgi_async.commands.access_log import Visit, readable_line
from fcgi_async.commands.serve_options import ServeOptions
from fcgi_async.fpm import search
from tests.cli.conftest import RunCommand, StartCommand, wait_until
from tests.cli.serving import client, serving

INDEX = """<?php
if ($_SERVER['REQUEST_URI'] === '/self') {
    echo file_get_contents("http://{$_SERVER['HTTP_HOST']}/page.php");
} else {
    echo 'front ', $_SERVER['REQUEST_URI'];
}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project whose scripts are in its folder public/."""
    public = tmp_path / "project" / "public"
    public.mkdir(parents=True)
    (public / "index.php").write_text(INDEX)
    (public / "page.php").write_text("<?php echo 'a page';")
    (public / "broken.php").write_text("<?php echo $missing;")
    (public / "style.css").write_text("body {}")
    return public.parent


def test_a_folder_is_served(start: StartCommand, project: Path) -> None:
    """By a PHP-FPM of its own, which ends with it; the first line says what is served."""
    with serving(start, project) as site:
        assert (site.root, site.by) == (str(project / "public"), "a private PHP-FPM with 4 workers")
        site.started.wait_for_fpm()
        with client(site.url) as visitor:
            assert visitor.get("/orders/7?x=1").text == "front /orders/7?x=1"
            assert visitor.get("/page.php").text == "a page"
            assert visitor.get("/style.css").headers["content-type"].startswith("text/css")
        result = site.end(signal.SIGINT)
    assert (result.code, result.out) == (0, b"")
    site.started.assert_fpm_is_gone()


def test_what_developers_see(start: StartCommand, project: Path) -> None:
    """A line for each request, where the time went, PHP's messages below it; errors in the page; changes at once."""
    with serving(start, project) as site, client(site.url) as visitor:
        assert "Undefined variable $missing" in visitor.get("/broken.php?x=1").text
        said = site.read_err("PHP Warning:  Undefined variable $missing")
        line = next(line for line in said.splitlines() if "broken" in line)
        assert line.startswith("200 GET /broken.php?x=1  ")
        assert all(word in line for word in (" ms: queued ", ", PHP "))
        visitor.get("/style.css")
        assert "PHP" not in site.read_err("style.css").rpartition("200 GET /style.css")[2]
        assert visitor.get("/page.php").text == "a page"
        (project / "public" / "page.php").write_text("<?php echo 'changed';")
        assert visitor.get("/page.php").text == "changed"


def ask(url: str, request: bytes) -> bytes:
    """Send bytes, and return all that comes until the connection is closed."""
    host, _, port = url.removeprefix("http://").rstrip("/").partition(":")
    answer = bytearray()
    with socket.create_connection((host, int(port)), timeout=20) as sock, suppress(ConnectionError):
        sock.sendall(request)
        while data := sock.recv(65536):
            answer += data
    return bytes(answer)


def test_a_head_without_an_end(start: StartCommand, project: Path) -> None:
    """Is refused before it fills the memory, and so are trailers; what is long and has an end is not."""
    chunked = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    with serving(start, project) as site:
        endless = b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: %b\r\n" % (b"x" * 1000) * 5000
        # the answer is lost with the connection if some of that lies unread
        assert ask(site.url, endless)[:12] in (b"", b"HTTP/1.1 431")
        assert ask(site.url, chunked + b"1\r\na\r\n0\r\n" + b"X: %b\r\n" % (b"x" * 1000) * 5000) == b""
        long = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX: %b\r\n\r\n" % (b"x" * 60_000)
        assert ask(site.url, long).startswith(b"HTTP/1.1 200")
        body = b"5\r\nhello\r\n" * 50_000 + b"0\r\n\r\n"
        assert ask(site.url, chunked.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n") + body).startswith(
            b"HTTP/1.1 200"
        )


def test_trailers_are_no_headers(start: StartCommand, project: Path) -> None:
    """A proxy that keeps a header for itself has not looked at them."""
    (project / "public" / "who.php").write_text("<?php echo $_SERVER['HTTP_X_USER'] ?? 'nobody';")
    request = b"POST /who.php HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    with serving(start, project) as site:
        assert ask(site.url, request + b"1\r\na\r\n0\r\nX-User: admin\r\n\r\n").endswith(b"\r\n\r\nnobody")


def test_a_folder_without_a_front_controller(start: StartCommand, project: Path) -> None:
    """The command says so: most often it is the wrong folder."""
    with serving(start, project.parent) as site:
        assert f"{project.parent} has no index.php" in site.read_err("index.php")


def test_a_page_may_ask_its_own_site(start: StartCommand, project: Path) -> None:
    """There are workers enough."""
    with serving(start, project) as site, client(site.url) as visitor:
        assert visitor.get("/self").text == "a page"


def test_production(start: StartCommand, project: Path, pool: list[str]) -> None:
    """On an FPM that is there: each request is an object of JSON on standard output."""
    with serving(start, project, *pool) as site:
        assert site.by == f"4 of the 4 workers at {pool[1]}"
        with client(site.url) as visitor:
            visitor.get("/page.php?a=b", headers={"User-Agent": "a visitor", "Referer": "http://from.test/"})
            visitor.get("/style.css")
        result = site.end()
    page, style = [json.loads(line) for line in result.out.splitlines()]
    assert (page["status"], page["method"], page["target"], page["bytes"]) == (200, "GET", "/page.php?a=b", 6)
    assert (page["client"], page["user_agent"], page["referer"]) == ("127.0.0.1", "a visitor", "http://from.test/")
    assert 0 <= page["queued"] <= page["seconds"]
    assert 0 < page["php"] <= page["seconds"]
    assert (style["queued"], style["php"]) == (None, None)
    assert result.code == 0


def test_production_with_a_private_fpm_shows_no_errors(start: StartCommand, project: Path) -> None:
    """They are on standard error only; and settings of php.ini can be given."""
    (project / "public" / "limit.php").write_text("<?php echo ini_get('memory_limit');")
    with serving(start, project, "--production", "--ini", "memory_limit=77M", "--children", "2") as site:
        assert site.by == "a private PHP-FPM with 2 workers"
        with client(site.url) as visitor:
            assert visitor.get("/broken.php").text == ""
            assert visitor.get("/limit.php").text == "77M"
        assert "Undefined variable $missing" in site.read_err("Undefined")


def test_statistics_are_on_a_socket_of_their_own(start: StartCommand, project: Path, tmp_path: Path) -> None:
    """Only its owner may open it, it knows nothing else, and the site does not have them."""
    path = tmp_path / "status.sock"
    with serving(start, project, "--status", f"unix:{path}") as site:
        with client(site.url) as visitor, client(f"unix:{path}") as owner:
            assert visitor.get("/-/status").text == "front /-/status"
            told = owner.get("/-/status").json()
            assert (told["pid"], told["completed"]) == (site.started.process.pid, 1)
            assert owner.get("/page.php").status_code == 404
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        site.end()
    assert not path.exists()


def test_health(start: StartCommand, project: Path, pool: list[str]) -> None:
    """With --health probes are answered for any host, and are not in the access log; without, the site answers."""
    with serving(start, project, "--health", "--host", "site.test", "--production", *pool) as site:
        with client(site.url) as prober:
            ready, live = prober.get("/readyz"), prober.get("/livez")
            assert (ready.status_code, ready.text) == (200, "ready: a worker answered\n")
            assert (live.status_code, live.text) == (200, "alive\n")
            assert prober.get("/page.php", headers={"host": "site.test"}).text == "a page"
        result = site.end()
    assert [json.loads(line)["target"] for line in result.out.splitlines()] == ["/page.php"]
    with serving(start, project) as site, client(site.url) as visitor:
        assert visitor.get("/readyz").text == "front /readyz"


def test_workers_of_a_pool_that_is_configured_here(
    project: Path, pool: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--fpm needs no number of workers if FPM's configuration has the pool."""
    conf = tmp_path / "etc" / "php-fpm.conf"
    conf.parent.mkdir()
    conf.write_text(f"[shop]\nlisten = {pool[1].removeprefix('unix://')}\npm = static\npm.max_children = 7\n")
    monkeypatch.setattr(search, "_ROOT", tmp_path)
    options = make_parser("serve").parse_args(["serve", str(project), "--fpm", pool[1]])
    assert (ServeOptions.parse(options).workers, ServeOptions.parse(options).reserve) == (7, 0)


def test_health_of_a_busy_pool_and_of_none_that_can_be_reached(
    start: StartCommand, project: Path, tmp_path: Path
) -> None:
    """A pool that is busy is ready, and one that cannot be reached is not; the process is alive with both."""
    gate, began = tmp_path / "gate", tmp_path / "began"
    (project / "public" / "wait.php").write_text(
        f"<?php touch('{began}'); while (!file_exists('{gate}')) {{ usleep(5000); clearstatcache(); }}"
    )
    with serving(start, project, "--health", "--children", "1") as site:
        site.started.wait_for_fpm()
        with client(site.url) as visitor, client(site.url) as prober, ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(visitor.get, "/wait.php")
            wait_until(began.exists)
            assert prober.get("/readyz").text == "ready: 1 jobs run on 1 workers, 0 wait\n"
            gate.touch()
            waiting.result()
    nowhere = ("--fpm", f"unix://{tmp_path}/nowhere.sock", "--max-children", "1")
    with serving(start, project, "--health", *nowhere) as site, client(site.url) as prober:
        ready, live = prober.get("/readyz"), prober.get("/livez")
        assert (ready.status_code, "PHP-FPM cannot be reached" in ready.text) == (503, True)
        assert live.status_code == 200


def test_a_unix_socket(start: StartCommand, project: Path, tmp_path: Path) -> None:
    """What a proxy says of the client and of https is believed there; one that nobody listens at is replaced."""
    path = tmp_path / "site.sock"
    (project / "public" / "who.php").write_text("<?php echo $_SERVER['REMOTE_ADDR'], ' ', $_SERVER['HTTPS'] ?? 'http';")
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(path))
    with serving(start, project, "--listen", f"unix:{path}", "--listen", "127.0.0.1:0") as site:
        assert site.url == f"unix:{path}"
    with serving(start, project, "--listen", f"unix:{path}x") as site, client(site.url) as visitor:
        assert visitor.get("/who.php").text == "127.0.0.1 http"
        # what a client wrote itself stands before what the proxies added
        for addresses in ("192.0.2.7", "10.0.0.1, 192.0.2.7", "127.0.0.1, 192.0.2.7, 127.0.0.1", "192.0.2.7, unix:"):
            forwarded = {"X-Forwarded-For": addresses, "X-Forwarded-Proto": "https"}
            assert visitor.get("/who.php", headers=forwarded).text == "192.0.2.7 on"
        site.end()
        assert not Path(f"{path}x").exists()


def test_an_address_that_is_taken(command: RunCommand, project: Path, tmp_path: Path) -> None:
    """Is said in one line, a socket with a listener included; its file stays."""
    path = tmp_path / "taken.sock"
    with socket.create_server(("127.0.0.1", 0)) as port, socket.socket(socket.AF_UNIX) as taken:
        taken.bind(str(path))
        taken.listen()
        for address in (f"127.0.0.1:{port.getsockname()[1]}", f"unix:{path}"):
            result = command("serve", project, "--listen", address)
            result.assert_one_line()
            assert result.code == 1
            said = f"fcgi-async: --listen {address}: Address already in use; end the program that listens there, or "
            assert result.err == f"{said}choose another address\n"
    assert path.exists()


def test_what_runs_ends_first(start: StartCommand, project: Path, tmp_path: Path) -> None:
    """A signal refuses new visitors; the one whose page is being made gets it."""
    begun, gate = tmp_path / "begun", tmp_path / "gate"
    script = (
        f"<?php touch('{begun}'); while (!file_exists('{gate}')) {{ usleep(5000); clearstatcache(); }} echo 'done';"
    )
    (project / "public" / "slow.php").write_text(script)
    answers: list[str] = []
    with serving(start, project) as site:

        def visit() -> None:
            with client(site.url) as visitor:
                answers.append(visitor.get("/slow.php").text)

        visitor = threading.Thread(target=visit)
        visitor.start()
        wait_until(begun.exists)
        site.started.process.send_signal(signal.SIGTERM)
        port = int(site.url.rstrip("/").rpartition(":")[2])
        wait_until(lambda: refuses(port))
        gate.touch()
        result = site.started.end()
        visitor.join()
    assert (answers, result.code) == (["done"], 0)


def test_a_second_signal_ends_it_at_once(start: StartCommand, project: Path, tmp_path: Path) -> None:
    """Whatever runs: long before the time that it would have had."""
    begun = tmp_path / "begun"
    (project / "public" / "endless.php").write_text(f"<?php touch('{begun}'); while (true) {{ usleep(5000); }}")
    ends: list[object] = []
    with serving(start, project) as site:
        site.started.wait_for_fpm()

        def visit() -> None:
            with client(site.url) as visitor:
                try:
                    ends.append(visitor.get("/endless.php").status_code)
                except httpx.TransportError as error:
                    ends.append(type(error))

        visitor = threading.Thread(target=visit)
        visitor.start()
        wait_until(begun.exists)
        site.started.process.send_signal(signal.SIGINT)
        port = int(site.url.rstrip("/").rpartition(":")[2])
        wait_until(lambda: refuses(port))
        asked = time.monotonic()
        assert site.end(signal.SIGINT).code == 130
        assert time.monotonic() - asked < 15
        visitor.join()
    assert ends in ([503], [httpx.RemoteProtocolError])
    site.started.assert_fpm_is_gone()


def refuses(port: int) -> bool:
    """Whether nobody listens at a port of the loopback."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except ConnectionRefusedError:
        return True
    return False


def test_who_is_served_and_what_runs(start: StartCommand, project: Path) -> None:
    """Other hosts are refused, and so are scripts besides the front controller."""
    hosts = ("--host", "shop.test", "--host", "*.shop.test")
    with serving(start, project, *hosts, "--scripts", "front") as site, client(site.url) as visitor:
        statuses = [visitor.get("/", headers={"Host": host}).status_code for host in ("shop.test", "a.shop.test", "b")]
        assert statuses[:2] == [200, 200]
        assert statuses[2] in (400, 421)
        assert visitor.get("/page.php", headers={"Host": "shop.test"}).status_code == 404


def test_colours() -> None:
    """A status shows by its colour how it went; there are none in what others read."""
    visit = Visit("GET", "/a\x1b[31m", "127.0.0.1", {})
    lines = {}
    for visit.status in (204, 301, 503):
        lines[visit.status] = readable_line(visit, colour=True)
        assert readable_line(visit, colour=False) == f"{visit.status} GET /a\\x1b[31m  0.0 ms"
    assert {status: line[: line.index("m") + 1] for status, line in lines.items()} == {
        204: "\x1b[32m",
        301: "\x1b[33m",
        503: "\x1b[31m",
    }


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--reserve", "1"], "--reserve needs --fpm"),
        (["--processes", "2"], "--processes needs --fpm"),
        (["--fpm", "unix:///x"], "--fpm needs --max-children"),
        (["--fpm", "unix:///x", "--max-children", "4", "--children", "2"], "--children is for a private PHP-FPM"),
        (["--tls-cert", "x"], "--tls-cert and --tls-key need each other"),
        (
            ["--tls-cert", "no.pem", "--tls-key", "no.key"],
            "--tls-cert no.pem, --tls-key no.key: No such file or directory",
        ),
        (["--tls-cert", __file__, "--tls-key", __file__], "test_serve.py: this is no certificate with its key"),
        (["--worker", "sqlite://x"], "--worker and --tasks need each other"),
        (["--status", "127.0.0.1:1"], "write unix:PATH"),
        (["--status", "unix:/x", "--trio"], "--status needs uvicorn"),
        (["--listen", "8000"], "write HOST:PORT"),
        (["--listen", "fd:0"], "descriptor 0 is not an open socket"),
        (["--ini", "nonsense"], "is not NAME=VALUE"),
        (["--jobs", "json:loads"], "is not an async function"),
        (["--jobs", "json"], "write MODULE:NAME"),
        (["no-such-folder"], "there is no such folder"),
    ],
)
def test_wrong_usage(command: RunCommand, project: Path, arguments: list[str], said: str) -> None:
    """Is refused in one line, before anything is started."""
    result = command("serve", *([] if arguments[0].startswith("no-") else [project]), *arguments)
    result.assert_one_line()
    assert (result.code, said in result.err) == (2, True), result.err

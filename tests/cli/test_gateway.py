"""`fcgi-async gateway`: processes share one share, get errors that have a type when it dies, and go on."""

from __future__ import annotations

import select
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest

from fcgi_async.fpm import LocalFPM
from tests.cli.conftest import SECONDS, RunCommand, StartCommand, Started, wait_until
from tests.conftest import SCRIPTS
from tests.fpm.marks import most_at_once, started, use_of
from tests.fpm.raw_client import raw_request

Client = Callable[[Path | str, str], "subprocess.Popen[str]"]


@pytest.fixture
def client() -> Iterator[Client]:
    """Start clients of a gateway."""
    running: list[subprocess.Popen[str]] = []

    def start(address: Path | str, query: str) -> subprocess.Popen[str]:
        script = SCRIPTS / "work.php"
        command = [sys.executable, "-m", "tests.cli.burst_client", f"unix://{address}", str(script), query]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        running.append(process)
        return process

    yield start
    for process in running:
        process.kill()
        process.communicate()


def say(process: subprocess.Popen[str], jobs: int) -> None:
    """Have a client run jobs."""
    assert process.stdin is not None
    process.stdin.write(f"{jobs}\n")
    process.stdin.flush()


def answer(process: subprocess.Popen[str]) -> str:
    """Return what a client says of them."""
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], SECONDS)
    assert ready
    return process.stdout.readline().strip()


def serve(start: StartCommand, pool: list[str], path: Path, *options: str) -> Started:
    """Start a gateway, and return when it listens."""
    gateway = start("gateway", "--listen", f"unix://{path}", *pool, *options)
    assert gateway.process.stderr is not None
    greeting = gateway.process.stderr.readline().decode()
    assert greeting.startswith(f"fcgi-async: gateway at unix://{path}, "), greeting
    return gateway


@pytest.fixture
def path(start: StartCommand) -> Iterator[Path]:
    """Where a gateway listens: pytest's own directories are too long for a socket's path."""
    with tempfile.TemporaryDirectory(prefix="gw-") as folder:
        yield Path(folder) / "gateway.sock"


def test_four_processes_share_one_share(
    start: StartCommand, fpm: LocalFPM, client: Client, path: Path, tmp_path: Path
) -> None:
    """Each in its turn has all of the workers, of which `processes=4` would give it one; all at once have no more."""
    marks = tmp_path / "marks"
    serve(start, ["--fpm", fpm.address, "--max-children", "4"], path)
    clients = [client(path, urlencode({"marks": marks, "seconds": "0.02"})) for _ in range(4)]
    for process in clients:
        say(process, 40)
        assert answer(process) == "40"
        # the scripts count themselves
        assert most_at_once(marks) == 4
        # more than one worker could be used
        assert use_of(marks, 4) > 0.25
        marks.unlink()
    for process in clients:
        say(process, 20)
    assert [answer(process) for process in clients] == ["20"] * 4
    assert (started(marks), most_at_once(marks)) == (80, 4)


def test_clients_of_a_killed_gateway_get_errors_and_go_on(
    start: StartCommand, pool: list[str], client: Client, path: Path, tmp_path: Path
) -> None:
    """What was sent fails as ConnectionLost, what was not waits; when the gateway is back, jobs run."""
    marks = tmp_path / "marks"
    gateway = serve(start, pool, path)
    process = client(path, urlencode({"marks": marks, "seconds": "0.05"}))
    say(process, 60)
    wait_until(lambda: started(marks) >= 8)
    gateway.process.kill()
    gateway.process.wait()
    serve(start, pool, path)
    done, lost = answer(process).split(", ConnectionLost True: ")
    assert int(done) + int(lost) == 60
    # as many as a client of four workers may send
    assert 1 <= int(lost) <= 12
    say(process, 10)
    assert answer(process) == "10"


def test_it_finishes_at_a_signal(
    start: StartCommand, pool: list[str], client: Client, path: Path, tmp_path: Path
) -> None:
    """At SIGTERM it answers what it has, and ends in good order."""
    marks = tmp_path / "marks"
    gateway = serve(start, pool, path, "--mode", "600")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    process = client(path, urlencode({"marks": marks, "seconds": "0.2"}))
    say(process, 4)
    wait_until(lambda: started(marks) == 4)
    gateway.process.send_signal(signal.SIGTERM)
    assert answer(process) == "4"
    result = gateway.end()
    assert (result.code, result.err.count("finishes the requests")) == (0, 1)
    assert not path.exists()


def test_a_second_signal_ends_it(
    start: StartCommand, pool: list[str], client: Client, path: Path, tmp_path: Path
) -> None:
    """A second signal does not wait for scripts."""
    marks = tmp_path / "marks"
    gateway = serve(start, pool, path)
    process = client(path, urlencode({"marks": marks, "seconds": "1"}))
    say(process, 1)
    wait_until(lambda: started(marks) == 1)
    gateway.process.send_signal(signal.SIGINT)
    assert gateway.process.stderr is not None
    assert b"finishes the requests" in gateway.process.stderr.readline()
    gateway.process.send_signal(signal.SIGINT)
    assert gateway.end().code == 130
    assert answer(process) == "0, ConnectionLost True: 1"


def test_it_serves_a_private_fpm_and_passes_what_is_allowed(start: StartCommand, path: Path) -> None:
    """Without a pool it starts one; a dangerous parameter is refused in the words of the command, or passed on."""
    serve(start, ["--max-children", "1"], path, "--kept", "5=0", "--queue-timeout", "20", "--run-timeout", "20")
    params = {"PHP_VALUE": "memory_limit=99M"}
    refused = raw_request(f"unix://{path}", SCRIPTS / "respond.php", params=params)
    assert refused.head.startswith("Status: 400 ")
    other = path.with_name("lax.sock")
    serve(start, ["--max-children", "1"], other, "--allow-param", "PHP_VALUE")
    assert "Status" not in raw_request(f"unix://{other}", SCRIPTS / "respond.php", params=params).head


def test_it_serves_metrics(start: StartCommand, pool: list[str], client: Client, path: Path, tmp_path: Path) -> None:
    """With `--metrics` Prometheus gets what the gateway does, and its requests as jobs, until it ends."""
    gateway = start("gateway", "--listen", f"unix://{path}", *pool, "--metrics", "127.0.0.1:0")
    assert gateway.process.stderr is not None
    url = gateway.process.stderr.readline().decode().rpartition(" are at ")[2].strip()
    assert b"gateway at unix://" in gateway.process.stderr.readline()
    process = client(path, urlencode({"marks": tmp_path / "marks", "seconds": "0"}))
    say(process, 7)
    assert answer(process) == "7"
    with urlopen(url, timeout=SECONDS) as response:
        text = response.read().decode()
    assert 'fcgi_gateway_requests_ended_total{gateway="gateway",outcome="passed"} 7.0' in text
    assert 'script="%s",status="200"' % (SCRIPTS / "work.php") in text
    gateway.process.send_signal(signal.SIGTERM)
    assert gateway.end().code == 0
    with pytest.raises(URLError):
        urlopen(url, timeout=SECONDS)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--listen", "tcp://0.0.0.0:9000"], "every client can run any PHP file"),
        (["--listen", "nonsense"], "'nonsense'"),
        (["--listen", "unix:///nowhere/at/all.sock"], "cannot listen"),
        (["--listen", "fd:77"], "descriptor 77"),
        (["--listen", "unix:///tmp/x.sock", "--kept", "5=9"], "kept"),
        (["--listen", "unix:///tmp/x.sock", "--mode", "999"], "--mode"),
        (["--listen", "unix:///tmp/x.sock", "--metrics", "9253"], "HOST:PORT"),
    ],
)
def test_wrong_options(command: RunCommand, pool: list[str], options: list[str], said: str) -> None:
    """What cannot work is said in one line."""
    result = command("gateway", *pool, *options)
    result.assert_one_line()
    assert (result.code, said in result.err) == (2, True), result.err


def test_an_open_socket(start: StartCommand, pool: list[str], path: Path) -> None:
    """A socket that systemd has opened is served, and left alone at the end."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        command = [sys.executable, "-m", "fcgi_async", "gateway", "--listen", f"fd:{listening.fileno()}", *pool]
        with subprocess.Popen(command, pass_fds=[listening.fileno()], stderr=subprocess.PIPE) as process:
            try:
                assert process.stderr is not None
                assert f"gateway at unix://{path}".encode() in process.stderr.readline()
                assert raw_request(f"unix://{path}", SCRIPTS / "respond.php").body == b""
            finally:
                process.terminate()
            assert process.wait(SECONDS) == 0
    assert path.exists()

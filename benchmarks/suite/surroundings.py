"""What the contenders talk to: private PHP-FPMs, nginx before one of its own, Go programs; each made when needed.

Direct clients and nginx have pools of their own, of the same size: a connection that nginx keeps pins a worker, which
the others would miss.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from anyio.from_thread import start_blocking_portal

from benchmarks.contenders.fastcgi import connect
from benchmarks.contenders.setting import Setting
from fcgi_async import Dispatcher, Job, LocalFPM
from fcgi_async.testing import Request, Responder

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "benchmarks/scripts"
GO_CLIENT = ROOT / "benchmarks/contenders/client.go"
WORKERS, WIDE = 4, 64
# bodies are read by the script, and not by PHP before it; what PHP spools of them goes to memory where it can
INI = {
    "post_max_size": "0",
    "enable_post_data_reading": "0",
    "output_buffering": "0",
    "sys_temp_dir": "/dev/shm" if os.access("/dev/shm", os.W_OK) else tempfile.gettempdir(),
}
NGINX = """\
daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log warn; {user}
events {{ worker_connections 1024; }}
http {{
    access_log off; keepalive_requests 1000000000;
    client_body_temp_path {folder}/body; fastcgi_temp_path {folder}/fastcgi; proxy_temp_path {folder}/proxy;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    upstream php {{ server unix:{fpm}; {keep} }}
    server {{ listen unix:{folder}/http.sock; location / {{ {params} fastcgi_pass php; }} }}
}}
"""
KEEP = "keepalive {workers}; keepalive_requests 1000000000;"
NGINX_PARAMS = {
    "QUERY_STRING": "$query_string",
    "REQUEST_METHOD": "$request_method",
    "REQUEST_URI": "$request_uri",
    "CONTENT_TYPE": "$content_type",
    "CONTENT_LENGTH": "$content_length",
    "SCRIPT_NAME": "$fastcgi_script_name",
}


def find_program(name: str) -> str | None:
    """Return the path of a program, of those that only root's PATH has as well."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")


def build_go(source: Path, program: Path) -> None:
    """Compile one file of Go that needs nothing but the standard library."""
    environment = os.environ | {"GO111MODULE": "off", "GOFLAGS": "", "GOCACHE": str(program.parent / "go-cache")}
    subprocess.run(["go", "build", "-o", program, source], check=True, env=environment)


def wait_for(address: str) -> None:
    """Wait until somebody listens.

    Raises:
        TimeoutError: nobody did for 30 seconds.
    """
    deadline = monotonic() + 30
    while True:
        try:
            connect(address).close()
        except OSError as error:
            if monotonic() > deadline:
                raise TimeoutError(f"nobody listens on {address}") from error
            sleep(0.01)
        else:
            return


async def sent_params(job: Job) -> dict[str, str]:
    """Return the FastCGI parameters that fcgi_async sends for a job, so that others send the same."""

    async def answer(request: Request) -> str:
        return ""

    async with Responder(answer) as responder, Dispatcher(responder.address, max_children=1) as php:
        await php.run(job)
        return dict(responder.requests[0].params)


@contextmanager
def nginx_before(fpm: LocalFPM, folder: Path, params: Mapping[str, str], *, keep: bool) -> Iterator[str]:
    """Run nginx before a PHP-FPM on a unix socket, and yield its own socket; scripts are below SCRIPT_FILENAME."""
    folder.mkdir(exist_ok=True)
    text = " ".join(f'fastcgi_param {name} "{value}";' for name, value in params.items())
    configuration = NGINX.format(
        folder=folder,
        fpm=fpm.address.removeprefix("unix://"),
        keep=KEEP.format(workers=fpm.max_children) if keep else "",
        params=text + (" fastcgi_keep_conn on; fastcgi_max_temp_file_size 0;" if keep else ""),
        user="user root;" if os.geteuid() == 0 else "",
    )
    (folder / "nginx.conf").write_text(configuration)
    program = find_program("nginx")
    if program is None:
        raise SystemExit("nginx is not installed")
    command = [program, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", str(folder / "early.log")]
    with subprocess.Popen(command) as process:
        try:
            wait_for(f"unix://{folder}/http.sock")
            yield str(folder / "http.sock")
        finally:
            process.terminate()


class Surroundings:
    """What runs beside the contenders, started when it is first asked for.

    Args:
        stack: ends what was started.
        folder: for sockets and programs.
        checkout: of hollodotme/fast-cgi-client, None where there is none.
        before: a checkout of another state of this project, None where there is none.
    """

    def __init__(self, stack: ExitStack, folder: Path, checkout: Path | None, before: Path | None) -> None:
        self._stack, self.folder, self.checkout, self.before = stack, folder, checkout, before
        self.portal = stack.enter_context(start_blocking_portal())

    def _start_fpm(self, listen: str = "unix", workers: int = WORKERS) -> LocalFPM:
        fpm = LocalFPM(max_children=workers, listen=listen, system_ini=False, ini=INI)  # type: ignore[arg-type]
        return self._stack.enter_context(self.portal.wrap_async_context_manager(fpm))

    @cached_property
    def unix(self) -> LocalFPM:
        return self._start_fpm()

    @cached_property
    def tcp(self) -> LocalFPM:
        return self._start_fpm("tcp")

    @cached_property
    def wide(self) -> LocalFPM:
        return self._start_fpm(workers=WIDE)

    @cached_property
    def nginx(self) -> str:
        """nginx's socket, before a PHP-FPM of its own."""
        params = self.portal.call(sent_params, Job(str(SCRIPTS / "ok.php"))) | NGINX_PARAMS
        params |= {"SCRIPT_FILENAME": f"{SCRIPTS}$fastcgi_script_name"}
        return self._stack.enter_context(nginx_before(self._start_fpm(), self.folder / "nginx", params, keep=True))

    @cached_property
    def go_client(self) -> str:
        build_go(GO_CLIENT, self.folder / "client")
        return str(self.folder / "client")

    @cached_property
    def _earlier(self) -> str:
        """A folder with nothing but the other state's package in it: its checkout has benchmarks of its own."""
        folder = self.folder / "before"
        folder.mkdir()
        assert self.before is not None
        (folder / "fcgi_async").symlink_to(self.before / "fcgi_async")
        return str(folder)

    def environment(self, *, before: bool) -> dict[str, str]:
        """Return the environment of a contender: these benchmarks, and this state of the package or the other one."""
        path = [self._earlier] if before else []
        return os.environ | {"PYTHONPATH": os.pathsep.join([*path, str(ROOT)]), "PYTHONHASHSEED": "0"}

    def endpoints(self, count: int) -> list[str]:
        """Return so many addresses of the wide pool: hard links to its socket, each taken for a socket of its own."""
        paths = [self.folder / f"{count}-{number}.sock" for number in range(count)]
        for path in paths:
            if not path.exists():
                path.hardlink_to(self.wide.address.removeprefix("unix://"))
        return [f"unix://{path}" for path in paths]

    def setting(self, pool: str, script: str, changes: Mapping[str, Any], *, nginx: bool) -> Setting:
        """Return the setting of a case; `nginx` says whether somebody needs it."""
        fpm: LocalFPM = getattr(self, pool)
        path, query = str(SCRIPTS / script), changes.get("query", "")
        params = self.portal.call(sent_params, Job(path, query=query or None))
        if script == "count.php":
            params |= {"REQUEST_METHOD": "POST", "CONTENT_TYPE": "application/octet-stream"}
            params["CONTENT_LENGTH"] = str(changes["size"])
        return Setting(
            address=fpm.address,
            script=path,
            params=params,
            http_socket=self.nginx if nginx else "",
            path=f"/{script}?{query}",
            workers=fpm.max_children,
            **changes,
        )

    def missing(self, needs: tuple[str, ...]) -> str | None:
        """Return what is missing of the programs that a contender needs."""
        for name in needs:
            if name == "hollodotme":
                if self.checkout is None:
                    return "no checkout was given with --hollodotme"
            elif find_program(name) is None:
                return f"{name} is not installed"
        return None

    def fill(self, part: str, setting: str) -> str:
        """Return a part of a command; a place in braces stands for what belongs there."""
        if part == "{setting}":
            return setting
        if part == "{go}":
            return self.go_client
        return str(self.checkout) if part == "{checkout}" else part


@contextmanager
def surroundings(checkout: Path | None = None, before: Path | None = None) -> Iterator[Surroundings]:
    """Yield surroundings that end with the block."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        yield Surroundings(stack, folder, checkout, before)

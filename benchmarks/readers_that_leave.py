"""How long the next job waits when eight readers have left their streams, beside nginx on the same PHP-FPM.

Usage: python -m benchmarks.readers_that_leave [--rounds N] [--backend NAME]

A private PHP-FPM of 4 workers without a status page. Eight readers begin a response and leave it after 0.15 s: through
`Dispatcher.stream()`, and through nginx over connections that they close. Then a script that prints one byte is asked
for, the same way, and the time until its answer is taken. Each round runs both ways, one after the other, and waits in
between until every worker is idle again. The scripts:

- `silent`: prints nothing for 0.5 s.
- `ticking`: prints a byte each 0.2 s, for 2 s.
- `writing`: prints 300 MB without a pause.

Reported are the medians, and whether ours is within 1.5 x nginx's + 50 ms, as it should be.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median
from time import perf_counter

import anyio
import anyio.abc

from benchmarks.suite.programs import find_program
from fcgi_async import Dispatcher, Job, LocalFPM

WORKERS, READERS, STAY = 4, 8, 0.15
SCRIPTS = {
    "silent": "usleep(500000); echo 1;",
    "ticking": "for ($i = 0; $i < 10; $i++) { echo 1; flush(); usleep(200000); }",
    "writing": "for ($i = 0; $i < 30000; $i++) echo str_repeat('x', 10000);",
    "next": "echo 1;",
}
FACTOR, ALLOWANCE = 1.5, 0.05
NGINX = """
daemon off; pid {folder}/nginx.pid; error_log {folder}/nginx.log; {user}
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    server {{
        listen unix:{folder}/http.sock;
        location / {{
            fastcgi_pass {fpm};
            fastcgi_param SCRIPT_FILENAME {folder}$fastcgi_script_name;
            fastcgi_param REQUEST_METHOD $request_method;
        }}
    }}
}}
"""

Leave = Callable[[str], Awaitable[None]]
Ask = Callable[[], Awaitable[None]]


@asynccontextmanager
async def nginx(fpm: LocalFPM) -> AsyncIterator[Path]:
    """Run nginx in front of an FPM, and yield its socket."""
    folder = fpm.directory
    user = "user root;" if os.geteuid() == 0 else ""
    address = fpm.address.replace("unix://", "unix:")
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, fpm=address, user=user))
    program = find_program("nginx")
    if program is None:
        raise SystemExit("nginx is not installed")
    command = [program, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", str(folder / "early.log")]
    process = await anyio.open_process(command, stdout=None, stderr=None)
    try:
        path = folder / "http.sock"
        with anyio.fail_after(10):
            while not path.exists():  # noqa: ASYNC110 - another process makes it
                await anyio.sleep(0.01)
        yield path
    finally:
        process.terminate()
        with anyio.CancelScope(shield=True):
            await process.wait()


@asynccontextmanager
async def http(path: Path, script: str) -> AsyncIterator[anyio.abc.SocketStream]:
    """Ask nginx for a script, over a connection that is closed on leaving."""
    async with await anyio.connect_unix(path) as stream:
        await stream.send(f"GET /{script}.php HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
        yield stream


async def through_nginx(path: Path, script: str) -> float:
    """Let the readers leave, and return the seconds until the next answer."""

    async def reader() -> None:
        with anyio.move_on_after(STAY):
            async with http(path, script) as stream:
                async for _ in stream:
                    await anyio.sleep(0.01)

    async with anyio.create_task_group() as tasks:
        for _ in range(READERS):
            tasks.start_soon(reader)
    start = perf_counter()
    async with http(path, "next") as stream:
        answer = b"".join([part async for part in stream])
    if not answer.endswith(b"\r\n\r\n1"):
        raise RuntimeError(f"nginx answered something else: {answer[:200]!r}")
    return perf_counter() - start


async def through_ours(fpm: LocalFPM, script: str) -> float:
    """The same through a dispatcher."""

    def job(name: str) -> Job:
        return Job(str(fpm.directory / f"{name}.php"))

    async with Dispatcher(fpm.address, max_children=WORKERS) as php:

        async def reader() -> None:
            with anyio.move_on_after(STAY):
                async with php.stream(job(script)) as response:
                    async for _ in response:
                        await anyio.sleep(0.01)

        async with anyio.create_task_group() as tasks:
            for _ in range(READERS):
                tasks.start_soon(reader)
        start = perf_counter()
        if (await php.run(job("next"))).text != "1":
            raise RuntimeError("PHP answered something else")
        return perf_counter() - start


async def idle(fpm: LocalFPM) -> None:
    """Wait until every worker waits for a connection: as many scripts at once as there are workers, and none waits."""
    async with Dispatcher(fpm.address, max_children=WORKERS) as php:
        await php.run_all([Job(str(fpm.directory / "busy.php")) for _ in range(WORKERS)])


async def main(options: argparse.Namespace) -> None:
    print("| script | next answer, ours | nginx | ours / nginx | within 1.5 x + 50 ms |")
    print("| --- | --- | --- | --- | --- |")
    async with LocalFPM(max_children=WORKERS) as fpm, nginx(fpm) as path:
        for name, code in {**SCRIPTS, "busy": "usleep(50000);"}.items():
            (fpm.directory / f"{name}.php").write_text(f"<?php {code}")
        for name in ("silent", "ticking", "writing"):
            ours, theirs = [], []
            for _ in range(options.rounds):
                await idle(fpm)
                theirs.append(await through_nginx(path, name))
                await idle(fpm)
                ours.append(await through_ours(fpm, name))
            mine, nginxs = median(ours), median(theirs)
            within = mine <= FACTOR * nginxs + ALLOWANCE
            print(
                f"| {name} | {mine * 1e3:.0f} ms | {nginxs * 1e3:.0f} ms | {mine / nginxs:.2f} "
                f"| {'yes' if within else 'no'} |",
                flush=True,
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="How long the next job waits when readers have left, beside nginx.")
    parser.add_argument("--rounds", type=int, default=9, help="how often each is run")
    parser.add_argument("--backend", default="asyncio", choices=("asyncio", "trio"))
    given = parser.parse_args()
    anyio.run(main, given, backend=given.backend)

"""How long the next job waits when eight readers have left their streams, beside nginx on the same PHP-FPM.

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
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from statistics import median
from time import perf_counter

import anyio
import anyio.abc

from benchmarks.scenarios import make_parser, pool, row, run, script
from benchmarks.suite.surroundings import nginx_before
from fcgi_async import Dispatcher, Job, LocalFPM

WORKERS, READERS, STAY = 4, 8, 0.15
SCRIPTS = {
    "silent": "usleep(500000); echo 1;",
    "ticking": "for ($i = 0; $i < 10; $i++) { echo 1; flush(); usleep(200000); }",
    "writing": "for ($i = 0; $i < 30000; $i++) echo str_repeat('x', 10000);",
    "next": "echo 1;",
    "busy": "usleep(50000);",
}
FACTOR, ALLOWANCE = 1.5, 0.05


@asynccontextmanager
async def http(path: str, name: str) -> AsyncIterator[anyio.abc.SocketStream]:
    """Ask nginx for a script, over a connection that is closed on leaving."""
    async with await anyio.connect_unix(path) as stream:
        await stream.send(f"GET /{name}.php HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
        yield stream


async def through_nginx(path: str, name: str) -> float:
    """Let the readers leave, and return the seconds until the next answer."""

    async def reader() -> None:
        with anyio.move_on_after(STAY):
            async with http(path, name) as stream:
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


async def through_ours(fpm: LocalFPM, name: str) -> float:
    """The same through a dispatcher."""
    async with Dispatcher(fpm.address, max_children=WORKERS) as php:

        async def reader() -> None:
            with anyio.move_on_after(STAY):
                async with php.stream(Job(script(fpm, name))) as response:
                    async for _ in response:
                        await anyio.sleep(0.01)

        async with anyio.create_task_group() as tasks:
            for _ in range(READERS):
                tasks.start_soon(reader)
        start = perf_counter()
        if (await php.run(Job(script(fpm, "next")))).text != "1":
            raise RuntimeError("PHP answered something else")
        return perf_counter() - start


async def idle(fpm: LocalFPM) -> None:
    """Wait until every worker waits for a connection: as many scripts at once as there are workers, and none waits."""
    async with Dispatcher(fpm.address, max_children=WORKERS) as php:
        await php.run_all([Job(script(fpm, "busy"))] * WORKERS)


async def main(options: argparse.Namespace) -> None:
    params = {"SCRIPT_FILENAME": "$document_root$fastcgi_script_name", "REQUEST_METHOD": "$request_method"}
    row(("script", "next answer, ours", "nginx", "ours / nginx", "within 1.5 x + 50 ms"), head=True)
    async with pool(SCRIPTS, WORKERS) as fpm:
        params["SCRIPT_FILENAME"] = f"{fpm.directory}$fastcgi_script_name"
        with nginx_before(fpm, fpm.directory / "nginx", params, keep=False) as path:
            for name in ("silent", "ticking", "writing"):
                ours, theirs = [], []
                for _ in range(options.rounds):
                    await idle(fpm)
                    theirs.append(await through_nginx(path, name))
                    await idle(fpm)
                    ours.append(await through_ours(fpm, name))
                mine, nginxs = median(ours), median(theirs)
                within = "yes" if mine <= FACTOR * nginxs + ALLOWANCE else "no"
                row((name, f"{mine * 1e3:.0f} ms", f"{nginxs * 1e3:.0f} ms", f"{mine / nginxs:.2f}", within))


if __name__ == "__main__":
    parser = make_parser(__doc__)
    parser.add_argument("--rounds", type=int, default=9, help="how often each is run")
    run(main, parser.parse_args())

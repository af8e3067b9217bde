"""One `php` process for each job, started from asyncio, no more at once than a pool would have workers.

Usage: python -m benchmarks.contenders.php_processes SETTING

Without php.ini and its extensions (`php -n`), which is the fastest start. The CPU time of the processes, which a pool
would spend as well though much less of it, is reported apart from that of the client.
"""

from __future__ import annotations

import asyncio
from asyncio.subprocess import DEVNULL, PIPE

import attrs

from benchmarks.contenders.setting import Setting
from benchmarks.contenders.worker_loops import measure


async def main(setting: Setting) -> None:
    expected = setting.expected.encode()

    async def job() -> None:
        process = await asyncio.create_subprocess_exec("php", "-n", setting.script, stdin=DEVNULL, stdout=PIPE)
        output, _ = await process.communicate()
        if output != expected or process.returncode:
            raise RuntimeError("PHP answered something else")

    stretch, jobs = await measure(attrs.evolve(setting, at_once=setting.connections), job)
    stretch.report(jobs)


if __name__ == "__main__":
    asyncio.run(main(Setting.given()))

"""map() over a source that never ends, left after so many outcomes: resident memory after a third of them, and then.

Usage: python -m benchmarks.contenders.ours_endless SETTING asyncio|uvloop|trio
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

from benchmarks.contenders.on_backend import run_on
from benchmarks.contenders.setting import Setting
from benchmarks.measuring import Stretch, read_status
from fcgi_async import Dispatcher, Job, Timeouts


def source(script: str) -> Iterator[Job]:
    while True:
        yield Job(script)


async def main(setting: Setting) -> None:
    expected, seen = setting.expected.encode(), 0
    resident: list[int] = []
    async with Dispatcher(setting.address, max_children=setting.workers, timeouts=Timeouts(total=300)) as php:
        with Stretch() as stretch:
            async with php.map(source(setting.script)) as outcomes:
                async for outcome in outcomes:
                    if outcome.result().content != expected:
                        raise RuntimeError("PHP answered something else")
                    seen += 1
                    if seen in (setting.jobs // 3, setting.jobs):
                        resident.append(read_status(os.getpid(), "VmRSS"))
                    if seen == setting.jobs:
                        break
    stretch.report(setting.jobs, resident_early=resident[0], resident_late=resident[-1])


if __name__ == "__main__":
    run_on(sys.argv[2], main, Setting.given())

"""Bytes that a queued entry takes, by Python's allocator.

Usage: python -m benchmarks.contenders.ours_entries SETTING submit|run asyncio|uvloop|trio
"""

from __future__ import annotations

import json
import sys

from benchmarks.contenders.on_backend import run_on
from benchmarks.contenders.setting import Setting
from benchmarks.overload import memory_of_run, memory_of_submit

WAYS = {"submit": memory_of_submit, "run": memory_of_run}


async def main(setting: Setting, through: str) -> None:
    size = await WAYS[through](setting.address, setting.script, setting.jobs)
    print(json.dumps({"jobs": setting.jobs, "entry_bytes": size}))


if __name__ == "__main__":
    run_on(sys.argv[3], main, Setting.given(), sys.argv[2])

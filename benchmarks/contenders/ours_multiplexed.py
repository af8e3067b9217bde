"""Many requests at once to Go's net/http/fcgi, on one connection or on one each; Go's server is started for it.

Usage: python -m benchmarks.contenders.ours_multiplexed SETTING shared|single asyncio|uvloop|trio SERVER

What is measured, and how, stands in benchmarks/multiplexing.py; `jobs` are rounds of so many requests.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from benchmarks.contenders.on_backend import run_on
from benchmarks.contenders.setting import Setting
from benchmarks.multiplexing import MODES, allow_many_sockets, measure, serving


async def main(setting: Setting, mode: str, address: str, server: int) -> None:
    found = await measure(address, server, MODES[mode], setting.at_once, setting.jobs)
    connections, memory, server_memory, first, later, cpu = found
    jobs = setting.at_once
    figures = {"jobs": jobs, "cpu": cpu * jobs / 1e6, "wall": later / 1000, "memory": memory}
    more = {"connections": connections, "server_memory": server_memory, "first": first / 1000}
    print(json.dumps(figures | more))


if __name__ == "__main__":
    _, _, mode, backend, program = sys.argv
    given = Setting.given()
    allow_many_sockets()
    path = Path(given.folder, "go.sock")
    path.unlink(missing_ok=True)
    with serving(Path(program), path) as server:
        run_on(backend, main, given, mode, f"unix://{path}", server)

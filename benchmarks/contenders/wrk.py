"""nginx's own ceiling: wrk, which is written in C, one thread, as many kept connections as PHP has workers.

Usage: python -m benchmarks.contenders.wrk SETTING

wrk runs for a time, not for a number of jobs: about as long as so many should take, at least a second. It measures
itself, its CPU time being that of a child of this script, start included; answers are checked by status alone, and once
by content. Its memory is not looked at.
"""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
import urllib.request
from pathlib import Path

from benchmarks.contenders.setting import Setting
from benchmarks.measuring import Stretch

EXPECTED_RATE = 8000
DONE = """
done = function(summary, latency, requests)
    local errors = summary.errors
    local bad = errors.connect + errors.read + errors.write + errors.status + errors.timeout
    local form = '{"jobs": %d, "wall": %.6f, "p50": %.6f, "p99": %.6f, "longest": %.6f, "bad": %d}'
    local p50, p99 = latency:percentile(50) / 1e6, latency:percentile(99) / 1e6
    print(string.format(form, summary.requests, summary.duration / 1e6, p50, p99, latency.max / 1e6, bad))
end
"""


def main(setting: Setting) -> None:
    url = f"http://127.0.0.1:{setting.http_port}{setting.path}"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    if opener.open(url).read() != setting.expected.encode():
        raise RuntimeError("PHP answered something else")
    connections = str(setting.connections)
    seconds = str(max(round(setting.jobs / EXPECTED_RATE), 1))
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder, "done.lua")
        script.write_text(DONE)
        command = [
            "wrk",
            "--threads",
            "1",
            "--connections",
            connections,
            "--duration",
            seconds,
            "--script",
            str(script),
            url,
        ]
        with Stretch() as stretch:
            output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = re.search(r"^\{.*\}$", output, re.MULTILINE)
    figures = json.loads(found[0]) if found else {"bad": 1}
    if figures.pop("bad"):
        raise RuntimeError(f"wrk saw errors: {output}")
    print(json.dumps({"cpu": stretch.children_cpu, "memory": None} | figures))


if __name__ == "__main__":
    main(Setting.given())

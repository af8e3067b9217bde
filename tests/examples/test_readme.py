"""Who types the README's commands in an empty directory has a service that fans out to PHP."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

from fcgi_async.fpm.local import find_free_port
from tests.asgi.server import ROOT


def commands() -> str:
    """The README's commands, but for where the package and a free port are."""
    (block,) = re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    given, count = re.subn(r"^FCGI_ASYNC=\S+", f"FCGI_ASYNC={ROOT}", block, flags=re.MULTILINE)
    assert count == 1
    return given.replace("8000", str(find_free_port()))


@pytest.mark.long
def test_a_service_of_ones_own(tmp_path: Path) -> None:
    """It answers with the results of twenty jobs, in their order."""
    said, complained = tmp_path / "stdout", tmp_path / "stderr"
    # not the virtual environment of the tests
    environment = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "PYTHONPATH")}
    with said.open("wb") as output, complained.open("wb") as errors:
        script = subprocess.Popen(
            ["bash", "-euc", commands()],
            cwd=tmp_path,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            start_new_session=True,
        )
    try:
        assert script.wait(110) == 0, complained.read_text()
    finally:
        # the service with it
        os.killpg(script.pid, signal.SIGTERM)
    assert json.dumps([n**2 for n in range(20)], separators=(",", ":")) in said.read_text()

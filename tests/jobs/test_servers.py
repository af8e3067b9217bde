"""The tests' database servers end with the tests, however these end."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.eventually import soon
from tests.jobs.conftest import ROOT
from tests.jobs.guard import make_directory
from tests.jobs.servers import is_alive

# says where its server is, and waits
PROGRAM = """
import sys
from tests.jobs import servers
with getattr(servers, sys.argv[1])() as server:
    print(server.pid, server.directory, flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("kind", ["Postgres", "MariaDB"])
@pytest.mark.parametrize("killed", [True, False])
def test_a_server_ends_with_the_process_that_started_it(kind: str, killed: bool) -> None:
    """Though that is killed by SIGKILL; none of its files is left."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, kind], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    words = process.stdout.readline().split()
    pid, directory = int(words[0]), Path(words[1].decode())
    assert is_alive(pid)
    assert directory.exists()
    if killed:
        process.kill()
    process.communicate()
    assert (process.returncode == 0) is not killed
    soon(lambda: not is_alive(pid))
    soon(lambda: not directory.exists())


def test_what_a_killed_run_left_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And what another one uses is not."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (left, first), (used, second) = make_directory(), make_directory()
    assert left.exists()
    first.close()
    _, third = make_directory()
    assert (left.exists(), used.exists()) == (False, True)
    second.close()
    third.close()

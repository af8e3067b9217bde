"""Servers that end with whoever started them, even by SIGKILL, and leave no files.

A shell starts the server, and waits for a line, or for the end of its standard input: the kernel closes that pipe
whatever happens to the other end. The directory has a lock that both ends hold; what is not locked any more is left
from a shell that was killed too, and is removed by the next who makes a directory.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any, BinaryIO

PREFIX = "jobs-"

# how long a server that was told to end may take is in the shell's `sleep`
GUARD = """
directory=$1 signal=$2; shift 2
"$@" </dev/null >>"$directory/log" 2>&1 &
server=$!
echo "$server"
read -r _ && gone= || gone=yes
( sleep 5; kill -KILL $(ps -o pid= --ppid "$server") "$server" ) >/dev/null 2>&1 &
late=$!
kill -"$signal" "$server"
wait "$server"
kill "$late"
[ -z "$gone" ] || rm -rf "$directory"
"""


class Guarded:
    """A server, and the shell that ends it.

    Args:
        command: of the server.
        directory: of its files, from `make_directory()`; removed when this process is gone.
        lock: of the directory.
        signal: the name of the signal that ends it and leaves nothing.
        settings: for the process.
    """

    def __init__(
        self, command: list[str], directory: Path, lock: BinaryIO, signal: str, settings: dict[str, Any]
    ) -> None:
        self._shell = subprocess.Popen(
            ["/bin/sh", "-c", GUARD, "guard", str(directory), signal, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=directory,
            start_new_session=True,
            pass_fds=[lock.fileno()],
            **settings,
        )
        assert self._shell.stdout is not None
        self.pid = int(self._shell.stdout.readline())

    def end(self) -> None:
        """End the server if it has not ended; return when it has."""
        self._shell.communicate(b"end\n")


def make_directory() -> tuple[Path, BinaryIO]:
    """Make a temporary directory; return it and its lock, which is let go by closing it."""
    for left in Path(tempfile.gettempdir()).glob(f"{PREFIX}*/lock"):
        _remove_if_left(left)
    # pytest's directories may be too long for a socket's address, and are closed to other users
    directory = Path(tempfile.mkdtemp(prefix=PREFIX))
    lock = (directory / "lock.new").open("wb")
    fcntl.flock(lock, fcntl.LOCK_EX)
    # seen by others only when it is locked
    os.rename(directory / "lock.new", directory / "lock")
    return directory, lock


def _remove_if_left(path: Path) -> None:
    try:
        with path.open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path.parent, ignore_errors=True)
    except OSError:
        # somebody is at home, or has just left
        return

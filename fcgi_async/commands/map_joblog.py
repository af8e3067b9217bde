"""The job log of `map`: the beginnings and ends of jobs, a line of JSON each, so that a run can be resumed.

Each line is written at once, in one write() at the end of the file: before its job is submitted, and as soon as it has
ended. The lines of a killed process stay; an incomplete last line does not count.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections import Counter
from typing import Self

import attrs

from fcgi_async.commands.errors import UsageError
from fcgi_async.commands.map_lines import Key, Line
from fcgi_async.commands.map_record import Record

__all__ = ("JobLog",)


@attrs.define(eq=False)
class JobLog:
    """A file of the jobs that have begun and ended.

    Attributes:
        path: the path of the file.
        in_doubt: the keys of jobs that were running when an earlier run was cut off.
    """

    path: str
    _fd: int
    in_doubt: list[Key] = attrs.field(factory=list, init=False)
    _done: Counter[Key] = attrs.field(factory=Counter, init=False)
    _digests: dict[Key, str] = attrs.field(factory=dict, init=False)

    @classmethod
    def open(cls, path: str, *, resume: bool) -> Self:
        """Open the file, and read the lines of an earlier run.

        Args:
            path: the path of the file; it is created if it does not exist.
            resume: whether it may have lines already.

        Raises:
            UsageError: the file cannot be opened, another process writes to it, or it has lines and `resume` is False.
        """
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise UsageError(f"--joblog {path}: {error.strerror}") from error
        log = cls(path, fd)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            size = os.fstat(fd).st_size
            if size and not resume:
                raise UsageError(
                    f"--joblog {path} has the jobs of an earlier run; continue it with --resume, or name another file"
                )
            log._read(size)
        except OSError as error:
            log.close()
            why = "another fcgi-async writes to it" if isinstance(error, BlockingIOError) else error.strerror
            raise UsageError(f"--joblog {path}: {why}") from error
        except UsageError:
            log.close()
            raise
        return log

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)

    def skip(self, line: Line, *, by_index: bool) -> bool:
        """Return whether this job succeeded in an earlier run; each success counts for one line.

        Args:
            line: the line to run.
            by_index: whether its key is only its index.

        Raises:
            UsageError: another job had that index.
        """
        if by_index and self._digests.get(line.key, line.digest) != line.digest:
            raise UsageError(
                f"job {line.index} of standard input is not job {line.index} of --joblog {self.path}: the input has "
                "changed; identify lines by --key NAME, or name another file"
            )
        if not self._done[line.key]:
            return False
        self._done[line.key] -= 1
        return True

    def began(self, line: Line) -> None:
        """Write that a job is being submitted.

        Raises:
            UsageError: the file cannot be written.
        """
        self._write({"event": "began", "time": time.time(), "key": line.key, "digest": line.digest})

    def ended(self, line: Line, ended: Record) -> None:
        """Write the outcome of a job.

        Raises:
            UsageError: the file cannot be written.
        """
        members = ("key", "index", "ok", "status", "error", "may_have_run", "again")
        timing = ended["timing"]
        seconds = timing["total"] if isinstance(timing, dict) else None
        kept = {name: ended[name] for name in members}
        self._write({"event": "ended", "time": time.time(), **kept, "seconds": seconds, "digest": line.digest})

    def _write(self, members: Record) -> None:
        data = json.dumps(members, separators=(",", ":")).encode() + b"\n"
        try:
            written = os.write(self._fd, data)
        except OSError as error:
            raise UsageError(f"--joblog {self.path}: {error.strerror}") from error
        if written < len(data):
            raise UsageError(f"--joblog {self.path}: there is no more room")

    def _read(self, size: int) -> None:
        running: Counter[Key] = Counter()
        doubt: dict[Key, None] = {}
        with os.fdopen(os.dup(self._fd), "rb") as file:
            for text in file:
                self._take(text, running, doubt)
        self.in_doubt = [*doubt, *(key for key, count in running.items() if count > 0 and key not in doubt)]
        if size and os.pread(self._fd, 1, size - 1) != b"\n":
            # begin a new line for what is written next
            os.write(self._fd, b"\n")
        self._write({"event": "run", "time": time.time()})

    def _take(self, text: bytes, running: Counter[Key], doubt: dict[Key, None]) -> None:
        try:
            found = json.loads(text)
            event = found["event"]
            key, digest = (None, "") if event == "run" else (found["key"], found["digest"])
            ok = event == "ended" and found["ok"]
        except (ValueError, KeyError, TypeError):
            # incomplete, or not ours
            return
        if event == "run":
            doubt.update((left, None) for left, count in running.items() if count > 0)
            running.clear()
        elif isinstance(key, str | int):
            self._digests[key] = digest
            running[key] += 1 if event == "began" else -1
            doubt.pop(key, None)
            if ok:
                self._done[key] += 1

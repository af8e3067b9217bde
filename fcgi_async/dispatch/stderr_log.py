"""PHP's STDERR while it runs a job: kept for the response, and logged message by message as it comes.

Theory of operation. PHP-FPM joins messages, and marks where each begins. So a message is complete when the next one
begins or the attempt ends. If neither happens, it is assumed to be complete after a pause: FPM writes a message that is
longer than its buffer in several records, one right after the other.
"""

from __future__ import annotations

import logging
import re
from typing import Final

from fcgi_async.dispatch.job_log import fields_of, name_of
from fcgi_async.job.job import Job
from fcgi_async.net.backend import Backend, Timer
from fcgi_async.pool.attempt import Attempt
from fcgi_async.pool.sink import StderrBuffer

__all__ = ("KeepsStderr", "LoggedStderr")

stderr_logger = logging.getLogger("fcgi_async.stderr")
# without this, a program that has not set up logging would get PHP's warnings on its own standard error
stderr_logger.addHandler(logging.NullHandler())

_MARK: Final = re.compile(rb"(?:^|; |\n)PHP message: ")
_LEVEL: Final = re.compile(r"PHP (?:(?P<error>[\w ]*error)|(?P<info>Notice|Deprecated|Strict Standards)):")
_MESSAGES_MAX: Final = 100
# seconds, and bytes, after which a message is assumed to be complete
_PAUSE: Final = 0.05
_UNMARKED_MAX: Final = 64 * 1024


class LoggedStderr(StderrBuffer):
    """STDERR of one attempt up to a limit, which logs each message at the level that PHP gave it.

    Args:
        limit: bytes that are kept; what exceeds them is neither kept nor logged.
        job: the job that writes it.
        endpoint: the address of the attempt.
        backend: the event loop.
    """

    # most never set these: a default of the class costs nothing
    _rest = b""
    _timer: Timer | None = None
    _count = 0

    def __init__(self, limit: int, job: Job, endpoint: str, backend: Backend) -> None:
        # not by calling the other __init__: answers with STDERR should cost little more than others
        self._limit, self._parts, self._backend = limit, [], backend
        self._job, self._endpoint = job, endpoint

    def feed(self, data: bytes, *, more: bool = True) -> bytes:
        kept = super().feed(data)
        *complete, rest = _MARK.split(self._rest + kept)
        for message in complete:
            if message:
                self._log(message)
        self._rest = rest
        if more:
            self._wait_for_more()
        return kept

    def end(self) -> None:
        if self._timer is not None:
            self._stop_timer()
        rest = self._rest
        if rest:
            self._rest = b""
            self._log(rest)
        if self._count > _MESSAGES_MAX:
            more = self._count - _MESSAGES_MAX
            self._write(logging.WARNING, f"{more} more messages")
            self._count = 0

    def _wait_for_more(self) -> None:
        if self._timer is not None:
            self._stop_timer()
        if len(self._rest) > _UNMARKED_MAX:
            self._flush()
        elif self._rest:
            self._timer = self._backend.call_at(self._backend.now() + _PAUSE, self._flush)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _flush(self) -> None:
        self._timer = None
        rest, self._rest = self._rest, b""
        self._log(rest)

    def _log(self, message: bytes) -> None:
        text = message.decode("utf-8", "replace").rstrip()
        if text:
            self._count += 1
            if self._count <= _MESSAGES_MAX:
                self._write(_level(text), text)

    def _write(self, level: int, text: str) -> None:
        if stderr_logger.isEnabledFor(level):
            name, fields = name_of(self._job, self._endpoint), fields_of(self._job, self._endpoint)
            stderr_logger.log(level, "%s: %s", name, text, extra=fields)


class KeepsStderr:
    """The part of an execution that keeps the STDERR of its attempts.

    Attributes:
        job: the job that writes it.
        attempt: the last one.
    """

    job: Job
    attempt: Attempt | None = None
    # of the attempts that failed
    _earlier_stderr = b""

    def new_stderr(self, attempt: Attempt) -> StderrBuffer:
        """Return an object that takes the STDERR of an attempt, and logs it unless logging is disabled."""
        limit, peer = attempt.limits.stderr, attempt.slot.peer
        if stderr_logger.disabled:
            return StderrBuffer(limit)
        return LoggedStderr(limit, self.job, peer.name, peer.backend)

    @property
    def stderr(self) -> bytes:
        """STDERR of the last attempt so far."""
        attempt = self.attempt
        return b"" if attempt is None or attempt.stderr is None else attempt.stderr.value()

    def _end_stderr(self) -> bytes:
        """Stop taking STDERR of the last attempt, and return that of all attempts."""
        attempt = self.attempt
        if attempt is not None and attempt.stderr is not None:
            attempt.stderr.end()
            self._earlier_stderr += attempt.stderr.value()
        return self._earlier_stderr


def _level(text: str) -> int:
    found = _LEVEL.match(text)
    if found is None:
        return logging.WARNING
    return logging.ERROR if found["error"] else logging.INFO

"""One run of `map`: makes jobs of lines as workers become free, runs some again, and stops on signals.

Theory of operation. The dispatcher's map reads the lines, unordered: the writer puts outcomes in order. A line is in
hand from the moment it is read until its outcome is written. If `most` lines are in hand, or too many bytes of outcomes
wait for their turn, no more lines are read. A job that is run again waits in a task of its own, and stays in hand.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Final

import anyio
import attrs
from anyio.abc import TaskGroup

from fcgi_async.commands.map_joblog import JobLog
from fcgi_async.commands.map_lines import Line, LineJobs
from fcgi_async.commands.map_output import OutcomeWriter
from fcgi_async.commands.map_record import record
from fcgi_async.commands.stdio import STDERR, read_lines, write_at_once
from fcgi_async.commands.stop_signals import stop_signals
from fcgi_async.commands.terminal import printable
from fcgi_async.dispatch.dispatcher import Dispatcher
from fcgi_async.dispatch.handle import Outcome
from fcgi_async.dispatch.outcomes import OutcomeStream
from fcgi_async.dispatch.retry import Retry
from fcgi_async.errors import FastCGIError, InvalidJob, JobCancelled
from fcgi_async.job.job import Job
from fcgi_async.job.response import Response

__all__ = ("MapRun",)

# limits in addition to running jobs: lines in hand, and bytes of outcomes that wait for their turn
_MOST: Final = 1000
_MOST_BYTES: Final = 16 * 1024 * 1024
# seconds before a failed job is run again: at most 0.2, then twice as many each time
_AGAIN: Final = Retry(backoff=0.2, backoff_max=10.0)


@attrs.define(eq=False, kw_only=True)
class MapRun:
    """Runs a job for each line.

    Args:
        jobs: makes the jobs.
        writer: writes the outcomes.
        log: the job log; None if there is none.
        limit: most lines in hand; None for enough.
        retries: how many times a failed job is run again.
        fail_fast: whether to stop after a failed job.

    Attributes:
        skipped: lines whose jobs succeeded in an earlier run.
        not_run: lines that were read but not run.
        stopped: whether a signal stopped it.
        failed_fast: whether a failed job stopped it.
        cut_off: whether a second signal ended it.
        complete: whether standard input was read to its end.
    """

    jobs: LineJobs
    writer: OutcomeWriter
    log: JobLog | None
    limit: int | None
    retries: int
    fail_fast: bool
    skipped: int = attrs.field(init=False, default=0)
    not_run: int = attrs.field(init=False, default=0)
    stopped: bool = attrs.field(init=False, default=False)
    failed_fast: bool = attrs.field(init=False, default=False)
    cut_off: bool = attrs.field(init=False, default=False)
    complete: bool = attrs.field(init=False, default=False)
    _php: Dispatcher = attrs.field(init=False)
    _outcomes: OutcomeStream = attrs.field(init=False)
    _in_hand: dict[Job, Line] = attrs.field(init=False, factory=dict)
    # of those, outcomes that came after the run was cut off
    _unwritten: dict[Job, Outcome] = attrs.field(init=False, factory=dict)
    _most: int = attrs.field(init=False, default=_MOST)
    _again: TaskGroup = attrs.field(init=False)
    _stopping: anyio.Event = attrs.field(init=False, factory=anyio.Event)
    _scope: anyio.CancelScope = attrs.field(init=False, factory=anyio.CancelScope)
    _failure: Exception | None = attrs.field(init=False, default=None)

    async def run(self, php: Dispatcher) -> None:
        """Run all jobs, or until it is stopped.

        Raises:
            UsageError: standard input cannot be read, or the job log cannot be used.
            OSError: standard output cannot be written.
        """
        self._php = php
        share = sum(endpoint.share for endpoint in php.endpoints)
        self._most = self.limit or _MOST + 2 * share
        async with php.map(self._jobs(), ordered=False, limit=self.limit) as self._outcomes:
            with stop_signals(self._stop_by_signal, self._cut_off), self._scope:
                # a task group would raise errors as a group
                async with anyio.create_task_group() as self._again:
                    try:
                        async for outcome in self._outcomes:
                            if self.cut_off:
                                # it came before the cancellation that the signal caused
                                self._unwritten[outcome.job] = outcome
                            else:
                                await self._end(self._in_hand[outcome.job], outcome)
                    except Exception as error:
                        self._fail(error)
                if self._failure is None:
                    await self.writer.flush()
            if self._failure is not None:
                raise self._failure
            if self.cut_off:
                await self._name_what_ran()

    # lines

    async def _jobs(self) -> AsyncIterator[Job]:
        number = index = 0
        async with aclosing(read_lines()) as lines:
            async for text in lines:
                number += 1
                self.writer.read += len(text) + 1
                if not text.strip():
                    continue
                while self.writer.taken - self.writer.passed >= self._most or self.writer.held_bytes >= _MOST_BYTES:
                    await self.writer.moved()
                self.writer.taken += 1
                line = await self._line(text, index, number)
                index += 1
                if line is not None and line.job is not None:
                    self._in_hand[line.job] = line
                    if self.log is not None:
                        self.log.began(line)
                    yield line.job
        self.complete = True

    async def _line(self, text: bytes, index: int, number: int) -> Line | None:
        """Return a line to run; None for a line that is settled already."""
        try:
            line = self.jobs.line(text, index)
        except InvalidJob as error:
            message = f"line {number} of standard input {error.message}"
            await self._deliver(self.jobs.refused(text, index), None, InvalidJob(message))
            return None
        if self.log is not None and self.log.skip(line, by_index=self.jobs.by_index):
            self.skipped += 1
            await self.writer.leave_out(index)
            return None
        return line

    # outcomes

    async def _end(self, line: Line, outcome: Outcome) -> None:
        error = outcome.error
        if isinstance(error, JobCancelled) and not error.may_have_run:
            await self._leave_out(line, error)
        elif self._is_run_again(line, outcome):
            self._again.start_soon(self._run_again, line, outcome)
        else:
            await self._deliver(line, outcome.response, error)

    def _is_run_again(self, line: Line, outcome: Outcome) -> bool:
        if line.again >= self.retries or self._stopping.is_set():
            return False
        error = outcome.error
        if error is None:
            return not outcome.result().ok and outcome.job.idempotent
        return not isinstance(error, InvalidJob) and (outcome.job.idempotent or not error.may_have_run)

    async def _run_again(self, line: Line, outcome: Outcome) -> None:
        job = outcome.job
        try:
            while self._is_run_again(line, outcome):
                with anyio.move_on_after(_AGAIN.delay(line.again + 2)):
                    await self._stopping.wait()
                    break
                line.again += 1
                try:
                    outcome = Outcome(job, await self._php.run(job), None)
                except FastCGIError as error:
                    outcome = Outcome(job, None, error)
            await self._deliver(line, outcome.response, outcome.error)
        except Exception as error:
            self._fail(error)

    async def _deliver(self, line: Line, response: Response | None, error: FastCGIError | None) -> None:
        ended = record(line, response, error)
        self._settle(line)
        if self.log is not None:
            self.log.ended(line, ended)
        await self.writer.write(ended)
        if self.fail_fast and not ended["ok"] and not self._stopping.is_set():
            self.failed_fast = True
            self._stop()

    async def _leave_out(self, line: Line, error: JobCancelled) -> None:
        self._settle(line)
        self.not_run += 1
        if self.log is not None:
            self.log.ended(line, record(line, None, error))
        await self.writer.leave_out(line.index)

    def _settle(self, line: Line) -> None:
        if line.job is not None:
            del self._in_hand[line.job]

    def _fail(self, error: Exception) -> None:
        if self._failure is None:
            self._failure = error
        self._again.cancel_scope.cancel()

    # the end

    def _stop(self) -> None:
        self._stopping.set()
        self._outcomes.stop()

    def _stop_by_signal(self) -> None:
        self.stopped = True
        self._stop()
        running = self._php.statistics().running
        self.writer.progress.clear()
        write_at_once(
            STDERR,
            f"fcgi-async: stopping: no more lines are taken, {running} running jobs are finished; a second "
            "signal cancels them\n".encode(),
        )

    def _cut_off(self) -> None:
        self.cut_off = True
        self._outcomes.stop(cancel=True)
        self._scope.cancel()

    async def _name_what_ran(self) -> None:
        """Take the outcomes of the cancelled jobs, which are complete, and report whether PHP may have run them."""
        ended = self._unwritten | {outcome.job: outcome async for outcome in self._outcomes}
        # jobs that were run again are not among them
        unknown = JobCancelled("the job was cancelled")
        unknown.may_have_run = True
        for job, line in sorted(self._in_hand.items(), key=lambda item: item[1].index):
            self._name(line, ended.get(job) or Outcome(job, None, unknown))

    def _name(self, line: Line, outcome: Outcome) -> None:
        if self.log is not None:
            self.log.ended(line, record(line, outcome.response, outcome.error))
        if outcome.error is None:
            what = "PHP ran it, and its outcome was not written"
        elif outcome.error.may_have_run:
            what = "PHP may have run it"
        else:
            self.not_run += 1
            return
        write_at_once(STDERR, f"fcgi-async: cut off: job {printable(str(line.key))}: {what}\n".encode())

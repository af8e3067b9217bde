"""Intake: put a broker's messages as durable jobs."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Final
from urllib.parse import urlsplit

import anyio

from fcgi_async.errors import ConfigurationError
from fcgi_async.jobs.checks import check_name, check_number
from fcgi_async.jobs.client import Jobs
from fcgi_async.jobs.errors import JobsError, StoreError, StoreRefused
from fcgi_async.jobs.intake.message import Form, Message, Reader, Unusable
from fcgi_async.jobs.intake.source import BrokerUnavailable, Inlet, Source
from fcgi_async.jobs.record import NewJob
from fcgi_async.jobs.task import Task

__all__ = ("Intake",)

logger = logging.getLogger("fcgi_async.jobs")

# seconds
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0
_REDIS: Final = ("redis", "rediss", "valkey", "valkeys", "unix")


class Intake:
    """Takes messages from a broker and puts them as durable jobs; each is acknowledged when its job is on disk.

        async with Jobs(url) as jobs:
            await Intake(jobs, "redis://localhost/0", stream="jobs", tasks=[mail]).run()

    A message that is delivered again puts no second job while the job is in the database, because its name in the
    broker is the job's id.

    Args:
        jobs: the database, entered.
        url: "nats://host:4222", for a stream of JetStream (on asyncio only), or "redis://host:6379/0", for a stream of
            Redis or Valkey.
        stream: the stream's name, or key.
        tasks: the tasks whose jobs messages may put.
        group: the durable consumer, or consumer group, by which several intakes share the messages; created if it does
            not exist.
        form: "job" for messages such as {"task": "mail", "data": {...}, "delay": 60}, "data" for messages that are the
            data of the only task, "symfony" for messages of Symfony's Messenger in JSON.
        types: for "symfony", the task's name by the class of the message.
        keep: whether Redis keeps acknowledged messages in the stream, for other groups.
        lost_after: seconds after which messages that an intake has taken and not acknowledged go to another, 1 or more.

    Attributes:
        taken: number of messages that became jobs.
        refused: number of messages that cannot become jobs: they are logged, and with Redis put into the stream
            `NAME:refused`.

    Raises:
        ConfigurationError: an argument is out of its range, or the kind of broker is unknown.
        ImportError: the broker's client is not installed; the message tells how to install it.
    """

    def __init__(
        self,
        jobs: Jobs,
        url: str,
        *,
        stream: str,
        tasks: Iterable[Task],
        group: str = "fcgi_async",
        form: Form = "job",
        types: Mapping[str, str] | None = None,
        keep: bool = False,
        lost_after: float = 30.0,
    ) -> None:
        check_name("Intake(group)", group)
        check_number("Intake(lost_after)", lost_after, least=1)
        self._jobs = jobs
        self._reader = Reader(tasks, form, types or {}, jobs._new)
        self._source = _source(url, stream, group, keep, lost_after)
        self._stopping = anyio.Event()
        self._silent = False
        self.taken = self.refused = 0

    @property
    def name(self) -> str:
        """The broker and the stream, without a password."""
        return self._source.name

    def stop(self) -> None:
        """Let `run()` return when the messages that it has taken are put and acknowledged."""
        self._stopping.set()

    async def run(self) -> None:
        """Take messages until `stop()` is called.

        While the broker or the database is away, it tries again at growing intervals, and logs that once.

        Raises:
            ConfigurationError: the broker has no such stream, or refuses the user.

        After a cancellation, the broker delivers unacknowledged messages again.
        """
        pause = _FIRST_PAUSE
        while not self._stopping.is_set():
            try:
                async with self._source.connected() as inlet:
                    self._silent, pause = False, _FIRST_PAUSE
                    while not self._stopping.is_set():
                        if messages := await inlet.take():
                            await self._put(inlet, messages)
            except BrokerUnavailable as error:
                self._complain("the broker cannot be used: %s", error)
                await self._wait(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)

    async def _put(self, inlet: Inlet, messages: Sequence[Message]) -> None:
        """Put the delivered messages and acknowledge them; refuse those that can never be put."""
        jobs: dict[str, NewJob] = {}
        usable: list[Message] = []
        for message in messages:
            try:
                job = self._reader.read(message)
            except Unusable as unusable:
                await self._refuse(inlet, message, str(unusable))
            else:
                # two messages may have the same name
                jobs[job.id] = job
                usable.append(message)
        if not jobs:
            return
        try:
            await self._store(list(jobs.values()))
        except JobsError:
            # one of them cannot be stored
            await self._put_each(inlet, usable)
            return
        await inlet.acknowledge(usable)
        self.taken += len(usable)

    async def _put_each(self, inlet: Inlet, messages: Sequence[Message]) -> None:
        for message in messages:
            try:
                await self._store([self._reader.read(message)])
            except JobsError as error:
                await self._refuse(inlet, message, str(error))
            else:
                await inlet.acknowledge([message])
                self.taken += 1

    async def _store(self, jobs: Sequence[NewJob]) -> None:
        """Put jobs, and wait while the database is away; the caller may cancel this and deliver the messages again."""
        pause = _FIRST_PAUSE
        while True:
            try:
                await self._jobs.store.put(jobs)
                self._silent = False
                return
            except StoreRefused:
                # waiting never helps
                raise
            except StoreError as error:
                self._complain("the database cannot be used: %s", error)
                if self._stopping.is_set():
                    raise BrokerUnavailable("it was stopped while the database could not be used") from error
                await self._wait(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)

    async def _refuse(self, inlet: Inlet, message: Message, reason: str) -> None:
        logger.warning("%s: the message %r can never become a job: %s", self.name, message.key, reason)
        await inlet.refuse(message, reason)
        self.refused += 1

    async def _wait(self, seconds: float) -> None:
        with anyio.move_on_after(seconds):
            await self._stopping.wait()

    def _complain(self, what: str, error: Exception) -> None:
        if not self._silent:
            self._silent = True
            logger.warning(f"{what}; trying again", error)


def _source(url: str, stream: str, group: str, keep: bool, lost_after: float) -> Source:
    scheme = urlsplit(url).scheme
    if scheme in ("nats", "tls"):
        from fcgi_async.jobs.intake.nats_source import NATSSource

        return NATSSource(url, stream, group, lost_after)
    if scheme in _REDIS:
        from fcgi_async.jobs.intake.redis_source import RedisSource

        return RedisSource(url, stream, group, keep, lost_after)
    raise ConfigurationError(
        f"the broker {scheme or url!r} is not known: write nats://host:4222 or redis://host:6379/0"
    )

"""Take messages from a stream of NATS JetStream, with a durable pull consumer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final
from urllib.parse import urlsplit

try:
    import nats
    from nats.errors import AuthorizationError, Error
    from nats.errors import TimeoutError as NothingCame
    from nats.js.api import AckPolicy, ConsumerConfig
    from nats.js.errors import NotFoundError
except ImportError as error:
    raise ImportError(
        "an intake from NATS needs nats-py: pip install 'fcgi-async[nats]'",
        name=error.name,
        path=error.path,
    ) from error

import attrs

from fcgi_async.errors import ConfigurationError
from fcgi_async.jobs.intake.message import Message
from fcgi_async.jobs.intake.source import BrokerUnavailable, Inlet

__all__ = ("NATSSource",)

_AT_ONCE: Final = 256
# seconds for one pull, and for connecting
_WAIT: Final = 1.0
_CONNECT_SECONDS: Final = 5
_LOST_AFTER: Final = 30.0


@attrs.frozen
class NATSSource:
    """A stream; only on asyncio, because its client needs that.

    Args:
        url: the URL of the server.
        stream: the name of an existing stream.
        group: the durable consumer; created if it does not exist.
        lost_after: seconds without an acknowledgement after which the server delivers a message again.
    """

    url: str = attrs.field(repr=False)
    stream: str
    group: str
    lost_after: float = _LOST_AFTER

    @property
    def name(self) -> str:
        """The server and the stream."""
        found = urlsplit(self.url)
        return f"nats://{found.hostname or ''}{f':{found.port}' if found.port else ''} stream {self.stream}"

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[Inlet]:
        """Return a connection; see `Source`."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            raise ConfigurationError("messages from NATS need asyncio: nats-py runs on nothing else") from None
        try:
            # the next use connects again
            client = await nats.connect(
                self.url, allow_reconnect=False, connect_timeout=_CONNECT_SECONDS, error_cb=_ignore
            )
        except AuthorizationError as error:
            raise ConfigurationError(f"{self.name}: {error}") from error
        except (Error, OSError, EOFError) as error:
            raise BrokerUnavailable(f"{self.name}: {error!r}") from error
        try:
            context = client.jetstream()
            yield _Inlet(client, self, await self._subscribe(context), await self._made(context))
        finally:
            await client.close()

    async def _made(self, context: Any) -> str:
        """Return when the stream was created: a new one counts from 1 again."""
        try:
            info = await context.stream_info(self.stream)
        except (Error, OSError) as error:
            raise BrokerUnavailable(f"{self.name}: {error!r}") from error
        return format(int(info.created.timestamp() * 1_000_000), "x")

    async def _subscribe(self, context: Any) -> Any:
        config = ConsumerConfig(
            durable_name=self.group,
            ack_policy=AckPolicy.EXPLICIT,
            ack_wait=self.lost_after,
            # the server's default is 1,000, and one intake could hold them all
            max_ack_pending=100 * _AT_ONCE,
        )
        try:
            try:
                await context.consumer_info(self.stream, self.group)
            except NotFoundError:
                await context.add_consumer(self.stream, config)
            return await context.pull_subscribe_bind(consumer=self.group, stream=self.stream)
        except NotFoundError as error:
            raise ConfigurationError(
                f"{self.name}: there is no such stream; make it with the subjects that it is to hold"
            ) from error
        except (Error, OSError) as error:
            raise BrokerUnavailable(f"{self.name}: {error!r}") from error


class _Inlet:
    def __init__(self, client: Any, source: NATSSource, subscription: Any, made: str) -> None:
        self._client, self._source, self._subscription, self._made = client, source, subscription, made

    async def take(self) -> Sequence[Message]:
        self._check()
        try:
            found = await self._subscription.fetch(_AT_ONCE, timeout=_WAIT)
        except NothingCame:
            return []
        except (Error, OSError) as error:
            raise BrokerUnavailable(f"{self._source.name}: {error!r}") from error
        return [self._message(delivered) for delivered in found]

    def _message(self, delivered: Any) -> Message:
        headers = dict(delivered.headers or {})
        # the sender's name for the message, if there is one: a message sent twice is one job
        name = headers.get("Nats-Msg-Id") or delivered.metadata.sequence.stream
        return _Delivered(
            key=f"{self._source.stream}:{self._made}:{name}", body=delivered.data, headers=headers, delivered=delivered
        )

    async def acknowledge(self, messages: Sequence[Message]) -> None:
        self._check()
        try:
            for message in messages:
                if isinstance(message, _Delivered):
                    await message.delivered.ack()
            await self._client.flush()
        except (Error, OSError) as error:
            raise BrokerUnavailable(f"{self._source.name}: {error!r}") from error

    async def refuse(self, message: Message, reason: str) -> None:
        self._check()
        if not isinstance(message, _Delivered):
            return
        try:
            # the server publishes an advisory, and keeps the message within the stream's limits
            await message.delivered.term()
            await self._client.flush()
        except (Error, OSError) as error:
            raise BrokerUnavailable(f"{self._source.name}: {error!r}") from error

    def _check(self) -> None:
        if not self._client.is_connected:
            raise BrokerUnavailable(f"{self._source.name}: the connection was lost")


@attrs.frozen(kw_only=True)
class _Delivered(Message):
    delivered: Any


async def _ignore(error: Exception) -> None:
    """The next use of the connection raises its error."""

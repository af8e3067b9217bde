"""Take messages from a stream of Redis or Valkey, with a consumer group."""

from __future__ import annotations

import hashlib
import os
import secrets
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final
from urllib.parse import urlsplit

try:
    import coredis
    from coredis.exceptions import AuthenticationError, RedisError, ResponseError, StreamConsumerGroupError
except ImportError as error:
    raise ImportError(
        "an intake from Redis or Valkey needs coredis: pip install 'fcgi-async[redis]'",
        name=error.name,
        path=error.path,
    ) from error

import anyio
import attrs

from fcgi_async.errors import ConfigurationError
from fcgi_async.jobs.intake.message import Message
from fcgi_async.jobs.intake.source import BrokerUnavailable, Inlet, leaf

__all__ = ("RedisSource",)

# milliseconds for one read
_BLOCK: Final = 1000
_LOST_AFTER: Final = 30.0
_FIELD: Final = "message"
_AT_ONCE: Final = 256
_FAULTS = (RedisError, OSError, EOFError, anyio.BrokenResourceError, anyio.ClosedResourceError, TimeoutError)


@attrs.frozen
class RedisSource:
    """A stream.

    Args:
        url: the URL of the server.
        stream: the stream's key.
        group: the consumer group; created if it does not exist.
        keep: whether acknowledged messages stay in the stream, for other groups.
        lost_after: seconds after which unacknowledged messages of another intake are taken over.
    """

    url: str = attrs.field(repr=False)
    stream: str
    group: str
    keep: bool = False
    lost_after: float = _LOST_AFTER

    @property
    def name(self) -> str:
        """The server and the stream."""
        found = urlsplit(self.url)
        return f"{found.scheme}://{found.hostname or ''}{f':{found.port}' if found.port else ''} stream {self.stream}"

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[Inlet]:
        """Return a connection; see `Source`."""
        try:
            client = coredis.Redis.from_url(self.url, decode_responses=False)
        except (ValueError, RedisError) as error:
            raise ConfigurationError(f"{self.name}: {error}") from error
        try:
            async with client:
                inlet = _Inlet(client, self)
                await inlet.prepare()
                yield inlet
        except (BrokerUnavailable, ConfigurationError):
            raise
        except Exception as error:
            found = leaf(error)
            if isinstance(found, _FAULTS):
                raise BrokerUnavailable(f"{self.name}: {found!r}") from error
            raise found from None


class _Inlet:
    def __init__(self, client: Any, source: RedisSource) -> None:
        self._client, self._source = client, source
        # unique: an intake of the same name would treat this one's messages as its own
        self._consumer = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        # two servers may have streams of the same name
        self._place = hashlib.sha256("/".join(urlsplit(source.url)[1:3]).rpartition("@")[2].encode()).hexdigest()[:8]
        self._look_at = 0.0
        self._cursor: bytes = b"0-0"

    async def prepare(self) -> None:
        source = self._source
        try:
            await self._client.xgroup_create(source.stream, source.group, identifier="0", mkstream=True)
        except AuthenticationError as error:
            raise ConfigurationError(f"{source.name}: {error}") from error
        except StreamConsumerGroupError:
            pass
        except ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise ConfigurationError(f"{source.name}: {error}") from error

    async def take(self) -> Sequence[Message]:
        source = self._source
        if anyio.current_time() >= self._look_at and (lost := await self._take_lost()):
            return lost
        found = await self._client.xreadgroup(
            source.group, self._consumer, {source.stream: ">"}, count=_AT_ONCE, block=_BLOCK
        )
        entries = [] if not found else [entry for part in found.values() for entry in part]
        return [self._message(entry.identifier, entry.field_values) for entry in entries]

    async def _take_lost(self) -> list[Message]:
        """Take over messages of intakes that were lost."""
        source = self._source
        idle = int(source.lost_after * 1000)
        found = await self._client.xautoclaim(
            source.stream, source.group, self._consumer, idle, self._cursor, count=_AT_ONCE
        )
        self._cursor = found[0]
        if self._cursor == b"0-0":
            self._look_at = anyio.current_time() + source.lost_after / 3
        # a message that was deleted meanwhile has no fields
        return [self._message(entry.identifier, entry.field_values) for entry in found[1] if entry.field_values]

    def _message(self, identifier: bytes, fields: Mapping[bytes, bytes]) -> Message:
        texts = {name.decode("utf-8", "replace"): value for name, value in fields.items()}
        body = texts.pop(_FIELD, None)
        if body is None and len(texts) == 1:
            [body] = texts.values()
        headers = {name: value.decode("utf-8", "replace") for name, value in texts.items()}
        return _Entry(
            key=f"{self._source.stream}:{self._place}:{identifier.decode()}",
            body=body or b"",
            headers=headers,
            identifier=identifier,
        )

    async def acknowledge(self, messages: Sequence[Message]) -> None:
        source = self._source
        identifiers = [message.identifier for message in messages if isinstance(message, _Entry)]
        async with self._client.pipeline(transaction=True) as pipeline:
            pipeline.xack(source.stream, source.group, identifiers)
            if not source.keep:
                pipeline.xdel(source.stream, identifiers)

    async def refuse(self, message: Message, reason: str) -> None:
        source = self._source
        fields = {_FIELD: message.body, "key": message.key, "reason": reason, **message.headers}
        await self._client.xadd(f"{source.stream}:refused", fields)
        await self.acknowledge([message])


@attrs.frozen(kw_only=True)
class _Entry(Message):
    identifier: bytes

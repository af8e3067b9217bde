"""The interface of a broker for an intake."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from fcgi_async.jobs.errors import JobsError
from fcgi_async.jobs.intake.message import Message

__all__ = ("BrokerUnavailable", "Inlet", "Source", "leaf")


class BrokerUnavailable(JobsError):
    """The broker cannot be reached, or the connection has ended; unacknowledged messages are delivered again."""


class Inlet(Protocol):
    """A connection to a broker. Its methods raise `BrokerUnavailable`."""

    async def take(self) -> Sequence[Message]:
        """Wait for messages, about a second at most, and return them; [] if there are none."""
        ...

    async def acknowledge(self, messages: Sequence[Message]) -> None:
        """Tell the broker that messages need not be delivered again."""

    async def refuse(self, message: Message, reason: str) -> None:
        """Put a message where a person can find it, and tell the broker not to deliver it again."""


class Source(Protocol):
    """A broker and a stream of messages."""

    @property
    def name(self) -> str:
        """Its name in logs, without a password."""
        ...

    def connected(self) -> AbstractAsyncContextManager[Inlet]:
        """Return a connection to enter.

        Raises:
            BrokerUnavailable: it cannot connect.
            ConfigurationError: the broker has no such stream, or refuses the user.
        """
        ...


def leaf(error: BaseException) -> BaseException:
    """Return the error inside an exception group: task groups wrap the errors of their block."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error

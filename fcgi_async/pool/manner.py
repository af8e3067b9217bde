"""How a peer treats bytes that follow a request; learned once for each listener.

The tail probe follows every request. PHP-FPM leaves it unread until the script has ended, and then answers it.
That gives three things: an answer that says that the worker is free; an EOF that proves that a request was never begun;
and a count of unread bytes that falls to zero when an abandoned script ends. Other peers give less:

    manner     who                                   tail probe       EOF is a proof, unread bytes tell
    UNKNOWN    a peer that has not shown it yet      as for FPM       no
    FPM        PHP-FPM on a unix socket              answered         yes
    ANSWERS    PHP-FPM on TCP, or through a relay    answered         no: the relay, or the kernel, has read the bytes
    TAILLESS   servers built on libfcgi              dropped          no: it has read the bytes

A peer becomes FPM if the listening process is PHP's own (SO_PEERCRED), or if bytes that follow a small request were
still unread when its response came. It becomes TAILLESS if it answers a later probe but not the tail probe.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

__all__ = ("MANNERS", "Fact", "Manner", "learn")


class Manner(StrEnum):
    """How a peer treats bytes that follow a request."""

    UNKNOWN = "unknown"
    FPM = "fpm"
    ANSWERS = "answers"
    TAILLESS = "tailless"


class Fact(StrEnum):
    """A fact about a peer."""

    LISTENER_CHANGED = "another process listens, or another socket file is there"
    LISTENER_IS_PHP = "the process that listens is PHP-FPM"
    TAIL_LEFT_UNREAD = "a response came while the bytes that follow its request were unread"
    TAIL_ANSWERED = "a tail probe was answered"
    TAIL_DROPPED = "a later probe was answered, and the tail probe was not"
    TAIL_UNANSWERED = "a tail probe was not answered in time"


# a fact that is not in a state's row changes nothing
MANNERS: Final[dict[Manner, dict[Fact, Manner]]] = {
    Manner.UNKNOWN: {
        Fact.LISTENER_IS_PHP: Manner.FPM,
        Fact.TAIL_LEFT_UNREAD: Manner.FPM,
        Fact.TAIL_ANSWERED: Manner.ANSWERS,
        Fact.TAIL_DROPPED: Manner.TAILLESS,
    },
    Manner.FPM: {
        Fact.LISTENER_CHANGED: Manner.UNKNOWN,
        Fact.TAIL_DROPPED: Manner.TAILLESS,
    },
    Manner.ANSWERS: {
        Fact.LISTENER_CHANGED: Manner.UNKNOWN,
        Fact.LISTENER_IS_PHP: Manner.FPM,
        Fact.TAIL_LEFT_UNREAD: Manner.FPM,
        Fact.TAIL_DROPPED: Manner.TAILLESS,
        # TCP does not tell which process listens: another server may have taken the port
        Fact.TAIL_UNANSWERED: Manner.UNKNOWN,
    },
    Manner.TAILLESS: {
        Fact.LISTENER_CHANGED: Manner.UNKNOWN,
        Fact.LISTENER_IS_PHP: Manner.FPM,
    },
}


def learn(manner: Manner, fact: Fact) -> Manner:
    """Return the manner of a peer after `fact` is known."""
    return MANNERS[manner].get(fact, manner)

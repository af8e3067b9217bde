"""What the end of a connection proves about its request: whether PHP may have run it."""

from __future__ import annotations

from enum import StrEnum

__all__ = ("Ending", "may_have_run")


class Ending(StrEnum):
    """How a connection ended."""

    EOF = "the peer closed it normally"
    RESET = "the peer reset it, or an error ended it"
    FAULT = "the peer broke the protocol"
    OURS = "this side closed it"


def may_have_run(ending: Ending, *, written: bool, responded: bool, leaves_unread: bool) -> bool:
    """Return whether PHP may have started a request that was sent and has no complete response.

    Only one row proves that it did not. (If PHP-FPM closes a socket with unread bytes after a running request, the
    connection is reset; a worker that leaves between two requests has read everything.)

        ending   written   responded   leaves_unread   may have run
        EOF      yes       no          yes             no
        anything else                                  yes

    Args:
        ending: how the connection ended.
        written: whether the kernel has taken the whole request, including its empty STDIN record.
        responded: whether any byte of the response came.
        leaves_unread: whether the peer is known not to read past a request's body until the script has ended. Relays
            (socat, systemd-socket-proxyd) and libfcgi read ahead: with them, a killed worker looks the same as one that
            never began.
    """
    return not (ending is Ending.EOF and written and not responded and leaves_unread)

"""The progress of `map`."""

from __future__ import annotations

import attrs

__all__ = ("Standing",)


@attrs.frozen
class Standing:
    """The progress of a run.

    Attributes:
        read: bytes of standard input that were read.
        total: all bytes of standard input; None if not known.
        done: jobs that succeeded.
        failed: jobs that failed.
        in_hand: lines that were read and are not written yet.
        seconds: seconds since the beginning.
    """

    read: int
    total: int | None
    done: int
    failed: int
    in_hand: int
    seconds: float

    @property
    def rate(self) -> float:
        """Jobs per second."""
        return (self.done + self.failed) / max(self.seconds, 1e-9)

    @property
    def left(self) -> float | None:
        """Seconds until the end, if the rest of the input is read at the same rate; None if unknown."""
        if not self.total or not self.read:
            return None
        return self.seconds * max(self.total - self.read, 0) / self.read

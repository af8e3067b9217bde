"""Somebody who pings."""

from __future__ import annotations

import attrs

from fcgi_async.errors import FastCGIError
from fcgi_async.net.backend import Waiter

__all__ = ("Probe",)


@attrs.define(eq=False)
class Probe:
    """Somebody who wants to know whether a worker answers."""

    answered: Waiter
    error: FastCGIError | None = attrs.field(default=None, init=False)

    def failed(self, error: FastCGIError) -> None:
        """Take it that there is none."""
        self.error = error
        self.wake()

    def wake(self) -> None:
        """Take it that one did, or that there is an error."""
        if not self.answered.done():
            self.answered.set_result(None)

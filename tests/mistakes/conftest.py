"""The command, as its own tests run it."""

from __future__ import annotations

from tests.cli.conftest import command, pool

__all__ = ("command", "pool")

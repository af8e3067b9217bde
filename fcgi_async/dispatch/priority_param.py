"""The parameter that carries a job's priority to a gateway; the gateway removes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

__all__ = ("PRIORITY_PARAM", "with_priority")

PRIORITY_PARAM: Final = "FCGI_ASYNC_PRIORITY"


def with_priority(params: Mapping[str, str], priority: int) -> Mapping[str, str]:
    """Return parameters with a priority added."""
    return {**params, PRIORITY_PARAM: str(priority)}

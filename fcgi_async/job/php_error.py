"""Detect that PHP failed at a job although it answered."""

from __future__ import annotations

import re
from typing import Final

__all__ = ("SERVER_ERROR", "is_fatal", "is_php_error")

SERVER_ERROR: Final = 500
# with display_errors, or after output was sent, a script that dies has the status 200
_FATAL: Final = re.compile(rb"(?:^|; |\n)PHP message: PHP (?:Fatal|Parse|Recoverable fatal) error: ")


def is_fatal(stderr: bytes) -> bool:
    """Return whether PHP logged an error that ends a script."""
    return _FATAL.search(stderr) is not None


def is_php_error(status: int, stderr: bytes) -> bool:
    """Return whether the script failed: its status is 500 or above, or it logged a fatal error."""
    return status >= SERVER_ERROR or (bool(stderr) and is_fatal(stderr))

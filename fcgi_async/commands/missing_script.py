"""The hint if PHP-FPM does not find the script: FPM looks for it among its own files."""

from __future__ import annotations

import os
from typing import Final

from fcgi_async.commands.terminal import printable

__all__ = ("missing_script",)

# PHP-FPM's message on STDERR
_UNKNOWN: Final = b"Primary script unknown"
_TEMPORARY: Final = ("/tmp/", "/var/tmp/")


def missing_script(script: str, status: int, stderr: bytes) -> str:
    """Return a hint to add to the error of a response; empty unless PHP-FPM found no such script.

    Args:
        script: the path of the script.
        status: the status of the response.
        stderr: the STDERR of the response.
    """
    if status != 404 or _UNKNOWN not in stderr:
        return ""
    name = printable(script)
    path, mark, query = script.partition("?")
    if mark and (path.endswith(".php") or os.path.exists(path)):
        return f": PHP-FPM found no {name}; give what follows the '?' with --query '{printable(query)}'"
    if not os.path.exists(script):
        return f": PHP-FPM found no {name}, and it does not exist here either; give the absolute path on PHP-FPM's side"
    causes = "it may run in a container or have a `chroot`, or its user may not enter one of the folders above the file"
    if script.startswith(_TEMPORARY):
        causes = f"systemd's PrivateTmp may give it a /tmp of its own, {causes}"
    return f": PHP-FPM found no {name}, although it is here: the path is PHP-FPM's view, and {causes}"

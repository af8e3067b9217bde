"""Rewrite the library's messages about arguments for the command's options."""

from __future__ import annotations

import re
from typing import Final

__all__ = ("in_options",)

_WORDINGS: Final = tuple(
    (re.compile(pattern), words)
    for pattern, words in (
        # messages about the pool
        (r"\bgive StatusPage\(address, path=\.\.\.\) the same", "give --path the same"),
        (r"\bset pm\.status_listen there, and give StatusPage that address", "set pm.status_listen there, and name it"),
        (r"\bStatusPage\(path=(.+?)\): a path", r"--path \1: a path"),
        (r"\bName one of them, as pool=, or give", "Name one of them with --pool, or give"),
        (r"\bgive prefix=, such", "give --prefix, such"),
        (r"\bgive environ=\{'([^']*)': \.\.\.\}, or", r"set \1 in this command's environment too, or give"),
        (
            r"\bmax_children=(\d+) less reserve=(\d+), shared by 1 process\(es\), leaves",
            r"--max-children \1 less --reserve \2 leaves",
        ),
        (r"\blower reserve or", "lower --reserve or"),
        (r"\breserve must be at least 0", "--reserve must be at least 0"),
        # messages about a job
        (r"; Endpoint\(allow_params=[^)]*\)(?: of the gateway's dispatcher)? permits it", ""),
        (r"\bparams has an empty name", "--param has an empty name"),
        (r"\bparams\[('[^']*')\]", r"--param \1"),
        (r"\bheaders\[('[^']*')\]", r"--header \1"),
        (r"\bparams must not set", "--param must not set"),
        (r"\bset it with script=", "set it with SCRIPT"),
        (r"\bset it with method=", "set it with --method"),
        (r"\b(uri|query|method)=(?=[ '\"]) ?", r"--\1 "),
        (
            r"^timeout must be a number of seconds of at least 0, or None for no limit",
            "--timeout must be a number of seconds of at least 0",
        ),
        (r"\buri's path", "the path of --uri"),
        (r"(?<!-)\b(uri|query) (must be a string|has a NUL|cannot be encoded)", r"--\1 \2"),
    )
)


def in_options(message: str) -> str:
    """Return an error's message with the library's arguments replaced by the command's options."""
    for pattern, words in _WORDINGS:
        message = pattern.sub(words, message)
    return message

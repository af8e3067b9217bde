"""What may differ between two answers to the same request, each with its reason."""

from __future__ import annotations

import re

import attrs

__all__ = ("EVERYWHERE", "IN_EVERY_HEAD", "MADE_NOW", "Noise")


@attrs.frozen
class Noise:
    """Text that is not compared.

    Attributes:
        reason: why it differs.
        pattern: finds it, in a body or in a header's value; a group, where there is one, is all that is left out.
    """

    reason: str
    pattern: str

    def still(self, text: str) -> str:
        """Return the text without it."""
        return re.sub(self.pattern, self._without, text)

    @staticmethod
    def _without(match: re.Match[str]) -> str:
        if not match.re.groups:
            return "~"
        start = match.start()
        text = match[0]
        for group in reversed(range(1, match.re.groups + 1)):
            if match[group] is not None:
                text = text[: match.start(group) - start] + "~" + text[match.end(group) - start :]
        return text


# by a header's name; what the framing of HTTP/1.1 needs is the server's own business, as is what it calls itself
IN_EVERY_HEAD = {
    "date": "the time of the answer",
    "server": "the server's name",
    "connection": "whether the server goes on with this connection",
    "keep-alive": "likewise",
    "transfer-encoding": "the server's way to end a body whose length is not known",
    "content-length": "the server's way to end a body; the bodies themselves are compared",
}

EVERYWHERE = (
    # nginx 1.22 has the type of RFC 4329
    Noise("the type of scripts is text/javascript since RFC 9239", r"content-type: (application|text)/javascript"),
)

# for applications that say so; what is a file has accept-ranges, and its time is compared
MADE_NOW = Noise("PHP made the page now", r"\Astatus \d+\n(?!accept-ranges)(?:[^\n]+\n)*?last-modified: ([^\n]*)")

"""The charset of a Content-Type: only known ones, because a peer could name a codec that raises or is slow."""

from __future__ import annotations

import re

__all__ = ("decode_text",)

_CHARSET = re.compile(r"charset\s*=\s*[\"']?([\w.:-]+)", re.IGNORECASE)
_SEPARATORS = str.maketrans("", "", "-_.:")

_NAMES = (
    *("ascii", "utf-8", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"),
    *(f"iso8859-{part}" for part in range(1, 17) if part != 12),
    *(f"windows-125{page}" for page in range(9)),
    *("cp437", "cp850", "cp852", "cp866", "cp874", "koi8-r", "koi8-u", "mac-roman", "tis-620"),
    *("gb2312", "gbk", "gb18030", "big5", "big5hkscs", "cp950"),
    *("euc-jp", "shift_jis", "cp932", "iso2022-jp", "euc-kr", "cp949", "iso2022-kr"),
)
_ALIASES = {
    "us-ascii": "ascii",
    "latin1": "iso8859-1",
    "latin9": "iso8859-15",
    "ibm866": "cp866",
    "sjis": "shift_jis",
    "windows-31j": "cp932",
}
# labels without their separators, and Python's names
_CODECS = {name.translate(_SEPARATORS): name for name in _NAMES}
_CODECS |= {alias.translate(_SEPARATORS): name for alias, name in _ALIASES.items()}
_CODECS |= {f"cp125{page}": f"cp125{page}" for page in range(9)}


def decode_text(content: bytes, content_type: str) -> str:
    """Return a body as text, decoded in the charset of its Content-Type if that is known, otherwise in UTF-8.

    Bytes that cannot be decoded are replaced.
    """
    found = _CHARSET.search(content_type)
    label = found[1].lower().translate(_SEPARATORS) if found else ""
    return content.decode(_CODECS.get(label, "utf-8"), "replace")

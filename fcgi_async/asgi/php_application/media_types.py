"""The media type of a file by its name; the same on every machine, independent of /etc/mime.types."""

from __future__ import annotations

import mimetypes
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

__all__ = ("media_type",)

_UNKNOWN: Final = b"application/octet-stream"
# newer than Python's own table, or better
_OWN: Final[Mapping[str, str]] = {
    ".7z": "application/x-7z-compressed",
    ".avif": "image/avif",
    ".br": "application/octet-stream",
    ".bz2": "application/x-bzip2",
    ".eot": "application/vnd.ms-fontobject",
    ".flac": "audio/flac",
    ".gz": "application/gzip",
    ".ico": "image/x-icon",
    ".js": "text/javascript",
    ".m4a": "audio/mp4",
    ".map": "application/json",
    ".md": "text/markdown",
    ".mjs": "text/javascript",
    ".ogg": "audio/ogg",
    ".otf": "font/otf",
    ".rss": "application/rss+xml",
    ".ttf": "font/ttf",
    ".wasm": "application/wasm",
    ".webm": "video/webm",
    ".webmanifest": "application/manifest+json",
    ".webp": "image/webp",
    ".woff": "font/woff",
    ".woff2": "font/woff2",
    ".xz": "application/x-xz",
    ".yaml": "application/yaml",
    ".yml": "application/yaml",
    ".zst": "application/zstd",
}
# a separate database has only Python's own table, and nothing from the machine
_TYPES: Final[Mapping[bytes, bytes]] = MappingProxyType(
    {end.encode(): name.encode() for end, name in {**mimetypes.MimeTypes().types_map[1], **_OWN}.items()}
)


def media_type(name: bytes) -> bytes:
    """Return the media type of a file, without a charset: the name does not tell that."""
    dot = name.rfind(b".")
    # a name may have only one dot, at its beginning
    if dot <= name.rfind(b"/") + 1:
        return _UNKNOWN
    return _TYPES.get(name[dot:].lower(), _UNKNOWN)

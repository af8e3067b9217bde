"""Parse the raw target of a request into a path below the root; works on bytes, and looks at no file."""

from __future__ import annotations

import re
from urllib.parse import quote_from_bytes, unquote_to_bytes

import attrs

from fcgi_async.asgi.php_application.refusal import Refusal

__all__ = ("Target", "parse_target", "quoted")

_ABSOLUTE = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*://([^/?#]*)(.*)", re.DOTALL)
_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
# some programs treat a backslash as a separator, and no path of a site needs control characters
_REFUSED = re.compile(rb"[\x00-\x1f\x7f\\]")
# most paths: they need no decoding, and no segment begins with a dot
_PLAIN = re.compile(rb"(?:/[A-Za-z0-9_-][A-Za-z0-9_.-]*)*/?")
_NOT_IN_QUERY = re.compile(rb"[\x00-\x20\x7f]")
# the characters that a path has unquoted (RFC 3986, 3.3)
_PATH_CHARACTERS = "/!$&'()*+,;=:@~"


@attrs.define
class Target:
    """What a request asks for.

    Attributes:
        path: decoded once, without `.`, `..` or empty segments; it begins with a slash, or is empty if the target is
            the mount itself without its slash.
        mount: the decoded part before `path`; usually `root_path`.
        uri: the path and the query unchanged, for REQUEST_URI.
        query: without the question mark.
        authority: host and port of a target in absolute form, otherwise None.
    """

    path: bytes
    mount: bytes
    uri: str
    query: str
    authority: str | None = None


def parse_target(raw: bytes, query: bytes, mount: bytes) -> Target:
    """Return the parsed target.

    Args:
        raw: the target's raw path, percent-encoded; a server may leave it in absolute form, or with a fragment.
        query: without the question mark.
        mount: the path at which the application is mounted, decoded; empty if it is not mounted.

    Raises:
        Refusal: 400: the target is not a path, cannot be decoded, or leads out of the root.
    """
    authority = None
    if not raw.startswith(b"/"):
        raw, query, authority = _from_absolute(raw, query)
    if query or b"#" in raw:
        raw, query = _without_fragment(raw, query)
    path = decoded = raw
    if _PLAIN.fullmatch(raw) is None:
        path = decoded = _decode(raw)
        if b"//" in decoded or b"/." in decoded:
            path = _resolve(decoded)
    mount = mount.rstrip(b"/")
    uri = raw
    if mount:
        if _is_below(path, mount):
            path = path[len(mount) :]
        elif _is_below(decoded, mount):
            raise Refusal(400, "the path leads out of the mount")
        else:
            # the server, or a proxy, has removed it
            uri = quoted(mount).encode() + raw
    text = (uri + b"?" + query if query else uri).decode("utf-8", "surrogateescape")
    return Target(path, mount, text, query.decode("utf-8", "surrogateescape"), authority)


def quoted(path: bytes) -> str:
    """Return a decoded path quoted for a URL; it has only one slash at its beginning, so it cannot name a host."""
    return "/" + quote_from_bytes(path, _PATH_CHARACTERS).lstrip("/") if path else ""


def _from_absolute(raw: bytes, query: bytes) -> tuple[bytes, bytes, str | None]:
    if not raw:
        return b"/", query, None
    found = _ABSOLUTE.fullmatch(raw)
    if found is None:
        raise Refusal(400, "the target is neither a path nor a URL")
    path, mark, own_query = found[2].partition(b"?")
    return path if path.startswith(b"/") else b"/" + path, own_query if mark else query, found[1].decode("latin-1")


def _without_fragment(raw: bytes, query: bytes) -> tuple[bytes, bytes]:
    if b"#" in raw:
        # everything after it belongs to the fragment, even a question mark
        return raw[: raw.index(b"#")], b""
    query = query.partition(b"#")[0]
    if _NOT_IN_QUERY.search(query):
        raise Refusal(400, "the query has a blank or a control character")
    return raw, query


def _decode(raw: bytes) -> bytes:
    # possible in HTTP/2
    if b" " in raw:
        raise Refusal(400, "the path has a blank that is not percent-encoded")
    decoded = raw
    if b"%" in raw:
        if _BAD_ESCAPE.search(raw):
            raise Refusal(400, "the path has a % without two hexadecimal digits")
        decoded = unquote_to_bytes(raw)
    if _REFUSED.search(decoded):
        raise Refusal(400, "the path has a control character or a backslash")
    return decoded


def _resolve(path: bytes) -> bytes:
    kept: list[bytes] = []
    segments = path.split(b"/")
    for segment in segments:
        if segment == b"..":
            if not kept:
                raise Refusal(400, "the path leads out of the root")
            kept.pop()
        elif segment not in (b"", b"."):
            kept.append(segment)
    if segments[-1] in (b"", b".", b"..") and kept:
        kept.append(b"")
    return b"/" + b"/".join(kept)


def _is_below(path: bytes, mount: bytes) -> bool:
    return path.startswith(mount) and path[len(mount) : len(mount) + 1] in (b"", b"/")

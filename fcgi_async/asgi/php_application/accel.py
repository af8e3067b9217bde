"""Files that PHP asks its server to send instead of its own answer: X-Accel-Redirect and X-Sendfile."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from urllib.parse import unquote_to_bytes

import attrs

from fcgi_async.asgi.php_application.answer_head import AnswerHead
from fcgi_async.asgi.php_application.lookup import is_below
from fcgi_async.asgi.php_application.refusal import Refusal
from fcgi_async.errors import ConfigurationError

__all__ = ("Accel",)

logger = logging.getLogger("fcgi_async.asgi")


def _folders(given: object) -> tuple[tuple[bytes, str], ...]:
    if given is None:
        return ()
    if not isinstance(given, Mapping):
        raise ConfigurationError(
            f'accel={given!r} is not a mapping of prefixes to folders, such as {{"/protected/": "/srv/files"}}'
        )
    found: list[tuple[bytes, str]] = []
    for prefix, folder in given.items():
        if not isinstance(prefix, str) or not (prefix.startswith("/") and prefix.endswith("/")):
            raise ConfigurationError(f"accel has {prefix!r}; a prefix starts and ends with /, such as /protected/")
        if not isinstance(folder, str | os.PathLike) or not os.path.isabs(folder):
            raise ConfigurationError(f"accel[{prefix!r}]={folder!r} is not the absolute path of a folder")
        found.append((prefix.encode("utf-8", "surrogateescape"), os.fspath(folder)))
    # the longest prefix first
    return tuple(sorted(found, key=lambda pair: -len(pair[0])))


@attrs.frozen
class Accel:
    """The files that PHP may ask to be sent.

    Attributes:
        folders: the folders, by prefixes of X-Accel-Redirect; X-Sendfile names files in the same folders.
    """

    folders: tuple[tuple[bytes, str], ...] = attrs.field(converter=_folders)

    def file(self, head: AnswerHead) -> bytes | None:
        """Return the file to send instead of PHP's answer; None if PHP asked for none, or files are not sent.

        Raises:
            Refusal: 404: the file is outside the folders.
        """
        if not self.folders:
            return None
        if head.accel is not None:
            return self._redirected(head.accel)
        if head.sendfile is not None:
            return self._named(head.sendfile)
        return None

    def _redirected(self, value: str) -> bytes:
        path = unquote_to_bytes(value.encode("latin-1").partition(b"?")[0])
        for prefix, folder in self.folders:
            if path.startswith(prefix):
                return _inside(folder, path[len(prefix) :])
        logger.warning("X-Accel-Redirect: %.200r is under no prefix of accel=", value)
        raise Refusal(404, "X-Accel-Redirect is under no prefix of accel=")

    def _named(self, value: str) -> bytes:
        path = value.encode("latin-1")
        for _, folder in self.folders:
            try:
                relative = os.path.relpath(os.path.realpath(path), os.path.realpath(os.fsencode(folder)))
                if os.path.isabs(path) and not relative.startswith(b".."):
                    return _inside(folder, relative)
            except ValueError:
                break
        logger.warning("X-Sendfile: %.200r is in no folder of accel=", value)
        raise Refusal(404, "X-Sendfile is in no folder of accel=")


def _inside(folder: str, relative: bytes) -> bytes:
    if b"\0" not in relative:
        real = os.path.realpath(os.fsencode(folder))
        path = os.path.realpath(os.path.join(real, relative.lstrip(b"/")))
        if is_below(path, real):
            return path
    raise Refusal(404, "the file is outside the folders of accel=")

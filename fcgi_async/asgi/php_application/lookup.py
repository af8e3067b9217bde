"""Find what answers a request: a script, a file, or a folder without its slash; looks at files but opens none."""

from __future__ import annotations

import errno
import logging
import os
import stat
from collections.abc import Sequence
from typing import Literal

import attrs

from fcgi_async.asgi.php_application.refusal import Refusal
from fcgi_async.asgi.php_application.rules import HiddenRules, ScriptRules, looks_like_php, split_script
from fcgi_async.errors import ConfigurationError

__all__ = ("FoundFile", "FoundFolder", "FoundScript", "Root", "Site", "is_below", "refuse_file")

logger = logging.getLogger("fcgi_async.asgi")

# an impossible path is treated as a missing one; a socket cannot be opened
_ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.ENXIO})
_FORBIDDEN = frozenset({errno.EACCES, errno.EPERM})


@attrs.define
class FoundScript:
    """A script to run.

    Attributes:
        name: relative to the root, with a slash before it.
        path_info: the part of the path after the script.
    """

    name: bytes
    path_info: bytes


@attrs.frozen
class FoundFile:
    """A regular file to send.

    Attributes:
        name: relative to the root, with a slash before it.
        path: the path on this host.
        status: the result of stat().
    """

    name: bytes
    path: bytes
    status: os.stat_result


@attrs.frozen
class FoundFolder:
    """A folder that was requested without the slash at its end.

    Attributes:
        name: relative to the root, with the slash.
    """

    name: bytes


class Root:
    """The folder of a site; it may be a symbolic link that changes at the next deploy.

    Args:
        path: the folder.

    Raises:
        ConfigurationError: `path` is not a path.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        given: object = os.fspath(path) if isinstance(path, os.PathLike) else path
        if not isinstance(given, str) or not given or "\0" in given:
            raise ConfigurationError(f"root={path!r} is not the path of a folder")
        self.given = os.path.abspath(given)
        self._real = os.fsencode(self.given)
        self._identity: tuple[int, int, int] | None = None
        self._may_move = True

    def current(self) -> bytes:
        """Return the folder as it is now, without symbolic links; if it is gone, its last path."""
        if not self._may_move:
            return self._real
        try:
            found = os.stat(self.given)
        except OSError:
            return self._real
        # a folder that is renamed, or created with the inode number of a removed one, has a new ctime
        identity = (found.st_dev, found.st_ino, found.st_ctime_ns)
        if identity != self._identity:
            real = os.path.realpath(self.given)
            self._may_move = real != self.given
            self._real = os.fsencode(real)
            self._identity = identity
        return self._real


@attrs.frozen(eq=False)
class Site:
    """Finds what answers a path.

    Attributes:
        front: the front controller, relative to the root, with a slash before it; or None.
        index: names of a folder's index; the first that exists answers.
        scripts: which scripts may run.
        hidden: which paths clients cannot see.
        missing_script: 404, or "front" for the front controller.
        follow_symlinks: whether a symbolic link may lead out of the root.
        files: whether files are sent.
    """

    front: bytes | None
    index: Sequence[bytes]
    scripts: ScriptRules
    hidden: HiddenRules
    missing_script: Literal[404, "front"]
    follow_symlinks: bool
    files: bool

    def find(self, root: bytes, path: bytes) -> FoundScript | FoundFile | FoundFolder:
        """Return what answers a path.

        Args:
            root: the folder, without symbolic links.
            path: decoded, without `.` and `..`; it begins with a slash, or is empty for the root without its slash.

        Raises:
            Refusal: 403, 404, or 503.
        """
        if not path:
            return FoundFolder(b"/")
        parts = split_script(path)
        # PATH_INFO names no file of ours: it may be one of a user's, in WebDAV for instance
        if self.hidden.hide(path if parts is None else parts[0]):
            raise Refusal(404, "the path is hidden")
        if parts is not None:
            return self._script(root, *parts)
        status = self._stat(root, path)
        if status is not None and stat.S_ISREG(status.st_mode):
            return self._file(root, path, status)
        if status is not None and stat.S_ISDIR(status.st_mode):
            if not path.endswith(b"/"):
                return FoundFolder(path + b"/")
            found = self._index(root, path)
            if found is not None:
                return found
        return self._front(root)

    def is_file(self, root: bytes, name: bytes) -> bool:
        """Whether a regular file of this name exists and may be accessed."""
        status = self._stat(root, name)
        return status is not None and stat.S_ISREG(status.st_mode)

    def _script(self, root: bytes, name: bytes, path_info: bytes) -> FoundScript:
        if self.is_file(root, name):
            if not self.scripts.allow(name):
                raise Refusal(404, "the script may not run")
            return FoundScript(name, path_info)
        if self.missing_script == "front":
            return self._front(root)
        raise Refusal(404, "there is no such script")

    def _file(self, root: bytes, path: bytes, status: os.stat_result) -> FoundFile:
        if looks_like_php(path):
            raise Refusal(404, "the file may have the source of a script")
        if not self.files:
            raise Refusal(404, "static=False: files are not sent")
        return FoundFile(path, root + path, status)

    def _index(self, root: bytes, folder: bytes) -> FoundScript | FoundFile | None:
        for name in self.index:
            path = folder + name
            status = self._stat(root, path)
            if status is None or not stat.S_ISREG(status.st_mode):
                continue
            if path.endswith(b".php"):
                if self.scripts.allow(path):
                    return FoundScript(path, b"")
            elif self.files and not looks_like_php(path):
                return FoundFile(path, root + path, status)
        return None

    def _front(self, root: bytes) -> FoundScript:
        if self.front is None or not self.is_file(root, self.front):
            raise Refusal(404, "nothing answers the path, and there is no front controller")
        return FoundScript(self.front, b"")

    def _stat(self, root: bytes, path: bytes) -> os.stat_result | None:
        full = root + path
        try:
            status = os.stat(full)
        except OSError as error:
            if error.errno in _ABSENT:
                return None
            raise refuse_file(error) from error
        if not self.follow_symlinks and not is_below(os.path.realpath(full), root):
            return None
        return status


def refuse_file(error: OSError) -> Refusal:
    """Return the answer for a file that cannot be accessed or opened."""
    if error.errno in _ABSENT:
        return Refusal(404, f"there is no such file: {error.strerror}")
    if error.errno in _FORBIDDEN:
        return Refusal(403, f"the file cannot be read: {error.strerror}")
    logger.error("a file cannot be read: %s", error)
    return Refusal(503, f"the file cannot be read: {error.strerror}")


def is_below(path: bytes, folder: bytes) -> bool:
    """Whether `path` is the folder or in it; both without symbolic links."""
    return path == folder or path.startswith(folder.rstrip(b"/") + b"/")

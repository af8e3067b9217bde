"""Rules for hidden paths, and for scripts that may run; they use only the path, and look at no file."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from fnmatch import translate
from typing import Final

from fcgi_async.errors import ConfigurationError

__all__ = ("HIDDEN", "NO_SCRIPTS", "HiddenRules", "ScriptRules", "Scripts", "looks_like_php", "split_script")

# patterns of path segments; those with ! are shown even if another pattern hides them
HIDDEN: Final = (
    ".*",
    "!.well-known",
    "*.php[0-9s~]",
    "*.phtml",
    "*.phar",
    "*.inc",
    "*.bak",
    "*.orig",
    "*.swp",
    "*~",
    "*.sql",
    "composer.json",
    "composer.lock",
    ".ht*",
)
NO_SCRIPTS: Final = ("/uploads/", "/wp-content/uploads/", "/files/", "/media/", "/images/")

# which scripts may run: "any", "front", names or patterns such as "/admin/*.php", or a function of the name
Scripts = str | Iterable[str] | Callable[[str], bool]

# on bytes: re.IGNORECASE on str would also match other letters
_LOOKS_LIKE_PHP = re.compile(rb"\.php[. ]*\Z", re.IGNORECASE)
# most requests are for a few paths
_KNOWN_LENGTH: Final = 256
_KNOWN_PATHS: Final = 1024
_SCRIPT_END = re.compile(rb"\.php(?=/|\Z)")


def split_script(path: bytes) -> tuple[bytes, bytes] | None:
    """Return the script that a path names, and the PATH_INFO after it; None if there is no script in the path.

    The script ends at the first lower-case `.php` before a slash or the end.
    """
    found = _SCRIPT_END.search(path)
    return None if found is None else (path[: found.end()], path[found.end() :])


def looks_like_php(path: bytes) -> bool:
    """Whether a file of this name may have the source of a script, and must not be shown."""
    return _LOOKS_LIKE_PHP.search(path) is not None


class HiddenRules:
    """Decides which paths are hidden, even if the files exist.

    Args:
        patterns: patterns of a path's segments, as in fnmatch, ASCII letters in either case; `!` before a pattern makes
            it an exception from the others.

    Raises:
        ConfigurationError: a pattern is not a string, or has a slash.
    """

    def __init__(self, patterns: Iterable[str]) -> None:
        names = _strings("hidden", patterns)
        for name in names:
            if "/" in name or not name.strip("!"):
                raise ConfigurationError(f"hidden has {name!r}; a pattern matches one segment and has no slash")
        self._hidden = _one_of([name for name in names if not name.startswith("!")])
        self._shown = _one_of([name[1:] for name in names if name.startswith("!")])
        self._known: dict[bytes, bool] = {}

    def hide(self, path: bytes) -> bool:
        """Whether a path, or a folder in it, is hidden."""
        known = self._known.get(path)
        if known is None:
            known = any(
                self._hidden.fullmatch(segment) is not None and self._shown.fullmatch(segment) is None
                for segment in path.split(b"/")
            )
            if len(path) <= _KNOWN_LENGTH:
                if len(self._known) >= _KNOWN_PATHS:
                    self._known.clear()
                self._known[path] = known
        return known


class ScriptRules:
    """Decides which scripts may run.

    Args:
        scripts: "any", "front", names or patterns relative to the root such as "/admin/*.php", or a function that takes
            such a name.
        no_scripts: prefixes of paths below which no script runs.
        front: the front controller, relative to the root, with a slash before it; or None.

    Raises:
        ConfigurationError: an argument is invalid.
    """

    def __init__(self, scripts: Scripts, no_scripts: Iterable[str], front: bytes | None) -> None:
        prefixes = _strings("no_scripts", no_scripts)
        for prefix in prefixes:
            if not prefix.startswith("/"):
                raise ConfigurationError(f"no_scripts has {prefix!r}; a prefix starts with /, such as /uploads/")
        self._never = tuple(prefix.encode("utf-8", "surrogateescape") for prefix in prefixes)
        self._front = front
        self._function: Callable[[str], bool] | None = None
        self._pattern: re.Pattern[bytes] | None = None
        self._any = scripts == "any"
        if callable(scripts):
            self._function = scripts
        elif isinstance(scripts, str):
            if scripts not in ("any", "front"):
                raise ConfigurationError(
                    f'scripts={scripts!r} is neither "any" nor "front"; a list names scripts, and a function decides'
                )
        else:
            # matched exactly: the names of scripts are case-sensitive
            names = _strings("scripts", scripts)
            self._pattern = _compile("/" + name.removeprefix("/") for name in names)

    def allow(self, script: bytes) -> bool:
        """Whether the script of this name, with a slash before it, may run."""
        if script.startswith(self._never):
            return False
        if self._any or script == self._front:
            return True
        if self._function is not None:
            return self._function(script.decode("utf-8", "surrogateescape"))
        return self._pattern is not None and self._pattern.fullmatch(script) is not None


def _strings(option: str, values: object) -> tuple[str, ...]:
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise ConfigurationError(f"{option}={values!r} is not a list of strings")
    found = tuple(values)
    for value in found:
        if not isinstance(value, str):
            raise ConfigurationError(f"{option} has {value!r}, which is not a string")
    return found


def _one_of(patterns: Iterable[str]) -> re.Pattern[bytes]:
    return _compile(patterns, re.IGNORECASE)


def _compile(patterns: Iterable[str], flags: int = 0) -> re.Pattern[bytes]:
    source = "|".join(f"(?:{translate(pattern)})" for pattern in patterns)
    return re.compile(source.encode("utf-8", "surrogateescape") or rb"(?!)", flags)

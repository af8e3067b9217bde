"""The syntax of FPM's configuration: sections, settings, comments, quotes, variables and includes.

FPM reads line by line, so nothing continues past the end of a line.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import attrs

from fcgi_async.errors import ConfigurationError

__all__ = ("GLOBAL", "Directive", "Settings", "read_settings")

# also the section of settings before the first header
GLOBAL: Final = "global"
# as in FPM; it stops files that include themselves
_DEPTH_MAX: Final = 5
# with log_level = debug, a line also names the place in FPM's source
_TESTED = re.compile(r"\[[^\]]+\] NOTICE: (?:pid \d+, \w+\(\), line \d+: )?(.*)")
_SECTION = re.compile(r"""\[("[^"]*"|'[^']*'|[^\]]*)\]\s*(?:;.*)?""")
_SETTING = re.compile(r"([^=\[\s]+(?:\[[^\]]*\])?)\s*=\s*(.*)")
_LINE_END = re.compile(r"\r\n|\r|\n")
# double quotes with what follows them, single quotes with what follows them, a variable, a comment, anything else
_PIECE = re.compile(
    r'"(?P<double>(?:[^"\\]|\\.)*)"\s*|\'(?P<single>[^\']*)\'\s*'
    r'|\$\{(?P<variable>[^}]*)\}|(?P<comment>;.*)|(?P<plain>[^"\'$;]+|.)'
)
# characters with a meaning within double quotes
_MEANT = re.compile(r"\\(.)|\$\{([^}]*)\}")
_ESCAPED: Final = '"\\$'
# `php-fpm -tt` writes this for a setting without a value
_UNDEFINED: Final = "undefined"
# unquoted words that stand for values
_WORDS: Final = {"on": "1", "yes": "1", "true": "1", "off": "", "no": "", "false": "", "none": "", "null": ""}


@attrs.frozen
class Directive:
    """A setting, with its file and line.

    Attributes:
        unknown: a variable in its value that the environment does not have; None if there is none.
    """

    section: str
    name: str
    value: str
    path: Path
    line: int
    unknown: str | None = None

    def in_pool(self) -> Directive:
        """Return it with `$pool` replaced by the pool's name."""
        return attrs.evolve(self, value=self.value.replace("$pool", self.section))

    def known(self) -> Directive:
        """Return it if its value is known.

        Raises:
            ConfigurationError: the value is not known; the error names the missing variable.
        """
        if self.unknown is not None:
            raise self.error(
                f"takes ${{{self.unknown}}} from FPM's environment, but it is not set here: give "
                f"environ={{{self.unknown!r}: ...}}, or what `php-fpm -tt` prints in a file"
            )
        return self

    def error(self, what: str) -> ConfigurationError:
        """Return an error about this setting."""
        return ConfigurationError(f"{self.path}:{self.line}: {self.name} = {self.value} {what}")


@attrs.frozen
class Settings:
    """All settings that were read.

    Attributes:
        directives: the settings in order, each with its section.
        prefix: the folder that relative paths start from; None if it is not known.
    """

    directives: tuple[Directive, ...]
    prefix: str | None


def read_settings(path: Path, *, prefix: str | None, environ: Mapping[str, str]) -> Settings:
    """Read the settings of a file and of the files that it includes.

    Args:
        path: the file.
        prefix: the folder that relative paths start from; None to take the nearest folder above the file from which its
            includes are found.
        environ: FPM's environment.

    Raises:
        ConfigurationError: a file cannot be read or is empty, or a line is not understood.
    """
    text = _read(path)
    if not text.strip():
        raise ConfigurationError(
            f"{path}: the file is empty; `php-fpm -tt` prints to standard error (php-fpm -tt 2>FILE), and with a "
            "log_level above notice it prints nothing"
        )
    reader = _Reader(environ, prefix)
    tested = list(_tested_lines(text))
    if tested:
        reader.read_tested(tested, path)
    else:
        reader.read(text, path, 0)
    return Settings(tuple(reader.directives), reader.prefix)


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8", "surrogateescape").removeprefix("\ufeff")
    except OSError as error:
        raise ConfigurationError(
            f"{path}: cannot be read ({error.strerror}); give FPM's main file or the pool's, or the output of "
            "`php-fpm -tt` in a file"
        ) from error


def _lines(text: str) -> list[tuple[int, str]]:
    return list(enumerate(_LINE_END.split(text), 1))


def _tested_lines(text: str) -> list[tuple[int, str]]:
    found = [(number, _TESTED.fullmatch(line)) for number, line in _lines(text)]
    return [(number, match[1]) for number, match in found if match is not None]


@attrs.define(eq=False)
class _Reader:
    """Reads files that include each other; a section continues past the end of an included file, as in FPM."""

    environ: Mapping[str, str]
    prefix: str | None
    directives: list[Directive] = attrs.field(init=False, factory=list)
    _section: str = attrs.field(init=False, default=GLOBAL)
    _spellings: dict[str, str] = attrs.field(init=False, factory=lambda: {GLOBAL: GLOBAL})

    def read_tested(self, lines: list[tuple[int, str]], path: Path) -> None:
        """Read the output of `php-fpm -tt`."""
        for number, line in lines:
            content = line.lstrip()
            if (heading := _SECTION.fullmatch(content)) is not None:
                self._begin(heading[1])
            elif (setting := _SETTING.fullmatch(content)) is not None:
                value = "" if setting[2] == _UNDEFINED else setting[2]
                self.directives.append(Directive(self._section, setting[1].lower(), value, path, number))

    def read(self, text: str, path: Path, depth: int) -> None:
        """Read a file, and the files that it includes."""
        for number, line in _lines(text):
            content = line.strip()
            if not content or content[0] in ";#":
                continue
            if (heading := _SECTION.fullmatch(content)) is not None:
                self._begin(heading[1])
            elif (setting := _SETTING.fullmatch(content)) is not None:
                value, unknown = _value(setting[2], self.environ)
                directive = Directive(self._section, setting[1].lower(), value, path, number, unknown)
                if directive.name == "include":
                    self._include(directive.known(), depth)
                else:
                    self.directives.append(directive)
            else:
                raise ConfigurationError(f"{path}:{number}: {content!r} is neither a section nor a setting")

    def _begin(self, name: str) -> None:
        name = name[1:-1] if name[:1] in ("'", '"') else name
        # FPM compares section names case-insensitively
        self._section = self._spellings.setdefault(name.lower(), name)

    def _include(self, directive: Directive, depth: int) -> None:
        if depth + 1 >= _DEPTH_MAX:
            raise directive.error(f"goes deeper than {_DEPTH_MAX} files, as FPM allows")
        for name in self._matches(directive):
            if not name.endswith("/"):
                path = Path(name)
                self.read(_read(path), path, depth + 1)

    def _matches(self, directive: Directive) -> list[str]:
        pattern = directive.value
        if pattern.startswith("/"):
            return sorted(glob.glob(pattern))
        if self.prefix is not None:
            return sorted(glob.glob(f"{glob.escape(self.prefix)}/{pattern}"))
        for folder in directive.path.absolute().parents:
            if found := glob.glob(f"{glob.escape(str(folder))}/{pattern}"):
                self.prefix = str(folder)
                return sorted(found)
        raise directive.error(
            "is relative to the prefix that FPM was built or started with, and there is nothing of that name in any "
            "folder above; give prefix=, such as /usr/local"
        )


@attrs.define(eq=False)
class _Variables:
    """Looks up variables, and remembers the first unknown one."""

    environ: Mapping[str, str]
    unknown: str | None = None

    def look_up(self, text: str) -> str:
        """Return the value of `${text}`."""
        # PHP 8.3 and later allow a default
        name, has_default, default = text.partition(":-")
        value = self.environ.get(name)
        if value is None and not has_default:
            self.unknown = self.unknown or name
            return f"${{{text}}}"
        return value or default


def _value(text: str, environ: Mapping[str, str]) -> tuple[str, str | None]:
    """Return a value as FPM reads it, and an unknown variable in it if there is one."""
    variables = _Variables(environ)
    parts: list[str] = []
    bare, plain = True, None
    for piece in _PIECE.finditer(text):
        if piece["comment"] is not None:
            break
        plain = piece["plain"]
        bare = bare and plain is not None
        if piece["double"] is not None:
            parts.append(_unescaped(piece["double"], variables))
        elif piece["single"] is not None:
            parts.append(piece["single"])
        else:
            parts.append(plain if plain is not None else variables.look_up(piece["variable"]))
    if plain is not None:
        # within quotes, blanks are part of the value
        parts[-1] = parts[-1].rstrip()
    value = "".join(parts)
    return (_WORDS.get(value.lower(), value) if bare else value), variables.unknown


def _unescaped(text: str, variables: _Variables) -> str:
    def meant(found: re.Match[str]) -> str:
        if found[1] is None:
            return variables.look_up(found[2])
        return found[1] if found[1] in _ESCAPED else found[0]

    return _MEANT.sub(meant, text)

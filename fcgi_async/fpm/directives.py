"""The syntax of FPM's configuration: sections, settings, comments, quotes and includes."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import attrs

from fcgi_async.errors import ConfigurationError

__all__ = ("Directive", "read_directives")

# as in FPM, where a file that includes itself comes to an end by it
_DEPTH_MAX: Final = 5
_TESTED = re.compile(r"\[[^\]]+\] NOTICE: ?(.*)")
_SECTION = re.compile(r"\[([^\]]*)\]")
_SETTING = re.compile(r"([^=\[\s]+(?:\[[^\]]*\])?)\s*=\s*(.*)")
_QUOTED = re.compile(r'"([^"]*)"|\'([^\']*)\'')
_VARIABLE = re.compile(r"\$\{[^}]*\}")
# what `php-fpm -tt` writes for a setting that has no value
_UNDEFINED: Final = "undefined"


@attrs.frozen
class Directive:
    """A setting, and where it stands."""

    section: str
    name: str
    value: str
    path: Path
    line: int

    def in_pool(self) -> Directive:
        """Return it as it is meant in its pool: with the pool's name in the place of `$pool`."""
        return attrs.evolve(self, value=self.value.replace("$pool", self.section))

    def error(self, what: str) -> ConfigurationError:
        """Return an error that says what is wrong with it."""
        return ConfigurationError(f"{self.path}:{self.line}: {self.name} = {self.value} {what}")


def read_directives(path: Path) -> Iterator[Directive]:
    """Yield the settings of a file and of what it includes, in order; each with the section it belongs to.

    Raises:
        ConfigurationError: a file cannot be read, or a line is not understood.
    """
    text = _read(path)
    tested = list(_tested_lines(text))
    if tested:
        yield from _parse(tested, path, "", 0, tested=True)
    else:
        yield from _parse(list(enumerate(text.splitlines(), 1)), path, "", 0)


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8", "surrogateescape")
    except OSError as error:
        raise ConfigurationError(
            f"{path}: cannot be read ({error.strerror}); give FPM's main file or the pool's, or the output of "
            "`php-fpm -tt` in a file"
        ) from error


def _tested_lines(text: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.splitlines(), 1):
        found = _TESTED.fullmatch(line)
        if found is not None:
            yield number, found[1]


def _parse(
    lines: list[tuple[int, str]], path: Path, section: str, depth: int, *, tested: bool = False
) -> Iterator[Directive]:
    for number, line in lines:
        content = line.strip() if tested else _without_comment(line).strip()
        if not content:
            continue
        if (heading := _SECTION.fullmatch(content)) is not None:
            section = heading[1].strip()
            # FPM knows its own section in any case
            section = section.lower() if section.lower() == "global" else section
        elif (setting := _SETTING.fullmatch(content)) is not None:
            directive = Directive(section, setting[1].lower(), _value(setting[2], tested), path, number)
            if _VARIABLE.search(directive.value) and not tested:
                raise directive.error("takes a value from FPM's environment; give the output of `php-fpm -tt` instead")
            if directive.name == "include":
                for included in _included(directive, depth):
                    section = included.section
                    yield included
            else:
                yield directive
        elif not tested:
            raise ConfigurationError(f"{path}:{number}: {content!r} is neither a section nor a setting")


def _included(directive: Directive, depth: int) -> Iterator[Directive]:
    if depth + 1 >= _DEPTH_MAX:
        raise directive.error(f"goes deeper than {_DEPTH_MAX} files, as FPM allows")
    if not directive.value.startswith("/"):
        raise directive.error(
            "is relative to the prefix that FPM was built or started with, which the file does not tell; "
            "give the output of `php-fpm -tt` instead"
        )
    section = directive.section
    for name in sorted(glob.glob(directive.value)):
        if name.endswith("/"):
            continue
        text = _read(Path(name))
        for included in _parse(list(enumerate(text.splitlines(), 1)), Path(name), section, depth + 1):
            section = included.section
            yield included


def _value(text: str, tested: bool) -> str:
    text = text.strip()
    if tested:
        return "" if text == _UNDEFINED else text
    if (quoted := _QUOTED.fullmatch(text)) is not None:
        return quoted[1] if quoted[1] is not None else quoted[2]
    return text


def _without_comment(line: str) -> str:
    """Return a line up to the semicolon that begins a comment, which one in quotes does not."""
    quote = ""
    for at, char in enumerate(line):
        if quote:
            quote = "" if char == quote else quote
        elif char in "\"'":
            quote = char
        elif char == ";":
            return line[:at]
    return line

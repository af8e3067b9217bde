"""A parser of command lines whose errors take one line, and name what was probably meant."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Final, NoReturn

from fcgi_async.commands.errors import UsageError

__all__ = ("Parser",)

# words and options of other programs -> ours
_WORDS: Final = {
    "call": "run",
    "check": "doctor",
    "enqueue": "jobs enqueue",
    "exec": "run",
    "help": "--help",
    "start": "serve",
}
_ELSEWHERE: Final = {
    "--port": ("--listen",),
    "--bind": ("--listen",),
    "--socket": ("--fpm",),
    "--workers": ("--children", "--max-children"),
    "--database": ("--jobs",),
}
_NEAR: Final = 0.7
# so many names are shown rather than the nearest one
_FEW: Final = 5
_CHOICE = re.compile(r"(invalid choice: '(.*)') \(choose from (.*)\)", re.DOTALL)
_MISSING = re.compile(r"the following arguments are required: (COMMAND|ACTION)")


class Parser(argparse.ArgumentParser):
    """A parser that reports errors in one line."""

    def error(self, message: str) -> NoReturn:
        """Raise UsageError."""
        if choice := _CHOICE.search(message):
            names = re.findall(r"[\w-]+", choice[3])
            nearest = get_close_matches(choice[2], names, n=1) if len(names) > _FEW else []
            if "COMMAND" in message and choice[2] in _WORDS:
                nearest = [_WORDS[choice[2]]]
            meant = f"did you mean {nearest[0]}?" if nearest else f"choose from {', '.join(names)}"
            message = f"{message[: choice.start()]}{choice[1]}; {meant}"
        elif missing := _MISSING.search(message):
            message = f"give {missing[1]}, one of {', '.join(self._commands())}"
        raise UsageError(f"{message} (see {self.prog} --help)")

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse, and refuse here what is not known, rather than in the parser of the whole command line."""
        options, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}{self._meant(unknown)}")
        return options, unknown

    def _meant(self, unknown: Sequence[str]) -> str:
        """Return which option is most like the first one that is unknown."""
        name = next((word.partition("=")[0] for word in unknown if word.startswith("-")), "")
        nearest = [option for option in _ELSEWHERE.get(name, ()) if option in self._option_string_actions]
        nearest = nearest or get_close_matches(name, self._option_string_actions, n=1, cutoff=_NEAR)
        return f"; did you mean {nearest[0]}?" if nearest else ""

    def _commands(self) -> Iterable[str]:
        return next((action.choices for action in self._actions if action.choices is not None), ())

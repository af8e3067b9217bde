"""The type of a job's tag, also used by its response, handle and outcome."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    # type checkers have it built in; nothing has to be installed
    from typing_extensions import TypeVar
else:
    from typing import TypeVar as _TypeVar

    def TypeVar(name, *, covariant, default):
        """A type variable; before Python 3.13 it cannot have a default, which only type checkers read."""
        return _TypeVar(name, covariant=covariant)


__all__ = ("Tag",)

# a plain Job may have any tag
Tag = TypeVar("Tag", covariant=True, default=object)

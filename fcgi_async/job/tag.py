"""The type of a job's tag, which its response, handle and outcome share."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    # type checkers bring it along; nothing has to be installed for it
    from typing_extensions import TypeVar
else:
    from typing import TypeVar as _TypeVar

    def TypeVar(name, *, covariant, default):
        """A type variable; Python before 3.13 knows no default, and only type checkers read it."""
        return _TypeVar(name, covariant=covariant)


__all__ = ("Tag",)

# a plain Job is one of any tag
Tag = TypeVar("Tag", covariant=True, default=object)

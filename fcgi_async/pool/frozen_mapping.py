"""A mapping that cannot be changed, and so can be hashed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeVar

__all__ = ("FrozenMapping",)

_Key = TypeVar("_Key")
_Value = TypeVar("_Value", covariant=True)


class FrozenMapping(Mapping[_Key, _Value]):
    """A copy of a mapping; equal to any mapping of the same content, whatever the order."""

    __slots__ = ("_content",)

    def __init__(self, content: Mapping[_Key, _Value]) -> None:
        self._content = dict(content)

    def __getitem__(self, key: _Key) -> _Value:
        return self._content[key]

    def __iter__(self) -> Iterator[_Key]:
        return iter(self._content)

    def __len__(self) -> int:
        return len(self._content)

    def __hash__(self) -> int:
        return hash(frozenset(self._content.items()))

    def __repr__(self) -> str:
        return repr(self._content)

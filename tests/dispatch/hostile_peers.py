"""The hostile peers, by theme: what each does, and what every job that meets it must get."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from tests.dispatch.hostile import endings, heads, management, multiplexing, records, transport
from tests.dispatch.hostile.case import Case

__all__ = ("CASES", "THEMES")

THEMES: Final[Mapping[str, Sequence[Case]]] = {
    "records": records.CASES,
    "heads": heads.CASES,
    "endings": endings.CASES,
    "management": management.CASES,
    "transport": transport.CASES,
    "multiplexing": multiplexing.CASES,
}

CASES: Final = tuple(case for cases in THEMES.values() for case in cases)

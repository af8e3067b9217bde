"""What is raced: workloads, and the cases of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import attrs

from benchmarks.suite.entrant import Entrant
from benchmarks.suite.size import Size

__all__ = ("Case", "Workload")


@attrs.frozen(kw_only=True)
class Case:
    """Contenders that are compared with each other under one setting.

    Attributes:
        name: as a heading.
        entrants: the contenders, in the order of their turns; ratios are to the first.
        pool: which PHP-FPM they talk to: on a "unix" socket, on "tcp", or a "wide" one of 64 workers.
        script: the PHP script, of benchmarks/scripts.
        query: its QUERY_STRING.
        changes: of the setting: at_once, jobs, ...
        rounds: how often they take turns, where that is not what the size says.
    """

    name: str
    entrants: Sequence[Entrant]
    pool: str = "unix"
    script: str = "ok.php"
    query: str = ""
    changes: dict[str, Any] = attrs.field(factory=dict)
    rounds: int | None = None


@attrs.frozen(kw_only=True)
class Workload:
    """Cases of one kind.

    Attributes:
        name: what `--only` takes.
        module: whose docstring says what is measured and what is not.
        columns: of its table, by the names of benchmarks/report/figures.py.
        cases: what there is to run in a size.
    """

    name: str
    module: ModuleType
    columns: Sequence[str]
    cases: Callable[[Size], Sequence[Case]]

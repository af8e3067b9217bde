"""Which branches inputs reach: while fuzzing by a tracer that is told of every line, for the report by coverage.py."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from types import CodeType, FrameType
from typing import TYPE_CHECKING

import attrs
import coverage

import fcgi_async.wire

if TYPE_CHECKING:
    from _typeshed import TraceFunction

WIRE = Path(fcgi_async.wire.__file__).parent


class Steps:
    """The steps from one line to another that the code of a target takes between `with` and its end."""

    def __init__(self, code: Iterable[str]) -> None:
        self.taken: set[int] = set()
        self._code = tuple((str(WIRE / name.partition(":")[0]), name.partition(":")[2]) for name in code)
        # the number of each function that counts, 0 for others
        self._numbers: dict[CodeType, int] = {}
        self._before: list[TraceFunction | None] = []

    def __enter__(self) -> Steps:
        self.taken = set()
        # another tracer, such as that of a test run with coverage, goes on afterwards
        self._before.append(sys.gettrace())
        sys.settrace(self._call)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(self._before.pop())

    def _number(self, code: CodeType) -> int:
        counts = any(code.co_filename == file and name in ("", code.co_name) for file, name in self._code)
        number = self._numbers[code] = (len(self._numbers) + 1) << 32 if counts else 0
        return number

    def _call(self, frame: FrameType, _event: str, _argument: object) -> TraceFunction | None:
        code = frame.f_code
        number = self._numbers.get(code)
        if number is None:
            number = self._number(code)
        if not number:
            return None
        base, last, take = number, 0, self.taken.add

        def step(frame: FrameType, event: str, _argument: object) -> TraceFunction:
            nonlocal last
            line = frame.f_lineno if event == "line" else 0
            take(base | last << 16 | line)
            last = line
            return step

        return step


@attrs.frozen
class Reached:
    """How many branches there are, how many were reached, and in which functions the others are."""

    branches: int
    reached: int
    missing: dict[str, int]


def count_branches(code: Iterable[str], run: Callable[[], object]) -> Reached:
    """Run something, and count the branches of some code that it reaches."""
    code = tuple(code)
    files = sorted({str(WIRE / name.partition(":")[0]) for name in code})
    measured = coverage.Coverage(data_file=None, config_file=False, branch=True, include=files)
    with measured.collect():
        run()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "branches.json"
        measured.json_report(outfile=str(path), include=files)
        report = json.loads(path.read_text())
    branches = reached = 0
    missing = {}
    for file, found in report["files"].items():
        for function, part in found["functions"].items():
            name = Path(file).name
            # without a name it is the module itself, which ran when it was imported
            if not function or not ({name, f"{name}:{function}"} & set(code)):
                continue
            summary = part["summary"]
            branches += summary["num_branches"]
            reached += summary["covered_branches"]
            if summary["missing_branches"]:
                missing[f"{name}:{function}"] = summary["missing_branches"]
    return Reached(branches, reached, missing)

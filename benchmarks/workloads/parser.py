"""The parser alone, on bytes that are in memory: typical answers, and records of 64 KB.

Measured is the time of `ClientConnection.receive_data()`, per record, without sockets, event loop and dispatcher.

Not measured: encoding requests; the CGI head, which is read by the dispatcher's layer.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from benchmarks.suite.case import Case, Workload
from benchmarks.suite.entrant import python
from benchmarks.suite.size import Size

__all__ = ("WORKLOAD",)


def cases(size: Size) -> Sequence[Case]:
    jobs = size.pick({"small": 200_000, "large": 8000}, {"small": 50_000, "large": 4000}, {"small": 100, "large": 10})
    names = {"small": "answers of two bytes, three records each", "large": "records of 65,528 bytes"}
    return [
        Case(name=name, entrants=[python("receive_data()", "ours_parser", what)], changes={"jobs": jobs[what]})
        for what, name in names.items()
    ]


WORKLOAD = Workload(
    name="parser",
    module=sys.modules[__name__],
    columns=("cpu_record", "record_rate", "throughput"),
    cases=cases,
)

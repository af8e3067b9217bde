"""What every contender is told: where PHP is, what to run, and how often."""

from __future__ import annotations

import json
import sys
from typing import Self

import attrs


@attrs.frozen(kw_only=True)
class Setting:
    """One run.

    Attributes:
        address: of PHP-FPM's pool: `unix:///path` or `tcp://host:port`.
        script: the PHP script, absolute.
        params: the FastCGI parameters that direct clients send; all send the same.
        query: its QUERY_STRING.
        expected: what the script prints.
        http_socket: where nginx listens.
        path: the request target of the script behind nginx.
        workers: of the pool.
        at_once: how many jobs the caller has open at once.
        jobs: how many are measured.
        warm_up: how many are run before that.
        size: bytes of a body.
        endpoints: addresses of one pool, shared out among them; none where it has one address.
    """

    address: str
    script: str
    params: dict[str, str] = attrs.field(factory=dict)
    query: str = ""
    expected: str = "ok"
    http_socket: str = ""
    path: str = ""
    workers: int = 4
    at_once: int = 4
    jobs: int = 1000
    warm_up: int = 200
    size: int = 0
    endpoints: list[str] = attrs.field(factory=list)

    @property
    def connections(self) -> int:
        """How many connections are of use: no more than there are workers."""
        return min(self.at_once, self.workers)

    @classmethod
    def given(cls) -> Self:
        """Read the setting that this process was started with, its first argument."""
        return cls(**json.loads(sys.argv[1]))

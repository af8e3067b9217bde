"""The metrics of an FPM pool, which `fcgi-async exporter` reads from its status page and from doctor's checks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final

import attrs

from fcgi_async.fpm.status import PoolStatus, ProcessState

__all__ = ("POOL_READINGS", "PoolFacts", "PoolReading")


@attrs.frozen
class PoolFacts:
    """The facts about a pool at one moment.

    Attributes:
        status: its status page; None if the page does not answer.
        checks: the result of each of doctor's checks: ok, warning, failed or unknown.
        max_children: the maximum number of workers; None if it is not known.
        seconds: how long it took to find this out.
    """

    status: PoolStatus | None
    checks: Mapping[str, str]
    max_children: int | None
    seconds: float


_Values = Mapping[tuple[str, ...], float]


@attrs.frozen
class PoolReading:
    """One metric of a pool.

    Attributes:
        prometheus: its name, without the `_total` of a counter.
        help: the help text.
        read: its values, by the labels' values; empty if they are not known.
        counter: whether it only rises, until FPM is restarted.
        labels: the names of the labels.
    """

    prometheus: str
    help: str
    read: Callable[[PoolFacts], _Values]
    counter: bool = False
    labels: tuple[str, ...] = ()


def _of_page(read: Callable[[PoolStatus], float | None]) -> Callable[[PoolFacts], _Values]:
    def values(facts: PoolFacts) -> _Values:
        value = None if facts.status is None else read(facts.status)
        return {} if value is None else {(): value}

    return values


def _workers(facts: PoolFacts) -> _Values:
    if facts.status is None:
        return {}
    states = Counter(process.state for process in facts.status.processes)
    return {(state.lower().replace(" ", "_"),): states[state] for state in ProcessState}


def _longest(status: PoolStatus) -> float:
    return max((process.request_duration for process in status.processes if process.active), default=0.0)


def _checks(facts: PoolFacts) -> _Values:
    states = ("ok", "warning", "failed", "unknown")
    return {(name, state): float(found == state) for name, found in facts.checks.items() for state in states}


POOL_READINGS: Final = (
    PoolReading(
        "fcgi_pool_up",
        "1 if FPM's status page answered.",
        lambda facts: {(): float(facts.status is not None)},
    ),
    PoolReading("fcgi_pool_workers", "Workers that exist, by what they do.", _workers, labels=("state",)),
    PoolReading(
        "fcgi_pool_max_children",
        "pm.max_children, if it is known.",
        lambda facts: {} if facts.max_children is None else {(): facts.max_children},
    ),
    PoolReading(
        "fcgi_pool_listen_queue",
        "Connections that wait for a worker; on a unix socket FPM cannot tell.",
        _of_page(lambda status: status.listen_queue),
    ),
    PoolReading(
        "fcgi_pool_accepted_connections",
        "Connections that workers have accepted.",
        _of_page(lambda status: status.accepted_connections),
        counter=True,
    ),
    PoolReading(
        "fcgi_pool_max_children_reached",
        "How often pm.max_children kept FPM from starting another worker; stays 0 with pm = static.",
        _of_page(lambda status: status.max_children_reached),
        counter=True,
    ),
    PoolReading(
        "fcgi_pool_slow_requests",
        "Requests that took longer than request_slowlog_timeout.",
        _of_page(lambda status: status.slow_requests),
        counter=True,
    ),
    PoolReading(
        "fcgi_pool_start_time_seconds",
        "When FPM was started or reloaded, since 1970.",
        _of_page(lambda status: status.start_time.timestamp()),
    ),
    PoolReading(
        "fcgi_pool_longest_request_seconds",
        "How long the longest current request has been running; 0 if none is.",
        _of_page(_longest),
    ),
    PoolReading(
        "fcgi_pool_request_memory_bytes",
        "The largest memory use of any worker's last request.",
        _of_page(lambda status: max((process.last_request_memory for process in status.processes), default=0)),
    ),
    PoolReading(
        "fcgi_pool_check",
        "The checks of fcgi-async doctor: 1 for the state that each check is in, 0 for the others.",
        _checks,
        labels=("check", "state"),
    ),
    PoolReading("fcgi_pool_look_seconds", "How long it took to find all this out.", lambda facts: {(): facts.seconds}),
)

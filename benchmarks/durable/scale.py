"""How much of a database's server a fleet of workers takes: arithmetic, without a clock and without a database.

A host is one worker process beside one PHP-FPM. What it asks of the server follows from what it does (supply.py and
feed.py of fcgi_async.jobs): it tends twice a second, and less often in a crowd; looks once a second when it is idle;
renews its lease; and claims and settles jobs, several in one transaction if several end while one is under way. What
each of these costs in CPU time of the server is measured (unit_costs.py).
"""

from __future__ import annotations

import attrs

from fcgi_async.jobs.crowd import stretch

# a second, of each of few workers: searches for lost workers and old jobs; looks; renewals of its lease
TENDS = 2.0
LOOKS = 1.0
RENEWALS = 1 / 5.0
# a second, of a worker that is not told of puts: while nothing comes, and at most
POLLS, MOST_POLLS = 1.0, 20.0
# workers that look at once when all are told of a put
WOKEN = 16
# workers that are told at all, if there are more
LISTENERS = 64
# share of the server's processors up to which answers do not wait for each other for long
COMFORT = 0.7
# seconds that a transaction is under way between a worker and a server, network included
UNDER_WAY = 0.002


@attrs.frozen(kw_only=True)
class Costs:
    """Seconds of CPU time of the database's server.

    Attributes:
        claim: a claim without its jobs.
        claimed: each job of one.
        settle: a settlement without its jobs.
        settled: each job of one.
        put: a job that is put alone.
        look: a look that finds nothing.
        tend: a search for lost workers, and for jobs that need not be kept.
        renew: a renewal of a lease.
        wake: of a put or a settlement for each worker that the server tells of it, without the look that follows.
        poll: a question whether something has come, of a worker that is not told of puts; 0 if it is.
        one_writer: whether only one transaction at a time may write, so that more processors do not help.
    """

    claim: float
    claimed: float
    settle: float
    settled: float
    put: float
    look: float
    tend: float
    renew: float
    wake: float = 0.0
    poll: float = 0.0
    one_writer: bool = False


@attrs.frozen(kw_only=True)
class Fleet:
    """Hosts that are alike.

    Attributes:
        hosts: how many.
        workers: PHP workers for jobs on each.
        seconds: that a job takes.
    """

    hosts: int
    workers: int
    seconds: float

    @property
    def most(self) -> float:
        """Jobs a second that its PHP workers can run."""
        return self.hosts * self.workers / self.seconds


def together(fleet: Fleet, jobs: float) -> float:
    """Return how many jobs a host claims, or settles, in one transaction.

    Args:
        fleet: the hosts.
        jobs: a second, on all of them.
    """
    return min(1 + jobs / fleet.hosts * UNDER_WAY, fleet.workers)


def per_job(costs: Costs, together: float) -> float:
    """Return what the server takes for a job: to put, claim and settle it.

    Args:
        costs: of the database.
        together: how many are claimed, and settled, in one transaction.
    """
    return costs.put + costs.claimed + costs.settled + (costs.claim + costs.settle) / together


def standing(costs: Costs, hosts: int) -> float:
    """Return processors of the server that workers take which have nothing to do."""
    each = TENDS / stretch(hosts) * costs.tend + LOOKS * costs.look + RENEWALS * costs.renew
    return hosts * (each + POLLS * costs.poll)


def waking(costs: Costs, fleet: Fleet, jobs: float) -> float:
    """Return processors that puts take by waking workers.

    All are told of each put, or ask; about 16 of those that have a PHP worker free then look for a job. One whose look
    is under way makes one more for all that came meanwhile.
    """
    told = min(jobs, MOST_POLLS / stretch(fleet.hosts) if costs.poll else 1 / UNDER_WAY)
    polls = max(told - POLLS, 0.0) * costs.poll
    free = max(1 - jobs / fleet.most, 0.0)
    woken = told * min(WOKEN / fleet.hosts, 1.0)
    rung = jobs + jobs / together(fleet, jobs)
    return min(fleet.hosts, LISTENERS) * rung * costs.wake + fleet.hosts * (polls + woken * free * costs.look)


def taken(costs: Costs, fleet: Fleet, jobs: float) -> float:
    """Return processors of the server that a fleet takes at so many jobs a second, all of which are put one by one."""
    used = jobs * per_job(costs, together(fleet, jobs))
    return used + standing(costs, fleet.hosts) + waking(costs, fleet, jobs)


def carried(costs: Costs, fleet: Fleet, processors: float) -> float:
    """Return how many jobs a second a server carries for a fleet, at most what that can run; 0 if it carries none.

    Args:
        costs: of the database.
        fleet: the hosts.
        processors: of the server.
    """
    limit = COMFORT * (1 if costs.one_writer else processors)
    if standing(costs, fleet.hosts) >= limit:
        return 0.0
    if taken(costs, fleet, fleet.most) <= limit:
        return fleet.most
    # what is taken rises and may fall again once all are busy: the lowest rate at which it is too much
    steps = 1000
    for step in range(1, steps + 1):
        if taken(costs, fleet, fleet.most * step / steps) > limit:
            return _between(costs, fleet, limit, fleet.most * (step - 1) / steps, fleet.most * step / steps)
    return fleet.most


def most_hosts(costs: Costs, workers: int, seconds: float, processors: float) -> int:
    """Return how many hosts a server carries whose PHP workers are all busy; 0 if not one."""
    few, many = 0, 1
    while many < 1_000_000 and _carries(costs, many, workers, seconds, processors):
        few, many = many, many * 2
    while many - few > 1:
        middle = (few + many) // 2
        if _carries(costs, middle, workers, seconds, processors):
            few = middle
        else:
            many = middle
    return few


def _carries(costs: Costs, hosts: int, workers: int, seconds: float, processors: float) -> bool:
    fleet = Fleet(hosts=hosts, workers=workers, seconds=seconds)
    return taken(costs, fleet, fleet.most) <= COMFORT * (1 if costs.one_writer else processors)


def _between(costs: Costs, fleet: Fleet, limit: float, low: float, high: float) -> float:
    for _ in range(40):
        middle = (low + high) / 2
        if taken(costs, fleet, middle) > limit:
            high = middle
        else:
            low = middle
    return low

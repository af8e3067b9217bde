"""The dispatcher of the tests' services, as the environment of their process says."""

from __future__ import annotations

import os

from fcgi_async import Dispatcher, Endpoint, Timeouts


def make() -> Dispatcher:
    """Return a dispatcher on the FPM of the test."""
    environment = os.environ
    endpoint = Endpoint(
        environment["FPM"],
        max_children=int(environment["MAX_CHILDREN"]),
        reserve=int(environment.get("RESERVE", "0")),
        processes=int(environment.get("WEB_CONCURRENCY", "1")),
        root=environment["SCRIPTS"],
    )
    return Dispatcher(
        endpoint,
        max_queued=int(environment.get("MAX_QUEUED", "1000")),
        overflow="reject",
        timeouts=Timeouts(run=float(environment.get("RUN_TIMEOUT", "60"))),
    )

"""Code in the docstrings of public names, which the reference shows, runs as it stands."""

from __future__ import annotations

import inspect
import re
from functools import partial
from textwrap import dedent

import pytest
from prometheus_client import CollectorRegistry

import fcgi_async
import fcgi_async.jobs
import fcgi_async.sync
from fcgi_async import Dispatcher, Job, LocalFPM
from fcgi_async.telemetry.instrumentor import FastCGIInstrumentor
from fcgi_async.telemetry.prometheus import PrometheusCollector
from tests.conftest import SCRIPTS
from tests.docs.running import run
from tests.docs.test_site import MODULES

# set off by a blank line, unlike what stands under "Args:"
CODE = re.compile(r"\n\n((?:    .*\n|\n)*    .*)")


# those of durable jobs need a worker that takes them, and those for threads a thread; tests/jobs and tests/sync do what
# they show
RUN = [module for module in MODULES if module not in (fcgi_async.jobs, fcgi_async.sync)]


def examples() -> dict[str, str]:
    """The code in each docstring."""
    found: dict[str, str] = {}
    for module in RUN:
        for name in module.__all__:
            public = getattr(module, name)
            # what is inherited from a class of the package is public too
            owners = [base for base in inspect.getmro(public) if _is_ours(base)] if inspect.isclass(public) else []
            members = {key: value for base in reversed(owners) for key, value in vars(base).items()}
            methods = {f"{name}.{key}": value for key, value in members.items() if inspect.isroutine(value)}
            for place, documented in ({name: public} | methods).items():
                text = inspect.getdoc(documented) if inspect.isclass(public) else None
                for code in CODE.findall(text or ""):
                    found[place] = dedent(code)
    return found


def _is_ours(base: type) -> bool:
    return base.__module__.startswith(fcgi_async.__name__)


def test_they_are_found() -> None:
    """Of a class and of a method."""
    assert examples().keys() >= {"LocalFPM", "Dispatcher.map"}


@pytest.mark.anyio
@pytest.mark.parametrize("place", examples())
async def test_it_runs(place: str, fpm: LocalFPM) -> None:
    """With a dispatcher, and jobs, where it takes them for given."""
    names = {name: getattr(module, name) for module in RUN for name in module.__all__}
    # the default registry would remember it
    names["PrometheusCollector"] = partial(PrometheusCollector, CollectorRegistry())
    source = examples()[place].replace("Dispatcher(...)", f"Dispatcher({fpm.address!r}, max_children=2)")
    async with Dispatcher(fpm.address, max_children=2) as php:
        jobs = [Job(str(SCRIPTS / "inspect.php"))] * 2
        await run(source, names | {"php": php, "jobs": jobs}, file=fcgi_async.__name__)
    if FastCGIInstrumentor().is_instrumented_by_opentelemetry:
        # all dispatchers of this process would be
        FastCGIInstrumentor().uninstrument()

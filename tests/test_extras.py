"""A module whose extra is not installed says how to install it, and the others do without."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
EXTRAS = {
    "cli": ("rich", "fcgi_async.commands.top_screen"),
    "cron": ("cronsim", "fcgi_async.jobs.cronline"),
    "postgres": ("psycopg", "fcgi_async.jobs.sql.postgres_store"),
    "mysql": ("pymysql", "fcgi_async.jobs.sql.mysql"),
    "otel": ("opentelemetry", "fcgi_async.telemetry.otel"),
    "otel-auto": ("opentelemetry.instrumentation", "fcgi_async.telemetry.instrumentor"),
    "prometheus": ("prometheus_client", "fcgi_async.telemetry.prometheus"),
    "nats": ("nats", "fcgi_async.jobs.intake.nats_source"),
    "redis": ("coredis", "fcgi_async.jobs.intake.redis_source"),
    "web": ("uvicorn", "fcgi_async.jobs.serve"),
    "serve": ("uvicorn", "fcgi_async.commands.uvicorn_server"),
    "http2": ("hypercorn", "fcgi_async.commands.hypercorn_server"),
    "testing": ("pytest", "fcgi_async.testing.plugin"),
}
# another event loop: who runs on it has it
LOOPS = {"trio", "uvloop"}


def import_without(packages: list[str], module: str) -> subprocess.CompletedProcess[str]:
    """Import a module in a Python that has none of these packages."""
    hidden = "".join(f"sys.modules[{package!r}] = None; " for package in packages)
    command = [sys.executable, "-c", f"import sys; {hidden}import {module}"]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_every_extra_is_tried() -> None:
    """An extra that is new is tried here too."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(project["optional-dependencies"]) == EXTRAS.keys() | LOOPS


@pytest.mark.parametrize("extra", EXTRAS)
def test_a_missing_extra(extra: str) -> None:
    """Without its package the error says what it is for, in words and not as a module, and has the command to run."""
    package, module = EXTRAS[extra]
    said = import_without([package], module).stderr.splitlines()[-1]
    what = said.removeprefix("ImportError: ")
    assert re.search(r" needs? \S.*: pip install '", what)
    assert "fcgi_async." not in what
    assert said.endswith(f"pip install 'fcgi-async[{extra}]'")
    assert import_without([], module).returncode == 0


@pytest.mark.parametrize(
    "module",
    [
        "fcgi_async",
        "fcgi_async.cli",
        "fcgi_async.asgi",
        "fcgi_async.testing",
        "fcgi_async.telemetry",
        "fcgi_async.jobs",
    ],
)
def test_no_extra_is_needed(module: str) -> None:
    """What needs no extra is imported without any."""
    packages = [package for package, _ in EXTRAS.values()] + sorted(LOOPS)
    done = import_without(packages, module)
    assert (done.returncode, done.stderr) == (0, "")

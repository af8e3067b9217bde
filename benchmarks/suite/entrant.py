"""The contenders by name: what starts each of them, and what it needs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import attrs

__all__ = (
    "AIOHTTP",
    "FLOOR",
    "GO",
    "HOLLODOTME",
    "OURS",
    "PROTOCOL",
    "Entrant",
    "foreign",
    "nginx_clients",
    "ours",
    "python",
)

FOLDER = Path(__file__).parents[1] / "contenders"
OURS = "fcgi_async "


@attrs.frozen
class Entrant:
    """One contender.

    Attributes:
        name: in tables and charts.
        command: what runs it; `{setting}` stands for the setting, `{go}` for the compiled client, `{server}` for Go's
            server, `{checkout}` for that of hollodotme/fast-cgi-client, `{endpoints:N}` for N addresses of one pool.
        needs: the programs, or "hollodotme" for the checkout.
        share_of_jobs: how many of the jobs it runs: the slow ones fewer.
        changes: what is different in its setting.
    """

    name: str
    command: tuple[str, ...]
    needs: tuple[str, ...] = ()
    share_of_jobs: float = 1.0
    changes: dict[str, Any] = attrs.field(factory=dict)


def python(name: str, script: str, *options: str, **more: object) -> Entrant:
    """Return a contender in Python."""
    command = (sys.executable, "-m", f"benchmarks.contenders.{script}", "{setting}", *options)
    return Entrant(name, command, **more)  # type: ignore[arg-type]


def ours(through: str, backend: str, *, name: str | None = None) -> Entrant:
    """Return fcgi_async through one of its methods, on one of the event loops."""
    return python(name or f"{OURS}{through} ({backend})", "ours", through, backend)


FLOOR = python("blocking sockets", "blocking_sockets")
PROTOCOL = python("asyncio.Protocol", "asyncio_protocol")
PROTOCOL_UVLOOP = python("asyncio.Protocol (uvloop)", "asyncio_protocol", "uvloop")
GO = Entrant("Go client", ("{go}", "{setting}"), ("go",))
HOLLODOTME = Entrant(
    "hollodotme/fast-cgi-client (PHP)",
    ("php", "-n", str(FOLDER / "hollodotme.php"), "{setting}", "{checkout}"),
    ("php", "hollodotme"),
)
AIOHTTP = python("aiohttp, nginx", "aiohttp_nginx", needs=("nginx",))
AIOHTTP_UVLOOP = python("aiohttp, nginx (uvloop)", "aiohttp_nginx", "uvloop", needs=("nginx",))
HTTPX = python("httpx, nginx", "httpx_nginx", needs=("nginx",), share_of_jobs=0.2)
PHP_PROCESSES = python("a php process per job", "php_processes", needs=("php",), share_of_jobs=0.02)
WRK = python("wrk, nginx", "wrk", needs=("wrk", "nginx"))


def nginx_clients() -> tuple[Entrant, ...]:
    """Return those that go through nginx."""
    return AIOHTTP, AIOHTTP_UVLOOP, HTTPX, WRK


def foreign() -> tuple[Entrant, ...]:
    """Return everything but ours, the floor first."""
    return FLOOR, PROTOCOL, PROTOCOL_UVLOOP, GO, HOLLODOTME, *nginx_clients(), PHP_PROCESSES

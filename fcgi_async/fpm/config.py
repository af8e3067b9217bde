"""What FPM's own configuration says of a pool: read from its files, or from what `php-fpm -tt` prints."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import Final

import attrs

from fcgi_async.errors import ConfigurationError
from fcgi_async.fpm.directives import Directive, read_directives
from fcgi_async.net.address import Address

__all__ = ("PoolConfig", "read_pool_config")

_GLOBAL: Final = "global"
_SECONDS: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
# FPM takes the whole seconds of "1.5s", and anything below none as none
_TIME = re.compile(r"(-?\d+)(?:\.\d*)?([smhd]?)", re.ASCII)
_EVERYWHERE = frozenset({"", "*", "0.0.0.0"})


@attrs.frozen(kw_only=True)
class PoolConfig:
    """What a pool's configuration says that matters to its clients.

    Attributes:
        name: of the pool.
        listen: where it listens, as a client dials it.
        pm: "static", "dynamic" or "ondemand".
        max_children: how many workers there are at most.
        backlog: connections that may wait for a worker; None where the system decides.
        max_requests: jobs after which a worker is replaced; 0 for never.
        request_terminate_timeout: seconds after which a worker is killed over its job; 0 for never.
        process_control_timeout: seconds that a reload or a stop gives to running jobs; None where the file that was
            read has no `[global]` section.
        status_path: the path of the status page, or None.
        status_listen: where the status page is served beside the workers, or None.
        ping_path: the path of the ping page, or None.
        allowed_clients: the addresses that may connect over TCP; empty for all.
    """

    name: str
    listen: Address
    pm: str
    max_children: int
    backlog: int | None = None
    max_requests: int = 0
    request_terminate_timeout: float = 0.0
    process_control_timeout: float | None = None
    status_path: str | None = None
    status_listen: Address | None = None
    ping_path: str | None = None
    allowed_clients: tuple[str, ...] = ()

    def warnings(self) -> tuple[str, ...]:
        """Return a sentence for each setting that breaks a promise, with what to write instead."""
        return tuple(f"pool {self.name!r}: {sentence}" for sentence in self._complaints())

    def _complaints(self) -> Iterator[str]:
        control, terminate = self.process_control_timeout, self.request_terminate_timeout
        if control == 0:
            yield (
                "process_control_timeout = 0, so a reload or a stop kills running jobs; "
                "set it in [global] above the longest job, such as 30s"
            )
        if terminate == 0:
            yield (
                "request_terminate_timeout = 0, so a script that hangs keeps its worker for ever; "
                "set it a little above the longest deadline of your jobs"
            )
        if control and terminate > control:
            yield (
                f"process_control_timeout = {control:g}s is shorter than request_terminate_timeout = {terminate:g}s, "
                "so a reload kills jobs that may still run; set it at least as long"
            )
        if self.backlog is not None and self.backlog < self.max_children:
            yield (
                f"listen.backlog = {self.backlog} is less than pm.max_children = {self.max_children}: when the workers "
                "are replaced, not even their own clients fit into it and connections are refused or wait; set it to "
                "511 or more"
            )
        if self.status_path is not None and self.status_listen is None:
            yield (
                "pm.status_path is set and pm.status_listen is not, so the status page waits behind the jobs when "
                "every worker is busy; set pm.status_listen to a socket of its own"
            )


def read_pool_config(path: str | PathLike[str], pool: str = "www") -> PoolConfig:
    """Read the configuration of a pool.

    Args:
        path: FPM's main file, often /etc/php/*/fpm/php-fpm.conf, whose `include`s are followed; the pool's own file; or
            a file with the output of `php-fpm -tt`.
        pool: the name of the pool's section.

    Raises:
        ConfigurationError: a file cannot be read or understood, or has no such pool; says which file and line, and what
            to do. Other settings that FPM would refuse are not looked at: `php-fpm -t` tells.
    """
    sections: dict[str, dict[str, Directive]] = {}
    for directive in read_directives(Path(path)):
        # what stands later wins, as in FPM
        sections.setdefault(directive.section, {})[directive.name] = directive.in_pool()
    settings = sections.get(pool)
    if settings is None:
        names = ", ".join(sorted(sections.keys() - {_GLOBAL})) or "none"
        raise ConfigurationError(
            f"{path}: there is no pool {pool!r}; there is: {names}. Name one of them, or give the file that includes it"
        )
    return _pool(pool, settings, sections.get(_GLOBAL), Path(path))


def _pool(
    name: str, settings: Mapping[str, Directive], overall: Mapping[str, Directive] | None, path: Path
) -> PoolConfig:
    def required(key: str) -> Directive:
        found = settings.get(key)
        if found is None or not found.value:
            raise ConfigurationError(f"{path}: pool {name!r} has no {key!r}, without which FPM does not start")
        return found

    def text(key: str) -> str | None:
        found = settings.get(key)
        return (found.value or None) if found is not None else None

    def number(key: str, default: int) -> int:
        found = settings.get(key)
        return default if found is None or not found.value else _integer(found)

    backlog = number("listen.backlog", -1)
    status_listen = settings.get("pm.status_listen")
    control = None
    if overall is not None:
        control = _seconds(overall.get("process_control_timeout"))
    return PoolConfig(
        name=name,
        listen=_listen(required("listen"), text("prefix")),
        pm=required("pm").value.lower(),
        max_children=_integer(required("pm.max_children")),
        backlog=None if backlog < 0 else backlog,
        max_requests=number("pm.max_requests", 0),
        request_terminate_timeout=_seconds(settings.get("request_terminate_timeout")),
        process_control_timeout=control,
        status_path=text("pm.status_path"),
        status_listen=_listen(status_listen, text("prefix"))
        if status_listen is not None and status_listen.value
        else None,
        ping_path=text("ping.path"),
        allowed_clients=tuple(filter(None, re.split(r"[,\s]+", text("listen.allowed_clients") or ""))),
    )


def _integer(directive: Directive) -> int:
    try:
        return int(directive.value)
    except ValueError:
        raise directive.error("is not a whole number") from None


def _seconds(directive: Directive | None) -> float:
    if directive is None or not directive.value:
        return 0.0
    found = _TIME.fullmatch(directive.value)
    if found is None:
        raise directive.error("is not a time; write seconds, or a number with s, m, h or d")
    return float(max(int(found[1]), 0) * _SECONDS[found[2]])


def _listen(directive: Directive, prefix: str | None) -> Address:
    value = directive.value
    host, colon, port = value.rpartition(":")
    if value.isdigit():
        host, colon, port = "", ":", value
    if colon and port.isdigit():
        # who listens everywhere is reached here
        host = "127.0.0.1" if host in _EVERYWHERE else "[::1]" if host == "[::]" else host
        return Address.parse(f"tcp://{host}:{port}")
    if not value.startswith("/") and prefix is not None and prefix.startswith("/"):
        value = f"{prefix.rstrip('/')}/{value}"
    if value.startswith("/"):
        return Address.parse(f"unix://{value}")
    raise directive.error(
        "is relative to the prefix that FPM was built or started with, which the file does not tell; write all of it"
    )

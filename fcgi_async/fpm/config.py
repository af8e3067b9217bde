"""Read a pool's configuration from FPM's own files, or from the output of `php-fpm -tt`."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import Final

import attrs

from fcgi_async.errors import ConfigurationError
from fcgi_async.fpm.directives import GLOBAL, Directive, Settings, read_settings
from fcgi_async.net.address import Address

__all__ = ("PoolConfig", "pool_names", "read_pool_config")

_USUAL: Final = "www"
_SECONDS: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
# FPM takes the whole seconds of "1.5s", and a negative time as 0
_TIME = re.compile(r"(-?\d+)(?:\.\d*)?([smhd]?)", re.ASCII)
_EVERYWHERE = frozenset({"", "*", "0.0.0.0"})


@attrs.frozen(kw_only=True)
class PoolConfig:
    """The settings of a pool that matter to its clients.

    Attributes:
        name: the name of the pool.
        listen: the address for clients.
        pm: "static", "dynamic" or "ondemand".
        max_children: the maximum number of workers.
        backlog: connections that may wait for a worker; None if the system decides.
        max_requests: jobs after which a worker is replaced; 0 for never.
        request_terminate_timeout: seconds after which a worker is killed because of its job; 0 for never.
        process_control_timeout: seconds that a reload or a stop allows running jobs; None if the file has no `[global]`
            section.
        status_path: the path of the status page, or None.
        status_listen: the separate address of the status page, or None.
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
        """Return a sentence for each setting that breaks one of the dispatcher's promises, with a better value."""
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
                "pm.status_path is set and pm.status_listen is not, so the status page waits for the jobs when "
                "every worker is busy; set pm.status_listen to a socket of its own"
            )


def read_pool_config(
    path: str | PathLike[str],
    pool: str | None = None,
    *,
    prefix: str | PathLike[str] | None = None,
    environ: Mapping[str, str] | None = None,
) -> PoolConfig:
    """Read the configuration of a pool.

    Args:
        path: FPM's main file, often /etc/php/*/fpm/php-fpm.conf, whose `include`s are followed; the pool's own file; or
            a file with the output of `php-fpm -tt`.
        pool: the name of the pool's section; None for www, or for the only pool.
        prefix: the folder that FPM's relative paths start from (`php-fpm -p`, or what it was built with, such as
            /usr/local); None to take the nearest folder above the file from which its includes are found.
        environ: FPM's environment, for values such as `${FPM_MAX_CHILDREN}`; None for the environment of this process.

    Raises:
        ConfigurationError: a file cannot be read or understood, or has no such pool; the error names the file and line,
            and what to do. Other settings that FPM would refuse are not checked: use `php-fpm -t` for that.
    """
    read = _read(path, prefix, environ)
    sections = _by_section(read)
    overall = sections.pop(GLOBAL, None)
    name = _choose(pool, sections)
    if name is None:
        raise ConfigurationError(
            f"{path}: there is no pool {pool or _USUAL!r}; there is: {', '.join(sorted(sections)) or 'none'}. "
            "Name one of them, as pool=, or give the file that includes it"
        )
    return _Pool(name, sections[name], read.prefix, Path(path)).config(overall)


def pool_names(
    path: str | PathLike[str], *, prefix: str | PathLike[str] | None = None, environ: Mapping[str, str] | None = None
) -> tuple[str, ...]:
    """Return the names of the pools in a configuration; the arguments are those of `read_pool_config`.

    Raises:
        ConfigurationError: a file cannot be read or understood.
    """
    return tuple(name for name in _by_section(_read(path, prefix, environ)) if name != GLOBAL)


def _read(path: str | PathLike[str], prefix: str | PathLike[str] | None, environ: Mapping[str, str] | None) -> Settings:
    return read_settings(
        Path(path),
        prefix=None if prefix is None else os.path.abspath(prefix),
        environ=os.environ if environ is None else environ,
    )


def _by_section(read: Settings) -> dict[str, dict[str, Directive]]:
    sections: dict[str, dict[str, Directive]] = {}
    for directive in read.directives:
        # a later value wins, as in FPM
        sections.setdefault(directive.section, {})[directive.name] = directive.in_pool()
    return sections


def _choose(pool: str | None, names: Iterable[str]) -> str | None:
    spelled = {name.lower(): name for name in names}
    if pool is None and len(spelled) == 1:
        return next(iter(spelled.values()))
    return spelled.get((pool or _USUAL).lower())


@attrs.frozen
class _Pool:
    """The settings of a pool's section, by name."""

    name: str
    settings: Mapping[str, Directive]
    prefix: str | None
    path: Path

    def config(self, overall: Mapping[str, Directive] | None) -> PoolConfig:
        """Return the configuration, with `[global]` if that was read."""
        backlog = self.number("listen.backlog", -1)
        status_listen = self.find("pm.status_listen")
        return PoolConfig(
            name=self.name,
            listen=self.address(self.required("listen"), self.text("prefix")),
            pm=self.required("pm").value.lower(),
            max_children=_integer(self.required("pm.max_children")),
            backlog=None if backlog < 0 else backlog,
            max_requests=self.number("pm.max_requests", 0),
            request_terminate_timeout=_seconds(self.find("request_terminate_timeout")),
            process_control_timeout=None if overall is None else _seconds(overall.get("process_control_timeout")),
            status_path=self.text("pm.status_path"),
            status_listen=None if status_listen is None else self.address(status_listen, None),
            ping_path=self.text("ping.path"),
            allowed_clients=tuple(filter(None, re.split(r"[,\s]+", self.text("listen.allowed_clients") or ""))),
        )

    def find(self, key: str) -> Directive | None:
        """Return a setting if it has a value."""
        found = self.settings.get(key)
        return found.known() if found is not None and found.value else None

    def required(self, key: str) -> Directive:
        """Return a required setting."""
        found = self.find(key)
        if found is None:
            raise ConfigurationError(
                f"{self.path}: pool {self.name!r} has no {key!r}, without which FPM does not start"
            )
        return found

    def text(self, key: str) -> str | None:
        """Return the value of a setting."""
        found = self.find(key)
        return None if found is None else found.value

    def number(self, key: str, default: int) -> int:
        """Return the value of a setting as a number."""
        found = self.find(key)
        return default if found is None else _integer(found)

    def address(self, directive: Directive, prefix: str | None) -> Address:
        """Return the address for clients of what FPM listens on; the pool's own prefix applies only to its socket."""
        value = directive.value
        host, colon, port = value.rpartition(":")
        if value.isdigit():
            host, colon, port = "", ":", value
        if colon and port.isdigit():
            # a server that listens on all addresses is reached on this one
            host = "127.0.0.1" if host in _EVERYWHERE else "[::1]" if host == "[::]" else host
            return Address.parse(f"tcp://{host}:{port}")
        for folder in (prefix, self.prefix):
            if not value.startswith("/") and folder is not None:
                value = f"{folder.rstrip('/')}/{value}"
        if value.startswith("/"):
            return Address.parse(f"unix://{value}")
        raise directive.error(
            "is relative to the prefix that FPM was built or started with, which is not known here; give prefix=, such "
            "as /usr/local"
        )


def _integer(directive: Directive) -> int:
    try:
        return int(directive.value)
    except ValueError:
        raise directive.error("is not a whole number") from None


def _seconds(directive: Directive | None) -> float:
    if directive is None or not directive.value:
        return 0.0
    found = _TIME.fullmatch(directive.known().value)
    if found is None:
        raise directive.error("is not a time; write seconds, or a number with s, m, h or d")
    return float(max(int(found[1]), 0) * _SECONDS[found[2]])

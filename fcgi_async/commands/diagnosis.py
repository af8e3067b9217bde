"""Check once everything that a pool needs to run jobs, for `fcgi-async doctor` and the exporter."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Self

import attrs

from fcgi_async.commands.check import Check, State
from fcgi_async.commands.pool_choice import add_pool_choice, named_address
from fcgi_async.commands.pool_options import count
from fcgi_async.commands.symptoms import answer, dialled, share, socket_file, status_page
from fcgi_async.errors import ConfigurationError
from fcgi_async.fpm.config import PoolConfig, read_pool_config
from fcgi_async.fpm.search import find_pool_at, find_pool_config
from fcgi_async.fpm.status import PoolStatus, StatusPage
from fcgi_async.net.address import Address

__all__ = ("Case", "Diagnosis", "add_diagnosis_options", "diagnose")

# each message about a setting begins with its name
_SETTINGS = ("process_control_timeout", "request_terminate_timeout", "listen.backlog", "pm.status_path")


def add_diagnosis_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that `Case` and `diagnose()` read."""
    add_pool_choice(parser, "where the pool listens")
    parser.add_argument("--path", metavar="PATH", help="pm.status_path (default: as configured, else /status)")
    parser.add_argument("--max-children", metavar="N", type=count, help="pm.max_children (default: as configured)")
    parser.add_argument(
        "--reserve", metavar="N", type=int, help="workers left to other clients (default: a quarter, rounded up)"
    )
    parser.add_argument(
        "--processes", metavar="N", type=count, default=1, help="processes like this one that share the rest"
    )


@attrs.frozen
class Diagnosis:
    """What was found.

    Attributes:
        checks: all checks.
        status: the status page; None if there is none.
        max_children: the maximum number of workers; None if unknown.
    """

    checks: list[Check]
    status: PoolStatus | None = None
    max_children: int | None = None


async def diagnose(case: Case, options: argparse.Namespace) -> Diagnosis:
    """Check a pool; the options are those of `add_diagnosis_options()`."""
    checks = [_configuration(case)]
    if case.address is None:
        return Diagnosis(checks)
    name, timeout = str(case.address), options.timeout
    if case.address.is_unix and (found := socket_file(case.address)) is not None:
        checks.append(found)
    reached = await dialled(case.address, timeout)
    checks += reached
    if all(check.state is not State.FAILED for check in reached):
        checks.append(await answer(name, timeout))
    checks += _settings(case.config)
    page, status = case.page(options.path), None
    if page is None or page.address != case.address or all(check.state is not State.FAILED for check in checks):
        shown, status = await status_page(page, timeout)
        checks.append(shown)
    most = _max_children(case, options, status)
    return Diagnosis([*checks, *_workers(case, options, status, most)], status, most)


def _configuration(case: Case) -> Check:
    if case.config is not None:
        return Check("configuration", State.OK, f"{case.path}, pool {case.config.name}")
    advice = "name it with --fpm-config FILE, FPM's main file or what `php-fpm -tt` prints"
    if case.address is None:
        return Check("configuration", State.FAILED, case.why_not, f"{advice}, or give the pool's ADDRESS")
    return Check("configuration", State.UNKNOWN, case.why_not, advice)


def _settings(config: PoolConfig | None) -> list[Check]:
    if config is None:
        return []
    values: dict[str, object] = {
        "process_control_timeout": _seconds(config.process_control_timeout),
        "request_terminate_timeout": _seconds(config.request_terminate_timeout),
        "listen.backlog": "as the system has it" if config.backlog is None else config.backlog,
        "pm.status_path": config.status_path,
    }
    checks = []
    for name in _SETTINGS:
        warnings = [text.partition(": ")[2] for text in config.warnings()]
        warned = [text for text in warnings if text.startswith(name)]
        if warned:
            found, _, advice = warned[0].rpartition("; ")
            checks.append(Check(name, State.WARNING, found, advice))
        elif values[name] is not None:
            checks.append(Check(name, State.OK, f"{name} = {values[name]}"))
        elif name == "process_control_timeout":
            advice = "give --fpm-config FPM's main file: with 0, the default, a reload kills running jobs"
            checks.append(Check(name, State.UNKNOWN, "the file has no [global] section", advice))
    return checks


def _max_children(case: Case, options: argparse.Namespace, status: PoolStatus | None) -> int | None:
    known: int | None = options.max_children
    if known is not None:
        return known
    if case.config is not None:
        return case.config.max_children
    return status.total if status is not None and status.process_manager == "static" else None


def _workers(case: Case, options: argparse.Namespace, status: PoolStatus | None, most: int | None) -> list[Check]:
    pm = None if status is None else status.process_manager
    if case.config is not None:
        pm = case.config.pm
    checks = []
    if pm is not None:
        checks.append(Check("pm", State.OK, f"pm = {pm}"))
    if most is None:
        advice = "give --max-children as in that pool's configuration; a dispatcher needs it too"
        return [*checks, Check("max_children", State.UNKNOWN, "pm.max_children is not known", advice)]
    limit = f"pm.max_children = {most}"
    if status is not None and status.max_children_reached:
        found = f"{limit}, reached {status.max_children_reached} times since {status.start_time:%Y-%m-%d %H:%M} UTC"
        checks.append(Check("max_children", State.WARNING, found, "raise it if the machine's memory allows it"))
    elif status is not None and status.total > most:
        found = f"{limit}, and {status.total} workers are there"
        checks.append(Check("max_children", State.WARNING, found, "reload FPM, or name the right configuration"))
    else:
        checks.append(Check("max_children", State.OK, limit))
    return [*checks, share(str(case.address), most, options.reserve, options.processes)]


def _seconds(value: float | None) -> str | None:
    return None if value is None else f"{value:g}s"


@attrs.frozen(kw_only=True)
class Case:
    """The pool to check, and its configuration if there is one.

    Attributes:
        address: the pool's address; None if unknown.
        config: its configuration.
        path: the file of the configuration.
        why_not: why there is no configuration.
    """

    address: Address | None
    config: PoolConfig | None
    path: Path | None
    why_not: str = ""

    @classmethod
    def parse(cls, options: argparse.Namespace) -> Self:
        """Find the pool."""
        named = named_address(options)
        address = None if named is None else Address.parse(named)
        if options.fpm_config is not None:
            config = read_pool_config(options.fpm_config, options.pool, prefix=options.prefix)
            return cls(address=config.listen, config=config, path=Path(options.fpm_config))
        if address is not None and options.pool is None and (found := find_pool_at(address)) is not None:
            return cls(address=address, config=found[1], path=found[0])
        try:
            path, config = find_pool_config(options.pool, prefix=options.prefix)
        except ConfigurationError as error:
            return cls(address=address, config=None, path=None, why_not=error.message.rpartition("; ")[0])
        if address is not None and str(address) != str(config.listen):
            why_not = f"{path} is not that of this pool: its pool {config.name!r} listens at {config.listen}"
            return cls(address=address, config=None, path=None, why_not=why_not)
        return cls(address=config.listen, config=config, path=path)

    def page(self, path: str | None) -> StatusPage | None:
        """Return where the status page should be; None if the configuration has none."""
        config, address = self.config, self.address
        path = path or ("/status" if config is None else config.status_path)
        if path is None or address is None:
            return None
        return StatusPage(address if config is None else config.status_listen or address, path=path)

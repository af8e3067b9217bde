"""The options of `fcgi-async serve`."""

from __future__ import annotations

import argparse
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Self

import attrs

from fcgi_async.commands.errors import UsageError
from fcgi_async.commands.pool_options import configured_here, count
from fcgi_async.commands.site_folder import find_site_folder

__all__ = ("Certificate", "ServeOptions", "add_serve_options")

_LISTEN = "127.0.0.1:8000"
_FRONT = "index.php"
# so that a page can send requests to its own site
_CHILDREN = 4


@attrs.frozen
class Certificate:
    """The paths of a certificate and its key, for HTTPS."""

    cert: str
    key: str

    def check(self) -> None:
        """Raise UsageError if a server could not use it."""
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self.cert, self.key)
        except OSError as error:
            # OpenSSL has no message for a file of another kind
            why = "this is no certificate with its key" if isinstance(error, ssl.SSLError) else error.strerror
            raise UsageError(f"--tls-cert {self.cert}, --tls-key {self.key}: {why}") from error


def add_serve_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that `ServeOptions` reads."""
    parser.add_argument(
        "directory",
        metavar="DIR",
        nargs="?",
        default=".",
        help="the site's folder; public/, web/ or webroot/ in it is used if it has the front controller (default: .)",
    )
    parser.add_argument(
        "--listen",
        metavar="ADDRESS",
        action="append",
        help=f"HOST:PORT, unix:PATH, or fd:N for an open socket; may be given several times (default: {_LISTEN})",
    )
    parser.add_argument(
        "--front", metavar="FILE", default=_FRONT, help=f"the script for paths without a file (default: {_FRONT})"
    )
    parser.add_argument(
        "--scripts",
        metavar="WHICH",
        choices=("any", "front"),
        default="any",
        help="which scripts may run: any script that is requested, or only the front controller (default: any)",
    )
    parser.add_argument(
        "--host",
        metavar="NAME",
        action="append",
        help="a host that the site answers to, such as example.org or *.example.org; may be given several times "
        "(default: any)",
    )
    _add_server(parser)
    _add_pool(parser.add_argument_group("PHP-FPM", "Without --fpm, a private PHP-FPM starts and ends with the site."))
    _add_beside(
        parser.add_argument_group(
            "jobs", "They run on the same workers as the site, and leave some workers to its visitors."
        )
    )


def _add_server(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tls-cert", metavar="FILE", help="a certificate, for HTTPS")
    parser.add_argument("--tls-key", metavar="FILE", help="its key")
    parser.add_argument("--http2", action="store_true", help="serve with hypercorn, which supports HTTP/2")
    parser.add_argument("--trio", action="store_true", help="serve with hypercorn on trio")
    parser.add_argument("--status", metavar="unix:PATH", help="a socket that answers /-/status with JSON")
    parser.add_argument(
        "--health",
        action="store_true",
        help="answer /livez and /readyz, for supervisors and balancers, in the place of the site",
    )
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument(
        "--dev", action="store_true", help="show errors and a line for each request (default without --fpm)"
    )
    mode.add_argument(
        "--production", action="store_true", help="write an access log of JSON to standard output (default with --fpm)"
    )


def _add_pool(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--fpm", metavar="ADDRESS", help="unix:///run/php/php-fpm.sock, unix://@abstract or tcp://127.0.0.1:9000"
    )
    group.add_argument(
        "--max-children",
        metavar="N",
        type=count,
        help="with --fpm: pm.max_children of that pool (default: as in FPM's configuration, where distributions keep "
        "it)",
    )
    group.add_argument(
        "--reserve", metavar="N", type=int, help="with --fpm: workers left to other clients (default: 0)"
    )
    group.add_argument(
        "--processes", metavar="N", type=count, help="with --fpm: processes that share the workers (default: 1)"
    )
    group.add_argument(
        "--children",
        metavar="N",
        type=count,
        help=f"without --fpm: number of workers of the private one (default: {_CHILDREN})",
    )
    group.add_argument(
        "--ini",
        metavar="NAME=VALUE",
        action="append",
        type=_setting,
        help="without --fpm: a setting of php.ini; may be given several times",
    )


def _add_beside(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--jobs",
        metavar="MODULE:FUNCTION",
        help="an async function that takes the dispatcher and runs beside the site, in one of the processes",
    )
    group.add_argument("--worker", metavar="URL", help="a database to take durable jobs from")
    group.add_argument("--tasks", metavar="MODULE:NAME", help="with --worker: its tasks, as for fcgi-async worker")
    group.add_argument(
        "--schedules",
        metavar="MODULE:NAME",
        help="with --worker: its schedules, as for fcgi-async worker",
    )
    group.add_argument(
        "--kept",
        metavar="N",
        type=_whole,
        help="workers that these jobs never use (default: a quarter, if there are two or more)",
    )


@attrs.frozen(kw_only=True)
class ServeOptions:
    """The checked options of the site.

    Attributes:
        root: the document root.
        front: the front controller.
        scripts: which scripts may run.
        hosts: the hosts that the site serves; None for any.
        listen: where.
        status: where it serves its status; None for nowhere.
        health: whether it answers /livez and /readyz.
        certificate: for HTTPS.
        server: which one serves it.
        trio: whether on trio.
        dev: whether for people who develop it.
        fpm: the address of a PHP-FPM that is there; None for a private one.
        workers: how many it has.
        reserve: how many of them are left to everybody else.
        processes: how many processes share the rest.
        ini: PHP settings of a private one.
        jobs: the function that runs beside the site; None for none.
        worker: a database of durable jobs; None for none.
        tasks: the worker's tasks.
        schedules: the worker's schedules; None for none.
        kept: number of workers that jobs never use; None to choose a number.
    """

    root: Path
    front: str
    scripts: Literal["any", "front"]
    hosts: tuple[str, ...] | None
    listen: tuple[str, ...]
    status: str | None
    health: bool
    certificate: Certificate | None
    server: Literal["uvicorn", "hypercorn"]
    trio: bool
    dev: bool
    fpm: str | None
    workers: int
    reserve: int
    processes: int
    ini: Mapping[str, str]
    jobs: str | None
    worker: str | None
    tasks: str | None
    schedules: str | None
    kept: int | None

    @classmethod
    def parse(cls, options: argparse.Namespace) -> Self:
        """Read the options.

        Raises:
            UsageError: the options do not go together, there is no such folder, or the certificate cannot be used.
        """
        _check(options)
        certificate = Certificate(options.tls_cert, options.tls_key) if options.tls_cert else None
        if certificate is not None:
            certificate.check()
        return cls(
            root=find_site_folder(options.directory, options.front),
            front=options.front,
            scripts=options.scripts,
            hosts=tuple(options.host) if options.host else None,
            listen=tuple(options.listen or [_LISTEN]),
            status=options.status,
            health=options.health,
            certificate=certificate,
            server="hypercorn" if options.http2 or options.trio else "uvicorn",
            trio=options.trio,
            dev=options.dev or (options.fpm is None and not options.production),
            fpm=options.fpm,
            workers=_workers(options),
            reserve=options.reserve or 0,
            processes=options.processes or 1,
            ini=dict(options.ini or ()),
            jobs=options.jobs,
            worker=options.worker,
            tasks=options.tasks,
            schedules=options.schedules,
            kept=options.kept,
        )

    @property
    def kept_slots(self) -> int:
        """Number of this process's slots that are left to the site's visitors."""
        if self.jobs is None and self.worker is None:
            return 0
        share = (self.workers - self.reserve) // self.processes
        return self.kept if self.kept is not None else 0 if share < 2 else max(1, share // 4)


def _workers(options: argparse.Namespace) -> int:
    if options.fpm is None:
        return options.children or _CHILDREN
    return options.max_children or configured_here(options.fpm).max_children


def _check(options: argparse.Namespace) -> None:
    """Raise UsageError if options do not go together."""
    if options.fpm is None:
        for name in ("max_children", "reserve", "processes"):
            if getattr(options, name) is not None:
                raise UsageError(f"--{name.replace('_', '-')} needs --fpm; for a private PHP-FPM use --children")
    else:
        for name in ("children", "ini"):
            if getattr(options, name) is not None:
                raise UsageError(f"--{name} is for a private PHP-FPM; the one of --fpm has its own configuration")
    if (options.tls_cert is None) != (options.tls_key is None):
        raise UsageError("--tls-cert and --tls-key need each other: a certificate and its key")
    if (options.worker is None) != (options.tasks is None):
        raise UsageError("--worker and --tasks need each other: a database of jobs, and what runs them")
    if options.schedules is not None and options.worker is None:
        raise UsageError("--schedules needs --worker, which puts the jobs of schedules")
    if options.status is not None and not options.status.startswith(("unix:", "fd:")):
        raise UsageError(f"--status {options.status}: write unix:PATH; not everyone who can reach a port may see it")
    if options.status is not None and (options.http2 or options.trio):
        raise UsageError("--status needs uvicorn; it does not work with --http2 or --trio")


def _whole(text: str) -> int:
    """Parse a whole number of at least 0, for argparse."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text} is not a whole number of at least 0")
    return int(text)


def _setting(text: str) -> tuple[str, str]:
    """Parse a setting of php.ini, for argparse."""
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"{text} is not NAME=VALUE, such as memory_limit=256M")
    return name, value

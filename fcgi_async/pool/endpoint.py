"""What is known of one FPM pool: its address, its size, and how it is to be treated."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from os import PathLike, fspath
from typing import Literal, Self, TypedDict, Unpack

import attrs

from fcgi_async.errors import ConfigurationError
from fcgi_async.fpm.config import read_pool_config
from fcgi_async.fpm.search import find_pool_config
from fcgi_async.fpm.status import StatusPage
from fcgi_async.job.numbers import is_duration, is_whole
from fcgi_async.net.address import Address
from fcgi_async.pool.capacity import reserve_for_the_site, share_of
from fcgi_async.pool.frozen_mapping import FrozenMapping

__all__ = ("Endpoint", "KeepAlive")

logger = logging.getLogger("fcgi_async.pool")

_MIB = 1024 * 1024


# the same values may come as pairs, which may repeat a name
_Headers = Mapping[str, str] | Sequence[tuple[str, str]]


def _address(value: str | Address) -> Address:
    return value if isinstance(value, Address) else Address.parse(value)


def _status_page(value: str | Address | StatusPage | None) -> StatusPage | None:
    return value if value is None or isinstance(value, StatusPage) else StatusPage(value)


def _root(value: str | PathLike[str] | None) -> str | None:
    return fspath(value) if isinstance(value, PathLike) else value


def _is_absolute(path: object) -> bool:
    return isinstance(path, str) and path.startswith("/") and "\0" not in path


def _params(value: Mapping[str, str]) -> Mapping[str, str]:
    if not isinstance(value, Mapping):
        raise ConfigurationError(f"Endpoint(params=...) is a mapping of names to values, not {type(value).__name__}")
    return FrozenMapping(value)


def _headers(value: _Headers) -> Mapping[str, str] | tuple[tuple[str, str], ...]:
    if isinstance(value, Mapping):
        return FrozenMapping(value)
    given: object = value
    if isinstance(given, Sequence) and all(isinstance(pair, tuple | list) and len(pair) == 2 for pair in given):
        return tuple((name, text) for name, text in given)
    raise ConfigurationError(
        f"Endpoint(headers=...) is a mapping, or a sequence of pairs of name and value, not {type(value).__name__}"
    )


def _kept(value: Mapping[int, int]) -> Mapping[int, int]:
    if not isinstance(value, Mapping):
        raise ConfigurationError(
            f"Endpoint(kept=...) is a mapping of priorities to numbers of slots, such as {{10: 1}}; not {value!r}"
        )
    return FrozenMapping(value)


def _names(value: Iterable[str]) -> frozenset[str]:
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        raise ConfigurationError(f"Endpoint(allow_params=...) is a set of names, such as {{{value!r}}}")
    return frozenset(value)


@attrs.frozen
class KeepAlive:
    """How long a connection outlives its job. A kept connection pins one of FPM's workers, idle or not.

    Args:
        idle: seconds that a connection is kept without a job; 0 keeps it only while a job is waiting for it.
        max_requests: how many jobs a connection serves at most, None for no limit.
    """

    idle: float = 1.0
    max_requests: int | None = None

    def __attrs_post_init__(self) -> None:
        if not is_duration(self.idle):
            raise ConfigurationError(f"KeepAlive(idle={self.idle!r}) is not a number of seconds")
        if self.max_requests is not None and not is_whole(self.max_requests):
            raise ConfigurationError(
                f"KeepAlive(max_requests={self.max_requests!r}) is neither a whole number nor None"
            )
        if self.idle < 0:
            raise ConfigurationError(
                f"KeepAlive(idle={self.idle}): seconds cannot be negative; 0 keeps no idle connection"
            )
        if self.max_requests is not None and self.max_requests < 1:
            raise ConfigurationError(
                f"KeepAlive(max_requests={self.max_requests}): give at least 1, or None for no limit"
            )


class EndpointSettings(TypedDict, total=False):
    """What `Endpoint` takes besides its address and its share."""

    max_children: int | None
    root: str | PathLike[str] | None
    params: Mapping[str, str]
    headers: Mapping[str, str] | Sequence[tuple[str, str]]
    keepalive: KeepAlive
    multiplex: Literal["auto", "never"]
    handshake: bool
    on_cancel: Literal["drain", "close"]
    drain_timeout: float
    drain_bytes: int
    linger: float | None
    connect_timeout: float
    reconnect_timeout: float
    kept: Mapping[int, int]
    status: StatusPage | str | Address | None
    allow_params: Iterable[str]


@attrs.frozen(kw_only=True)
class Endpoint:
    """One FPM pool.

    Args:
        address: `unix:///path.sock`, `unix://@abstract` or `tcp://host:port`; also a bare `/path.sock` or `host:port`.
        max_children: FPM's `pm.max_children` of that pool.
        reserve: how many of those workers are left to everybody else.
        processes: how many processes like this one share the rest.
        root: a directory on FPM's side, str or path, that scripts are in: one whose name, absolute or relative to it,
            leads out of it is refused. Names are compared as text, without a look at FPM's files, and sent without any
            `..`; a symbolic link below the root is followed by FPM wherever it leads. It confines what jobs name, not
            what the scripts then open.
        params: FastCGI parameters sent with every job.
        headers: request headers sent with every job, a mapping or a sequence of pairs.
        keepalive: how long connections outlive their jobs.
        multiplex: "auto" runs many jobs on one connection where the peer says that it can, PHP-FPM cannot; "never" does
            not.
        handshake: False for peers that do not answer GET_VALUES: one connection for each job, freed by END_REQUEST.
        on_cancel: "drain" reads on until the worker is free; "close" refuses the output, of which a script that writes
            dies: at its next output, or at the one after that if it had written nothing.
        drain_timeout: seconds that a worker may take after its response, or after its caller has gone, before the
            output is refused.
        drain_bytes: bytes of unwanted output after which the rest is refused.
        linger: seconds that a slot stays taken after its connection was closed under a script, or until the status page
            shows that the script has ended; None for 5.
        connect_timeout: seconds for a TCP handshake.
        reconnect_timeout: seconds that an endpoint which has answered before may be away before its waiting jobs fail.
        kept: slots that only jobs of a priority may use: `{10: 2}` keeps two for priority 10 and above. Jobs below have
            no more than the share less two, so that one of 10 need not wait until one of those ends. Several add up:
            with `{10: 1, 5: 1}` jobs below 5 leave two, and jobs of 5 to 9 leave one.
        status: FPM's status page, or its address where its path is `/status`.
        allow_params: parameters that are refused as dangerous unless named here, such as `PHP_VALUE`.

    Raises:
        ConfigurationError: a value is out of its range, or nothing is left of the workers.
    """

    address: Address = attrs.field(converter=_address, kw_only=False)
    max_children: int | None = None
    reserve: int = 0
    processes: int = 1
    root: str | None = attrs.field(default=None, converter=_root)
    # not shown: they carry credentials
    params: Mapping[str, str] = attrs.field(factory=dict, converter=_params, repr=False)
    headers: Mapping[str, str] | tuple[tuple[str, str], ...] = attrs.field(factory=dict, converter=_headers, repr=False)
    keepalive: KeepAlive = KeepAlive()
    multiplex: Literal["auto", "never"] = "auto"
    handshake: bool = True
    on_cancel: Literal["drain", "close"] = "drain"
    drain_timeout: float = 30.0
    drain_bytes: int = 16 * _MIB
    linger: float | None = None
    connect_timeout: float = 5.0
    reconnect_timeout: float = 30.0
    kept: Mapping[int, int] = attrs.field(factory=dict, converter=_kept)
    status: StatusPage | None = attrs.field(default=None, converter=_status_page)
    allow_params: frozenset[str] = attrs.field(default=frozenset(), converter=_names)

    def __attrs_post_init__(self) -> None:
        def require(holds: bool, what: str) -> None:
            if not holds:
                raise ConfigurationError(f"endpoint {self.address}: {what}", endpoint=str(self.address))

        for name in ("max_children", "reserve", "processes", "drain_bytes"):
            value: object = getattr(self, name)
            allowed = is_whole(value) or (value is None and name == "max_children")
            require(allowed, f"{name} is a whole number, not {value!r}")
        for name in ("drain_timeout", "linger", "connect_timeout", "reconnect_timeout"):
            value = getattr(self, name)
            allowed = is_duration(value) or (value is None and name == "linger")
            require(allowed, f"{name} is a number of seconds, not {value!r}")
        require(isinstance(self.keepalive, KeepAlive), f"keepalive is a KeepAlive, not {self.keepalive!r}")
        require(isinstance(self.handshake, bool), f"handshake is True or False, not {self.handshake!r}")
        require(self.max_children is None or self.max_children >= 1, "max_children is at least 1")
        require(self.reserve >= 0, "reserve cannot be negative")
        require(
            self.root is None or _is_absolute(self.root),
            f"root={self.root!r} is not an absolute path on FPM's side",
        )
        require(self.processes >= 1, "processes is at least 1")
        require(self.multiplex in ("auto", "never"), 'multiplex is "auto" or "never"')
        require(self.on_cancel in ("drain", "close"), 'on_cancel is "drain" or "close"')
        require(self.drain_timeout >= 0 and self.drain_bytes >= 0, "drain_timeout and drain_bytes cannot be negative")
        require(self.linger is None or self.linger >= 0, "linger cannot be negative")
        require(self.connect_timeout > 0 and self.reconnect_timeout >= 0, "timeouts cannot be negative")
        require(
            self.max_children is None or self.share >= 1,
            f"max_children={self.max_children} less reserve={self.reserve}, shared by {self.processes} process(es), "
            "leaves no worker",
        )
        for priority, slots in self.kept.items():
            require(is_whole(priority), f"kept[{priority!r}]: a priority is a whole number")
            require(is_whole(slots) and slots >= 0, f"kept[{priority}]={slots!r} is not a number of slots")
        if self.kept and self.max_children is not None:
            require(
                sum(self.kept.values()) < self.share,
                f"kept={self.kept!r} leaves no slot of {self.share} to jobs of every priority; keep fewer",
            )

    @classmethod
    def from_fpm_config(
        cls,
        path: str | PathLike[str] | None = None,
        pool: str | None = None,
        *,
        reserve: int | None = None,
        processes: int = 1,
        prefix: str | PathLike[str] | None = None,
        environ: Mapping[str, str] | None = None,
        **settings: Unpack[EndpointSettings],
    ) -> Self:
        """Return the endpoint that FPM's own configuration describes.

        From there come the address, `max_children` and the status page. Settings that break promises are logged at
        WARNING, once for each call.

        Args:
            path: FPM's main file, the pool's own, or a file with the output of `php-fpm -tt`; None to look where
                Debian, Red Hat, Remi, Alpine and the Docker image keep the main file.
            pool: the name of the pool's section; None for www, or for the only one that is there.
            reserve: how many workers are left to everybody else; None for a quarter, rounded up, since such a pool is
                somebody's.
            processes: how many processes like this one share the rest.
            prefix: the folder that FPM's relative paths start from, `php-fpm -p` or what it was built with, such as
                /usr/local; None to take the nearest folder above the file from which what it includes is there.
            environ: FPM's environment, for values such as `${FPM_MAX_CHILDREN}`; None for that of this process.
            settings: whatever else `Endpoint` takes; what is given here goes before what the file says.

        Raises:
            ConfigurationError: the configuration cannot be read or understood, has no such pool, or leaves no worker;
                without a path, no configuration was found that has it, or several were.
        """
        if path is None:
            path, config = find_pool_config(pool, prefix=prefix, environ=environ)
        else:
            config = read_pool_config(path, pool, prefix=prefix, environ=environ)
        for warning in config.warnings():
            logger.warning("%s: %s", path, warning)
        if reserve is None:
            reserve = reserve_for_the_site(settings.get("max_children") or config.max_children, processes)
        found: EndpointSettings = {"max_children": config.max_children}
        if config.status_path is not None:
            found["status"] = StatusPage(config.status_listen or config.listen, path=config.status_path)
        found.update(settings)
        return cls(config.listen, reserve=reserve, processes=processes, **found)

    @property
    def share(self) -> int:
        """How many workers this process may occupy.

        Raises:
            ConfigurationError: max_children is not known.
        """
        if self.max_children is None:
            raise ConfigurationError(
                f"endpoint {self.address}: max_children is not known; give pm.max_children of that pool "
                "(in FPM's configuration, often /etc/php/*/fpm/pool.d/www.conf), or use Endpoint.from_fpm_config()",
                endpoint=str(self.address),
            )
        return share_of(self.max_children, self.reserve, self.processes)
